package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// When files are cleaned in the background. At worst a cleaning moves three bytes for each
// that it gives back, and a quarter of the data files is dead.
const (
	deadShareFile  = 4  // one in so many bytes of the file
	deadShareAll   = 5  // and of all files
	deadShareShort = 20 // of the file, when the disk is nearly full
	shortBytes     = 64 << 20

	moveRecords   = 256
	moveBytes     = 1 << 20
	forgetRecords = 512

	// Between two moves the compactor rests so many times as long as the last one took.
	restFactor = 3
	maxRest    = time.Second
	retryAfter = 10 * time.Second
)

// compactor gives the space of dead records back, one data file at a time:
//
//  1. records that count are appended to the active file, unchanged, and the index follows;
//  2. the file is condemned: until it is gone no other one is removed;
//  3. the index forgets its stale records, and with the last one of a deleted key the marker;
//  4. all that is on disk, index included, and the file is removed.
//
// A crash between any two of these leaves a store that is whole, and the work is begun anew.
// A condemned file has to go before any other, because markers that kept its records out may
// have been forgotten: were they removed first and the index then lost, deleted keys came back.
// A file with damage in it is left alone.
type compactor struct {
	wake   chan struct{} // capacity 1
	ended  chan struct{}
	cancel context.CancelFunc

	mu        sync.Mutex // held while a file is cleaned
	skip      map[fileID]bool
	condemned fileID // 0: none

	statMu    sync.Mutex
	running   bool
	reclaimed Reclaimed
}

// Reclaimed is what compaction gave back.
type Reclaimed struct {
	Files int   // data files removed
	Bytes int64 // by which the data files shrank
}

// errDamagedFile: the file stays as it is.
var errDamagedFile = fmt.Errorf("data file is damaged: %w", zdb.ErrCorrupt)

// errBlocked: another file has to go first.
var errBlocked = errors.New("the end of the file before this one is only known here")

func (s *Store) startCompactor() {
	ctx, cancel := context.WithCancel(context.Background())
	s.compactor.cancel = cancel
	s.compactor.ended = make(chan struct{})
	go s.compactLoop(ctx)
	s.compactor.poke()
}

func (c *compactor) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (s *Store) stopCompactor() {
	if s.compactor.cancel != nil {
		s.compactor.cancel()
		<-s.compactor.ended
	}
}

func (s *Store) compactLoop(ctx context.Context) {
	defer close(s.compactor.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.compactor.wake:
		}
		if _, err := s.compactAll(ctx, s.victim, true); err != nil && ctx.Err() == nil {
			s.opts.Log.Warn("compaction interrupted", "dir", s.dir, "err", err)
			if rest(ctx, retryAfter) == nil {
				s.compactor.poke()
			}
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Compact gives back what dead records take, as far as it can, and returns when that is done.
// Without it the same happens by and by in the background, once it pays.
func (s *Store) Compact(ctx context.Context) (Reclaimed, error) {
	err := s.onCommitter(ctx, func() error {
		if s.space.of(s.activeID).deadBytes() > 0 {
			return s.beginFile()
		}
		return nil
	})
	if err != nil {
		return Reclaimed{}, err
	}
	last := fileID(s.highest.Load())
	return s.compactAll(ctx, func() (fileID, bool) {
		for _, u := range s.space.ended(fileID(s.highest.Load())) {
			if u.id <= last && u.deadBytes() > 0 && !s.compactor.skip[u.id] {
				return u.id, true
			}
		}
		return 0, false
	}, false)
}

// victim gives the file that is to be cleaned now, if any.
func (s *Store) victim() (fileID, bool) {
	_, total, dead := s.space.totals()
	short := s.room.isShort()
	for _, u := range s.space.ended(fileID(s.highest.Load())) {
		d := u.deadBytes()
		switch {
		case s.compactor.skip[u.id]:
			continue
		case u.liveBytes == 0,
			d*deadShareFile >= u.endBytes && dead*deadShareAll >= total,
			short && d*deadShareShort >= u.endBytes:
			return u.id, true
		}
		return 0, false // the next ones have less
	}
	return 0, false
}

// compactDue says cheaply whether the compactor may have something to do.
func (s *Store) compactDue() bool {
	_, total, dead := s.space.totals()
	return dead > minFileBytes/4 && dead*deadShareAll >= total
}

// compactAll cleans the files that next names until it names none.
func (s *Store) compactAll(ctx context.Context, next func() (fileID, bool), paced bool) (sum Reclaimed, err error) {
	c := &s.compactor
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setRunning(true)
	defer c.setRunning(false)
	clear(c.skip)
	for {
		id, ok := c.condemned, c.condemned != 0
		if !ok {
			id, ok = next()
		}
		if !ok {
			return sum, nil
		}
		p := &pass{Store: s, ctx: ctx, id: id, paced: paced, index: s.indexBuilds.Load()}
		moved, freed, err := p.run()
		switch {
		case errors.Is(err, errIndexExchanged):
			c.condemned = 0 // and so is the mark
		case errors.Is(err, errDamagedFile), errors.Is(err, errBlocked):
			if c.condemned == id {
				return sum, err
			}
			s.opts.Log.Warn("data file not compacted", "dir", s.dir, "file", id, "err", err)
			c.skip[id] = true
		case err != nil:
			return sum, err
		default:
			r := Reclaimed{Files: 1, Bytes: freed - moved}
			s.opts.Log.Info("data file compacted", "dir", s.dir, "file", id, "bytes", freed, "moved", moved)
			sum.add(r)
			c.note(r)
		}
	}
}

func (r *Reclaimed) add(o Reclaimed) { r.Files += o.Files; r.Bytes += o.Bytes }

func (c *compactor) setRunning(b bool) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	c.running = b
}

func (c *compactor) note(r Reclaimed) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	c.reclaimed.add(r)
}

func (c *compactor) figures() (running bool, sum Reclaimed) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	return c.running, c.reclaimed
}

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

// forgetFiles takes data files that are gone out of the figures. It runs on the committer.
func (s *Store) forgetFiles(gone func(fileID) bool) error {
	b := s.ix.db.NewBatch()
	defer b.Close()
	for _, prefix := range []byte{prefixLive, prefixCondemned} {
		it, err := s.ix.db.NewIter(prefixRange(prefix))
		if err != nil {
			return asDamage(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			if len(it.Key()) != 5 {
				it.Close()
				return fmt.Errorf("figures of a data file: %w", errIndexDamaged)
			}
			id := fileID(binary.BigEndian.Uint32(it.Key()[1:]))
			if gone(id) {
				if err := b.Delete(it.Key(), nil); err != nil {
					it.Close()
					return err
				}
			} else if prefix == prefixCondemned {
				s.compactor.condemned = id
			}
		}
		if err := it.Close(); err != nil {
			return asDamage(err)
		}
	}
	s.space.drop(gone)
	return diskErrorOrNil(s.ix.db.Apply(b, pebble.NoSync))
}
