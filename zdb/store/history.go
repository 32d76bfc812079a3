package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/qsfs/qsfs/zdb"
)

// Version is a value that a key has or had.
type Version struct {
	Value    []byte
	UnixTime int64
	Older    []byte // leads to the version before; nil when there is none, or none any more
}

// versionBytes is the length of what leads to a version: file id u32, offset u32.
const versionBytes = 8

// staleRange is the stale records of a key with a sequence below the given one; 0 is all.
func staleRange(key []byte, below uint64) *pebble.IterOptions {
	o := &pebble.IterOptions{LowerBound: stalePrefix(nil, key)}
	if below == 0 {
		below = 1<<64 - 1
	}
	o.UpperBound = binary.BigEndian.AppendUint64(bytes.Clone(o.LowerBound), below)
	return o
}

// History gives a version of a key: the present one with at nil (zdb.ErrNotFound when there is
// none), else the one that Older of another version leads to. Compaction takes old versions, file
// by file. at is checked: zdb.ErrBadCursor when no record is there, or no longer,
// zdb.ErrOtherKey when it is not this key's. alloc is as with GetInto.
func (s *Store) History(ctx context.Context, key, at []byte, alloc func(n int) []byte) (Version, error) {
	for {
		var e entry
		var err error
		if at == nil {
			e, err = s.lookup(ctx, key)
		} else {
			e, err = s.recordAt(ctx, key, at)
		}
		if err != nil {
			return Version{}, err
		}
		older, err := s.versionBefore(key, e.Sequence)
		if err != nil {
			return Version{}, err
		}
		value, err := s.read(e, key, alloc)
		switch {
		case err == nil:
			return Version{Value: value, UnixTime: e.UnixTime, Older: older}, nil
		case at == nil && s.isVoid(ctx, key, e, err):
			continue
		case at != nil && errors.Is(err, os.ErrNotExist):
			return Version{}, fmt.Errorf("%w: compacted away", zdb.ErrBadCursor)
		}
		s.noteUnread(err)
		return Version{}, err
	}
}

// recordAt reads the header of the record that a version's bytes name.
func (s *Store) recordAt(ctx context.Context, key, at []byte) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if len(at) != versionBytes {
		return entry{}, zdb.ErrBadCursor
	}
	id, offset := fileID(binary.LittleEndian.Uint32(at)), binary.LittleEndian.Uint32(at[4:])
	end := s.space.end(id)
	if id == 0 || offset < fileHeaderBytes || int64(offset) >= end {
		return entry{}, zdb.ErrBadCursor
	}
	f, err := s.files.acquire(id)
	if err != nil {
		return entry{}, fmt.Errorf("%w: %w", zdb.ErrBadCursor, err)
	}
	defer s.files.release(f)
	w := walker{file: f.file, seed: f.seed, end: end}
	h, k, ok := w.header(int64(offset))
	switch {
	case w.err != nil:
		return entry{}, diskError(w.err)
	case !ok || h.Delete:
		return entry{}, zdb.ErrBadCursor
	case !bytes.Equal(k, key):
		return entry{}, zdb.ErrOtherKey
	}
	return entry{File: id, Offset: offset, ValueBytes: h.ValueBytes, ValueCRC: h.ValueCRC, UnixTime: h.UnixTime, Sequence: h.Sequence}, nil
}

// versionBefore leads to the newest stale record of the key below a sequence.
func (s *Store) versionBefore(key []byte, sequence uint64) ([]byte, error) {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.closed || s.ix == nil {
		return nil, zdb.ErrClosed
	}
	it, err := s.ix.db.NewIter(staleRange(key, sequence))
	if err != nil {
		return nil, s.scanError(err)
	}
	defer it.Close()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return nil, s.scanError(err)
		}
		return nil, nil
	}
	k, v := it.Key(), it.Value()
	if len(k) != 2+len(key)+12 || len(v) != 4 {
		return nil, s.scanError(errIndexDamaged)
	}
	at := binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(k[len(k)-4:]))
	return append(at, v...), nil
}

// Keys gives the keys that begin with prefix, in their order, until fn returns false. It sees
// the store as it was at the start. The key is valid during the call.
func (s *Store) Keys(ctx context.Context, prefix []byte, fn func(key []byte) bool) error {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.closed || s.ix == nil {
		return zdb.ErrClosed
	}
	o := prefixRange(prefixKey)
	o.LowerBound = indexKey(nil, prefix)
	it, err := s.ix.db.NewIterWithContext(ctx, o)
	if err != nil {
		return s.scanError(err)
	}
	defer it.Close()
	for ok := it.First(); ok && bytes.HasPrefix(it.Key(), o.LowerBound); ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := decodeEntry(it.Value())
		if err != nil {
			return s.scanError(err)
		}
		if e.live() && !fn(it.Key()[1:]) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return s.scanError(err)
	}
	return nil
}
