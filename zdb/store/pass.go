package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// pass is the cleaning of one file.
type pass struct {
	*Store
	ctx   context.Context
	id    fileID
	paced bool

	file  *dataFile
	end   int64
	moved int64
	index uint64 // which index this began with: one built anew needs a pass from the start
}

// errIndexExchanged: the index was built anew under the pass.
var errIndexExchanged = errors.New("index was built anew")

// step runs fn on the committer.
func (p *pass) step(fn func() error) error {
	return p.onCommitter(p.ctx, func() error {
		if p.indexBuilds.Load() != p.index {
			return errIndexExchanged
		}
		return fn()
	})
}

// movable is a record that counts.
type movable struct {
	key    []byte
	header recordHeader
	offset uint32
	value  []byte
}

func (p *pass) run() (movedBytes, freedBytes int64, err error) {
	if p.compactor.condemned == p.id { // perhaps the last try ended when it was gone already
		if _, err := p.opts.FS.Stat(p.files.path(p.id)); errors.Is(err, os.ErrNotExist) {
			return 0, 0, p.remove()
		}
	}
	if err := p.settlePredecessor(); err != nil {
		return 0, 0, err
	}
	p.file, err = p.files.acquire(p.id)
	if err != nil {
		return 0, 0, diskError(err)
	}
	defer func() { p.files.release(p.file) }()
	p.end = p.space.end(p.id)
	if p.compactor.condemned != p.id {
		if err := p.move(); err != nil {
			return 0, 0, err
		}
		if err := p.condemn(); err != nil {
			return 0, 0, err
		}
	}
	if err := p.forget(); err != nil {
		return 0, 0, err
	}
	return p.moved, p.end, p.remove()
}

// settlePredecessor makes the file before this one end where this one's header says, for once
// this one is gone nobody knows.
func (p *pass) settlePredecessor() error {
	h, err := (&recovery{Store: p.Store}).readHeader(p.id)
	if err != nil {
		return err
	}
	if h.damaged {
		return errDamagedFile
	}
	if h.header.Flags&fileFloor != 0 {
		// With this one goes the word that files before it are void, so they go first.
		return p.removeBefore(p.id)
	}
	if h.header.Previous == 0 {
		return nil
	}
	path := p.files.path(h.header.Previous)
	st, err := p.opts.FS.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return diskError(err)
	case st.Size() <= int64(h.header.PreviousEnd):
		return nil
	}
	f, err := p.opts.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return diskError(err)
	}
	defer f.Close()
	if !truncate(f, int64(h.header.PreviousEnd)) {
		return errBlocked
	}
	return diskErrorOrNil(f.Sync())
}

// removeBefore removes the files that Clear could not remove.
func (p *pass) removeBefore(id fileID) error {
	ids, err := p.files.list()
	if err != nil {
		return diskError(err)
	}
	for _, void := range ids {
		if void >= id {
			break
		}
		if err := p.opts.FS.Remove(p.files.path(void)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return diskError(err)
		}
	}
	return nil
}

// walk gives fn each record of the file, in order.
func (p *pass) walk(fn func(f *found) error) error {
	w := walker{file: p.file.file, seed: p.file.seed, end: p.end}
	for off := int64(fileHeaderBytes); off < p.end; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		f, ok := w.next(off)
		switch {
		case w.err != nil:
			return diskError(w.err)
		case !ok, f.Key == nil:
			return fmt.Errorf("%w: at %d", errDamagedFile, off)
		}
		if err := fn(&f); err != nil {
			return err
		}
		off = f.End
	}
	return nil
}

// move writes the records that count to the active file.
func (p *pass) move() error {
	var batch []movable
	var sizeBytes int64
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		start := time.Now()
		if err := p.step(func() error { return p.moveBatch(batch) }); err != nil {
			return err
		}
		p.moved += sizeBytes
		batch, sizeBytes = batch[:0], 0
		if p.paced && !p.room.isShort() {
			return rest(p.ctx, min(maxRest, restFactor*time.Since(start)))
		}
		return nil
	}
	err := p.walk(func(f *found) error {
		e, ok, err := p.findEntry(f.Key)
		if err != nil {
			return err
		}
		if !ok || e.File != p.id || int64(e.Offset) != f.Offset {
			return nil
		}
		m := movable{key: bytes.Clone(f.Key), header: f.Header, offset: uint32(f.Offset), value: make([]byte, f.Header.ValueBytes)}
		if err := readFull(p.file.file, m.value, f.End-int64(len(m.value))); err != nil {
			return err
		}
		if checksum(m.value) != m.header.ValueCRC {
			return fmt.Errorf("%w: value at %d", errDamagedFile, f.Offset)
		}
		batch = append(batch, m)
		if sizeBytes += m.header.sizeBytes(); len(batch) >= moveRecords || sizeBytes >= moveBytes {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	return err
}

// moveBatch runs on the committer: no write comes between the last look and the move.
func (p *pass) moveBatch(batch []movable) error {
	if f := p.failed.Load(); f != nil {
		return *f
	}
	var changes []*change
	var sizeBytes int64
	for i := range batch {
		m := &batch[i]
		e, ok, err := find(p.ix.db, m.key)
		if err != nil {
			p.markDamaged(err)
			return fmt.Errorf("%w: %w", zdb.ErrDisk, err)
		}
		if !ok || e.File != p.id || e.Offset != m.offset {
			continue // written again or deleted meanwhile
		}
		changes = append(changes, &change{key: m.key, value: m.value, head: m.header, old: &e})
		sizeBytes += m.header.sizeBytes()
	}
	if !p.room.fitsMove(sizeBytes) {
		return fmt.Errorf("%w: compaction", zdb.ErrNoSpace)
	}
	return p.write(changes)
}

func (p *pass) condemn() error {
	err := p.step(func() error {
		return p.ix.db.Set(fileKey(nil, prefixCondemned, p.id), nil, pebble.NoSync)
	})
	if err == nil {
		p.compactor.condemned = p.id
	}
	return err
}

// forget takes the stale records of the file out of the index.
func (p *pass) forget() error {
	type record struct {
		key      []byte
		sequence uint64
	}
	var batch []record
	flush := func() error {
		err := p.step(func() error {
			t := p.beginTx(true)
			defer t.discard()
			for _, r := range batch {
				if err := t.forgetRecord(r.key, r.sequence, p.id); err != nil {
					return diskError(err)
				}
			}
			return diskErrorOrNil(t.commit())
		})
		batch = batch[:0]
		return err
	}
	err := p.walk(func(f *found) error {
		if f.Header.Delete {
			return nil
		}
		if batch = append(batch, record{bytes.Clone(f.Key), f.Header.Sequence}); len(batch) < forgetRecords {
			return nil
		}
		return flush()
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return err
}

// remove deletes the file when all that replaces it is on disk.
func (p *pass) remove() error {
	if err := p.step(p.settleDisk); err != nil {
		return err
	}
	if err := p.removeFile(); err != nil {
		return err
	}
	err := p.onCommitter(p.ctx, func() error {
		return p.forgetFiles(func(id fileID) bool { return id == p.id })
	})
	p.compactor.condemned = 0
	return err
}

// removeFile holds the index while it does: one built anew in between would know the file.
func (p *pass) removeFile() error {
	p.indexMu.RLock()
	defer p.indexMu.RUnlock()
	switch {
	case p.closed || p.ix == nil:
		return zdb.ErrClosed
	case p.indexBuilds.Load() != p.index:
		return errIndexExchanged
	}
	if err := p.ix.db.Flush(); err != nil {
		return diskError(err)
	}
	if f := p.failed.Load(); f != nil { // then the flush was none
		return *f
	}
	p.files.forget(p.id)
	if err := p.opts.FS.Remove(p.files.path(p.id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return diskError(err)
	}
	return diskErrorOrNil(syncDir(p.opts.FS, p.dir))
}

// settleDisk makes the data files durable; a store with NoSync may have some that are not.
func (s *Store) settleDisk() error {
	if s.undurable {
		return fmt.Errorf("%w: an earlier data file could not be made durable", zdb.ErrDisk)
	}
	return s.syncActive()
}
