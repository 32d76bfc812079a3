package store

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// indexTx is one atomic change of the index and of the figures that follow from it. Only the
// committer (before it runs: Open) makes one at a time.
type indexTx struct {
	store *Store
	batch *pebble.Batch
	meta  meta
	live  map[fileID]int64 // by how much the bytes that count in a file change
}

// beginTx starts a change; commit or discard ends it. An indexed batch can be read.
func (s *Store) beginTx(indexed bool) *indexTx {
	t := &indexTx{store: s, meta: s.meta, live: make(map[fileID]int64, 4)}
	if indexed {
		t.batch = s.ix.db.NewIndexedBatch()
	} else {
		t.batch = s.ix.db.NewBatch()
	}
	return t
}

// replace makes e the entry of key in the place of old, which is nil where the key has none.
// The record of an old value becomes stale; an old delete marker counts no more, because e is
// newer than all that it keeps out. Where e is old at another place, a moved record, nothing
// else changes.
func (t *indexTx) replace(key []byte, e, old *entry) error {
	var kbuf [staleKeyBytes]byte
	var vbuf [entryBytes]byte
	moved := old != nil && old.Deleted == e.Deleted && old.Sequence == e.Sequence
	ordered := false // the entry is in its place of the scan's order already
	if old != nil {
		t.live[old.File] -= old.recordBytes(key)
	}
	if old.live() {
		var at [4]byte
		binary.LittleEndian.PutUint32(at[:], old.Offset)
		if err := t.batch.Set(staleKey(kbuf[:0], key, old.Sequence, old.File), at[:], nil); err != nil {
			return err
		}
		before := t.store.order(key, old)
		ordered = e.live() && before == t.store.order(key, e)
		if !moved {
			t.meta.LiveBytes -= int64(old.ValueBytes)
			t.meta.Entries--
		}
		if !ordered {
			if err := t.batch.Delete(orderKey(kbuf[:0], before), nil); err != nil {
				return err
			}
		}
	}
	t.live[e.File] += e.recordBytes(key)
	if e.live() {
		if !moved {
			t.meta.LiveBytes += int64(e.ValueBytes)
			t.meta.Entries++
		}
		if !moved {
			var ibuf [scanHeadBytes + 255]byte
			if err := t.batch.Set(orderKey(kbuf[:0], t.store.order(key, e)), appendScanItem(ibuf[:0], key, e), nil); err != nil {
				return err
			}
		}
	}
	return t.batch.Set(indexKey(kbuf[:0], key), e.append(vbuf[:0]), nil)
}

// forgetMarker takes the entry of a delete marker out that keeps nothing out any more.
func (t *indexTx) forgetMarker(key []byte, marker *entry) error {
	var kbuf [1 + 255]byte
	t.live[marker.File] -= marker.recordBytes(key)
	return t.batch.Delete(indexKey(kbuf[:0], key), nil)
}

// forgetRecord forgets a stale record, and the delete marker of its key when that was the
// last one it kept out.
func (t *indexTx) forgetRecord(key []byte, sequence uint64, file fileID) error {
	var kbuf [staleKeyBytes]byte
	if err := t.batch.Delete(staleKey(kbuf[:0], key, sequence, file), nil); err != nil {
		return err
	}
	e, ok, err := find(t.batch, key)
	if err != nil || !ok || !e.Deleted {
		return err
	}
	it, err := t.batch.NewIter(staleRange(key, 0))
	if err != nil {
		return asDamage(err)
	}
	more := it.First()
	if err := it.Close(); err != nil {
		return asDamage(err)
	}
	if more {
		return nil
	}
	return t.forgetMarker(key, &e)
}

func (t *indexTx) commit() error {
	var kbuf [5]byte
	var vbuf [metaBytes]byte
	for file, change := range t.live {
		n := t.store.space.live(file) + change
		if err := t.batch.Set(fileKey(kbuf[:0], prefixLive, file), binary.LittleEndian.AppendUint64(vbuf[:0], uint64(n)), nil); err != nil {
			return err
		}
	}
	if err := t.batch.Set([]byte(keyMeta), t.meta.append(vbuf[:0]), nil); err != nil {
		return err
	}
	if err := t.store.ix.db.Apply(t.batch, pebble.NoSync); err != nil {
		return err
	}
	t.store.space.change(t.live)
	t.store.setMeta(t.meta)
	return nil
}

// discard frees the batch; after commit too.
func (t *indexTx) discard() { t.batch.Close() }

// order is the place of an entry in a scan: by the last write, or by the id where the store
// gives those.
func (s *Store) order(key []byte, e *entry) uint64 {
	if s.opts.Sequential && len(key) == idBytes {
		return binary.LittleEndian.Uint64(key)
	}
	return e.Sequence
}
