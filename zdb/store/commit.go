package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/zdb"
)

// copyBelowBytes: shorter values are copied behind their header; longer ones are
// handed to the kernel as they are.
const copyBelowBytes = 16 << 10

// change is a write on its way into the file.
type change struct {
	write *Write // nil for a record kept from a torn file
	key   []byte
	value []byte
	head  recordHeader
	at    entry  // where it goes
	old   *entry // what it replaces, perhaps a delete marker; nil for nothing; may be the at of a change before
	found entry  // what old is, unless that
}

// commitUntil commits batches until w is done. The caller has queue.lead.
func (s *Store) commitUntil(w *Write) {
	for !w.Done() && s.commitNext() {
	}
}

// commitNext commits what is queued first; false when nothing is. The caller has queue.lead.
func (s *Store) commitNext() bool {
	s.reindexIfDamaged()
	maxWrites := maxBatchWrites
	if s.opts.SyncEach {
		maxWrites = 1
	}
	s.batch = s.queue.take(s.batch[:0], maxWrites)
	defer clear(s.batch)
	switch {
	case len(s.batch) == 0:
		return false
	case s.batch[0].run != nil: // is alone
		s.batch[0].finish(s.batch[0].run())
	default:
		s.commit(s.batch)
		clear(s.slab[:s.slabUsed]) // values are their owners' again
		s.slabUsed = 0
	}
	return true
}

// commit decides, writes, syncs, indexes and acknowledges a batch.
func (s *Store) commit(batch []*Write) {
	changes, err := s.tryCommit(batch)
	switch {
	case err == nil:
	case isNoSpace(err) && len(changes) > 1:
		// Some of them may still fit; those that were decided already are done.
		var left []*Write
		for _, c := range changes {
			left = append(left, c.write)
		}
		for len(left) > 0 {
			n := (len(left) + 1) / 2
			s.commit(left[:n])
			left = left[n:]
		}
	default:
		for _, c := range changes {
			c.write.finish(err)
		}
	}
}

// tryCommit finishes the writes of the batch that need no change of the file and,
// when it succeeds, all others. When it fails the latter are given back.
func (s *Store) tryCommit(batch []*Write) ([]*change, error) {
	if p := s.failed.Load(); p != nil {
		for _, w := range batch {
			w.finish(*p)
		}
		return nil, nil
	}
	d := decider{store: s, live: s.meta.LiveBytes, changes: s.changes[:0], slab: s.slab[:0]}
	if len(batch) > 1 {
		d.pending = s.pending
		defer clear(s.pending)
	}
	if len(batch) >= finderWrites {
		d.finder = s.ix.newFinder()
		defer d.finder.close()
	}
	var late []*Write // hang on changes of this batch
	for _, w := range batch {
		done, err := d.decide(w)
		switch {
		case done && d.pending[string(w.Key)] == nil:
			w.finish(err)
		case done:
			w.err = err
			late = append(late, w)
		}
	}
	s.slabUsed = max(s.slabUsed, len(d.slab))
	if err := s.write(d.changes); err != nil {
		for _, w := range late {
			w.finish(err)
		}
		return d.changes, err
	}
	for _, c := range d.changes {
		c.write.Changed = true
		c.write.finish(nil)
	}
	for _, w := range late {
		w.finish(w.err)
	}
	return nil, nil
}

// write makes changes durable and then visible.
func (s *Store) write(changes []*change) error {
	err := s.append(changes)
	if err == nil {
		if err = s.applyChanges(changes); err != nil {
			s.fail(err)
			err = diskError(err)
		}
	}
	if err != nil {
		s.noteWriteError()
		s.opts.Log.Warn("write failed", "dir", s.dir, "err", err)
	}
	return err
}

// decider turns writes into changes, in order; pending is what this batch does to
// a key so far, nil for a batch of one.
type decider struct {
	store   *Store
	live    int64
	placed  int64 // bytes of the records so far
	changes []*change
	slab    []change // what changes point to; it has room for a batch
	pending map[string]*change
	finder  *finder // nil for a small batch
}

// decide makes a change of w, or says with done that there is none to make.
func (d *decider) decide(w *Write) (done bool, err error) {
	s := d.store
	if w.newID {
		w.Key = appendID(make([]byte, 0, idBytes), s.meta.NextSequence-1)
	}
	d.slab = append(d.slab, change{})
	c := &d.slab[len(d.slab)-1]
	var old *entry
	before := d.pending[string(w.Key)]
	if before != nil {
		old = &before.at
	} else {
		e, ok, err := d.find(w.Key)
		if err != nil {
			s.noteReadError()
			s.markDamaged(err)
			return true, fmt.Errorf("%w: %w", zdb.ErrDisk, err)
		}
		if ok {
			c.found, old = e, &c.found
		}
	}
	if s.ix.fs.isFull() {
		return true, fmt.Errorf("%w: index", zdb.ErrNoSpace)
	}
	oldBytes := int64(0)
	if old.live() {
		oldBytes = int64(old.ValueBytes)
	}
	valueCRC := checksum(w.Value)
	switch {
	case w.Delete && !old.live():
		return true, zdb.ErrNotFound
	case w.WriteOnce && old.live():
		return true, zdb.ErrWorm
	case w.Delete:
	case d.overLimit(int64(len(w.Value)), oldBytes):
		return true, fmt.Errorf("%w: namespace limit", zdb.ErrNoSpace)
	case s.opts.Sequential && !w.newID && !old.live():
		return true, zdb.ErrUpdateOnly
	case old.live() && d.same(w, valueCRC, old, before):
		return true, nil
	case !s.room.fits(d.placed + w.sizeBytes()):
		s.compactor.poke()
		return true, fmt.Errorf("%w: disk", zdb.ErrNoSpace)
	}
	now := w.UnixTime
	if now == 0 {
		now = s.opts.Now().Unix()
	}
	c.write, c.key, c.value, c.old = w, w.Key, w.Value, old
	c.head = recordHeader{
		ValueCRC: valueCRC, Delete: w.Delete, KeyBytes: uint8(len(w.Key)), ValueBytes: uint32(len(w.Value)),
		Sequence: s.meta.NextSequence, UnixTime: now,
	}
	if w.Delete {
		c.value, c.head.ValueBytes, c.head.ValueCRC = nil, 0, 0
	} else {
		s.meta.NextSequence++ // a sequence that failed is not used again
	}
	c.at = entry{Deleted: w.Delete, ValueBytes: c.head.ValueBytes, ValueCRC: c.head.ValueCRC, Sequence: c.head.Sequence}
	d.live += int64(c.head.ValueBytes) - oldBytes
	d.placed += w.sizeBytes()
	d.changes = append(d.changes, c)
	if d.pending != nil {
		d.pending[string(w.Key)] = c
	}
	return false, nil
}

func (d *decider) find(key []byte) (entry, bool, error) {
	if d.finder != nil {
		return d.finder.find(key)
	}
	return find(d.store.ix.db, key)
}

// overLimit is 0-db's rule: live + new > limit + old value of this key.
func (d *decider) overLimit(newBytes, oldBytes int64) bool {
	limit := d.store.limit.Load()
	return limit > 0 && d.live+newBytes > limit+oldBytes
}

// same says whether the key has this value already.
func (d *decider) same(w *Write, crc uint32, old *entry, before *change) bool {
	if old.ValueCRC != crc || old.ValueBytes != uint32(len(w.Value)) {
		return false
	}
	if before != nil {
		return bytes.Equal(before.value, w.Value)
	}
	got, err := d.store.read(*old, w.Key, nil)
	return err == nil && bytes.Equal(got, w.Value) // what can't be read is written again
}

// append writes the changes to the active file and makes them durable.
func (s *Store) append(changes []*change) error {
	if len(changes) == 0 {
		return nil
	}
	var sizeBytes int64
	for _, c := range changes {
		sizeBytes += c.head.sizeBytes()
	}
	if s.active == nil || (s.end > fileHeaderBytes && s.end+sizeBytes > s.fileLimit()) {
		if err := s.beginFile(); err != nil {
			return diskError(err)
		}
	}
	end, bufs := s.encode(changes)
	if err := writeVec(s.active.file, bufs, s.end); err != nil {
		if !isNoSpace(err) || !truncate(s.active.file, s.end) {
			s.endFile()
		}
		return diskError(err)
	}
	if s.opts.NoSync {
		s.end = end
		s.writeBehind()
	} else {
		if err := s.active.file.SyncData(); err != nil {
			// The kernel may have dropped the pages: what is behind end is unknown for good.
			s.endFile()
			return diskError(err)
		}
		dropCached(s.active.file, s.end, end)
		s.end, s.durable = end, end
	}
	s.room.took(sizeBytes)
	last := changes[len(changes)-1]
	s.lastRecord = last.at.Offset
	s.space.ends(s.activeID, s.end)
	s.dirty.add(s.activeID)
	return nil
}

// fileLimit is where a data file is ended. Files of a small store are small, because what is
// dead in the file that is written to can't be given back. Without syncs they are larger: to end
// one waits for the disk, which otherwise nobody does.
func (s *Store) fileLimit() int64 {
	_, bytes, _ := s.space.totals()
	least := int64(minFileBytes)
	if s.opts.NoSync {
		least = unsyncedFileBytes
	}
	return max(min(s.opts.FileBytes, least), min(s.opts.FileBytes, bytes/8))
}

// dropCached gives the page cache of what is durable back: a value that was just stored is
// not what is read next, and on a machine with many nodes would push out what is. (Measured
// in a virtual machine 2026-11: touching ever new memory costs more than the writing.)
func dropCached(f vfs.File, from, to int64) {
	if fd := f.Fd(); fd != vfs.InvalidFd && to-from >= dropBytes {
		_ = unix.Fadvise(int(fd), from, to-from, unix.FADV_DONTNEED) // a hint
	}
}

// writeBehind has the disk write what was not synced, and gives its page cache back, while
// the next writes go on: it does not wait, and is skipped while the last one is under way.
func (s *Store) writeBehind() {
	from, to := s.behind, s.end
	fd := s.active.file.Fd()
	if to-from < writeBehindBytes || fd == vfs.InvalidFd || !s.writing.CompareAndSwap(false, true) {
		return
	}
	s.behind = to
	f := s.active
	s.files.retain(f)
	s.background.Go(func() {
		defer s.writing.Store(false)
		defer s.files.release(f)
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		if unix.SyncFileRange(int(fd), from, to-from, all) == nil { // no promise is made with it
			_ = unix.Fadvise(int(fd), from, to-from, unix.FADV_DONTNEED)
		}
	})
}

// dropBytes: smaller writes share pages with their neighbours and stay cached.
const dropBytes = 64 << 10

// encode places the changes behind end and gives the bytes to write. Headers,
// keys and short values go to the scratch buffer.
func (s *Store) encode(changes []*change) (end int64, bufs [][]byte) {
	need := 0
	for _, c := range changes {
		need += recordHeaderBytes + len(c.key)
		if len(c.value) < copyBelowBytes {
			need += len(c.value)
		}
	}
	if cap(s.scratch) < need {
		s.scratch = make([]byte, 0, need)
	}
	buf, from := s.scratch[:0], 0
	end = s.end
	previous := s.lastRecord
	for _, c := range changes {
		c.head.Synced, c.head.Previous = uint32(s.durable), previous
		previous = uint32(end)
		c.at = entry{
			File: s.active.id, Offset: uint32(end), Deleted: c.head.Delete, ValueBytes: c.head.ValueBytes,
			ValueCRC: c.head.ValueCRC, UnixTime: c.head.UnixTime, Sequence: c.head.Sequence,
		}
		end += c.head.sizeBytes()
		buf = c.head.append(buf, s.active.seed, c.key)
		if len(c.value) < copyBelowBytes {
			buf = append(buf, c.value...)
		} else {
			bufs = append(bufs, buf[from:], c.value)
			from = len(buf)
		}
	}
	if from < len(buf) {
		bufs = append(bufs, buf[from:])
	}
	return end, bufs
}

// beginFile ends the active file, durable as a whole, and starts the next one.
func (s *Store) beginFile() error {
	if s.active != nil {
		if err := s.syncActive(); err != nil {
			if !s.opts.NoSync {
				return err
			}
			s.opts.Log.Warn("data file not durable", "file", s.activeID, "err", err)
			s.undurable = true
		}
		s.endFile()
	}
	h := fileHeader{Store: s.id, CreatedUnix: s.opts.Now().Unix(), FirstSequence: s.meta.NextSequence}
	if s.activeID != 0 {
		h.Previous, h.PreviousEnd = s.activeID, uint64(s.end)
	}
	return s.startFile(&h)
}

// startFile creates a data file and makes it the active one.
func (s *Store) startFile(h *fileHeader) error {
	if s.lastID == math.MaxUint32 {
		return errors.New("no file ids left")
	}
	s.lastID++
	h.ID = s.lastID
	if s.opts.Sequential {
		h.Flags |= fileSequential
	}
	f, err := s.files.create(h)
	if err != nil {
		return err
	}
	closed := s.activeID
	s.active, s.activeID, s.end, s.durable, s.lastRecord = f, f.id, fileHeaderBytes, fileHeaderBytes, 0
	s.behind = 0
	s.highest.Store(uint32(f.id))
	s.space.ends(s.activeID, s.end)
	if s.opts.OnJump != nil && closed != 0 {
		s.opts.OnJump(uint32(closed), uint32(f.id))
	}
	return nil
}

// endFile lets go of the active file at its present end; the next write begins another.
func (s *Store) endFile() {
	if s.active != nil {
		s.files.release(s.active)
		s.active = nil
	}
}

func (s *Store) syncActive() error {
	if s.active == nil || s.durable == s.end {
		return nil
	}
	if err := s.active.file.SyncData(); err != nil {
		return diskError(err)
	}
	s.durable = s.end
	return nil
}

// applyChanges brings durable changes into the index, where readers find them.
func (s *Store) applyChanges(changes []*change) error {
	if len(changes) == 0 {
		return nil
	}
	t := s.beginTx(false)
	defer t.discard()
	written := int64(0)
	for _, c := range changes {
		if err := t.replace(c.key, &c.at, c.old); err != nil {
			return err
		}
		t.meta.NextSequence = max(t.meta.NextSequence, c.head.nextSequence()) // a record kept from a tear brings its own
		written += c.head.sizeBytes()
	}
	t.meta.Reached, t.meta.LastRecord = position{File: s.activeID, Offset: uint32(s.end)}, s.lastRecord
	if err := t.commit(); err != nil {
		return err
	}
	if s.compactDue() {
		s.compactor.poke()
	}
	s.unflushedBytes += written
	s.unflushedWrites += len(changes)
	if s.unflushedBytes >= indexFlushBytes || s.unflushedWrites >= indexFlushWrites {
		s.unflushedBytes, s.unflushedWrites = 0, 0
		if _, err := s.ix.db.AsyncFlush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) setMeta(m meta) {
	s.meta = m
	s.live.Store(m.LiveBytes)
	s.count.Store(m.Entries)
}
