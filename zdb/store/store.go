package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
	"golang.org/x/sys/unix"
)

// Store is an open store. All methods may be called at the same time.
type Store struct {
	opts Options
	dir  string
	lock io.Closer
	id   storeID

	files  *files
	queue  queue
	limit  atomic.Int64
	live   atomic.Int64
	count  atomic.Int64
	failed atomic.Pointer[error] // the index could not be written: no more writes

	reindexAsked atomic.Bool // the index was found damaged
	indexBuilds  atomic.Uint64
	device       string
	caches       *Caches
	space        space
	room         room
	dirty        dirtyFiles
	compactor    compactor
	highest      atomic.Uint32 // id of the active data file

	readErrors, writeErrors, damages atomic.Int64
	lastErrorUnix                    atomic.Int64

	// indexMu guards ix against being exchanged or closed under a reader.
	indexMu sync.RWMutex
	ix      *index
	closed  bool

	// What follows belongs to the committer: whoever has queue.lead.
	active     *dataFile // the file that is appended to; nil when the next write has to begin one
	activeID   fileID    // its id, or that of the last one
	lastID     fileID    // highest id ever tried
	end        int64     // where the next record goes
	durable    int64     // the active file is on disk up to here
	lastRecord uint32    // offset of its last record, 0 where it has none
	undurable  bool      // a file before it could not be made durable (NoSync only)
	meta       meta
	behind     int64 // the disk was told to write the active file up to here (NoSync only)
	scratch    []byte
	batch      []*Write
	pending    map[string]*change // of the batch
	changes    []*change
	slab       []change
	slabUsed   int

	// Since the index was last told to flush.
	unflushedBytes  int64
	unflushedWrites int
	writing         atomic.Bool // a write behind is under way
	background      sync.WaitGroup
	ending          chan struct{} // closed when Close has queue.lead
	released        chan struct{} // closed when Close is done
}

// Open opens the store in dir and creates it when there is none. It is
// zdb.ErrLocked when another process, or this one, has it open. After a crash the
// tail of the last file is read again; what was torn there is cut and logged.
func Open(dir string, o Options) (*Store, error) {
	o.setDefaults()
	s := &Store{opts: o, dir: dir, ending: make(chan struct{}), released: make(chan struct{})}
	s.queue.init()
	s.pending = make(map[string]*change)
	s.changes, s.slab = make([]*change, 0, maxBatchWrites), make([]change, 0, maxBatchWrites)
	s.room = room{fs: o.FS, dir: dir, reserveBytes: o.ReserveBytes, now: o.Now}
	s.compactor.wake = make(chan struct{}, 1)
	s.compactor.skip = make(map[fileID]bool)
	s.limit.Store(o.MaxBytes)
	if s.caches = o.Caches; s.caches == nil {
		// Two memtables are there as a rule.
		s.caches = NewCaches(o.CacheBytes+2*memTableBytes, openTables)
	}
	if err := s.open(); err != nil {
		s.release()
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	s.queue.lead <- struct{}{}
	s.startCompactor()
	return s, nil
}

func (s *Store) open() error {
	if err := s.makeDir(); err != nil {
		return diskError(err)
	}
	lock, err := lockDir(s.opts.FS, s.dir)
	if err != nil {
		return err
	}
	s.lock = lock
	s.device = deviceOf(s.dir, s.opts.FS)
	r := recovery{Store: s}
	return r.run()
}

func (s *Store) makeDir() error {
	if _, err := s.opts.FS.Stat(s.dir); err == nil {
		return nil
	}
	if err := s.opts.FS.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return syncDir(s.opts.FS, s.opts.FS.PathDir(s.dir))
}

// lockDir takes the exclusive lock on the directory.
func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	if fs != vfs.Default {
		l, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", zdb.ErrLocked, err)
		}
		return l, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, zdb.ErrLocked
		}
		return nil, diskError(err)
	}
	return dirLock{f}, nil
}

type dirLock struct{ *os.File }

// Close unlocks first: a program that is being started at this moment has a copy of the
// file for as long as it takes, which would keep the lock.
func (l dirLock) Close() error {
	return errors.Join(unix.Flock(int(l.Fd()), unix.LOCK_UN), l.File.Close())
}

func deviceOf(dir string, fs vfs.FS) string {
	var st unix.Stat_t
	if fs != vfs.Default || unix.Stat(dir, &st) != nil {
		return ""
	}
	return fmt.Sprintf("local %d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)))
}

// diskError gives an error of the disk its sentinel.
func diskError(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", zdb.ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", zdb.ErrDisk, err)
}

func diskErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return diskError(err)
}

// release closes what is open, in the order that recovery can live with.
func (s *Store) release() error {
	var errs []error
	if s.active != nil {
		if err := s.syncActive(); err != nil {
			errs = append(errs, err)
		}
		s.files.release(s.active)
		s.active = nil
	}
	s.indexMu.Lock()
	s.closed = true
	if s.ix != nil {
		if len(errs) == 0 && !s.ix.fs.isFull() && !s.ix.fs.isFrozen() {
			if err := s.ix.db.Flush(); err != nil {
				s.opts.Log.Warn("index not flushed, the next open replays", "err", err)
			}
		}
		if err := s.ix.close(); err != nil {
			s.opts.Log.Warn("index not closed cleanly", "err", err)
		}
		s.ix = nil
	}
	s.indexMu.Unlock()
	if s.opts.Caches == nil {
		s.caches.Close()
	}
	if s.files != nil {
		s.files.closeAll()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// Close waits for the writes that are queued, makes all durable and lets go of the
// directory. A second call does nothing.
func (s *Store) Close() error {
	s.stopCompactor()
	if !s.queue.close() {
		<-s.released
		return nil
	}
	defer close(s.released)
	<-s.queue.lead // for good
	close(s.ending)
	for s.commitNext() {
	}
	err := s.release()
	s.background.Wait()
	return err
}

// SetLimit changes the most live payload bytes; 0 means no limit.
func (s *Store) SetLimit(maxBytes int64) { s.limit.Store(maxBytes) }

// Len is the number of live keys.
func (s *Store) Len() int64 {
	_, n := s.usage()
	return n
}

// usage gives live payload bytes and keys; it waits while an index is built anew.
func (s *Store) usage() (liveBytes, keys int64) {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	return s.live.Load(), s.count.Load()
}

// Ping says whether the store takes writes: nil, zdb.ErrClosed, or what stopped it.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.closed {
		return zdb.ErrClosed
	}
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// TakesWrites says whether a new value would be taken now: nil, what Ping says, or
// zdb.ErrNoSpace while the disk is full. The limit of the store does not count.
func (s *Store) TakesWrites(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	s.indexMu.RLock()
	full := s.ix != nil && s.ix.fs.isFull()
	s.indexMu.RUnlock()
	if full || !s.room.fits(0) {
		return fmt.Errorf("%w: disk", zdb.ErrNoSpace)
	}
	return nil
}

// Space says how full the store and its disk are.
func (s *Store) Space(ctx context.Context) (zdb.Space, error) {
	if err := ctx.Err(); err != nil {
		return zdb.Space{}, err
	}
	used, _ := s.usage()
	sp := zdb.Space{UsedBytes: used, LimitBytes: s.limit.Load(), Device: s.device}
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	switch {
	case err == nil:
		sp.DiskFreeBytes = int64(usage.AvailBytes)
	case !errors.Is(err, vfs.ErrUnsupported):
		return zdb.Space{}, diskError(err)
	}
	return sp, nil
}

// Stats are figures for an operator.
type Stats struct {
	Entries, LiveBytes       int64
	IndexBytes               int64  // index on disk
	DataFile                 uint32 // the active one, and where it ends
	DataOffset               int64
	DataFiles                int   // how many there are
	DataBytes, DeadBytes     int64 // on disk, and what of it compaction can give back
	Compactions              int64 // data files removed since the store was opened
	ReclaimedBytes           int64 // by which they shrank the store
	Compacting               bool
	NextSequence             uint64
	NextID                   uint64 // of the next new value in a sequential store
	ReadErrors, WriteErrors  int64  // disk or checksum errors since the store was opened
	Damages                  int64  // damaged places met at open
	LastErrorUnix            int64
	DataPath, IndexPath      string
	DataActive, IndexCurrent string
}

// Stats gives the figures as they are now.
func (s *Store) Stats() Stats {
	live, keys := s.usage()
	st := Stats{
		Entries: keys, LiveBytes: live,
		ReadErrors: s.readErrors.Load(), WriteErrors: s.writeErrors.Load(), Damages: s.damages.Load(),
		LastErrorUnix: s.lastErrorUnix.Load(), DataPath: s.dir, IndexPath: s.indexDir(),
	}
	running, reclaimed := s.compactor.figures()
	st.Compacting, st.Compactions, st.ReclaimedBytes = running, int64(reclaimed.Files), reclaimed.Bytes
	st.DataFiles, st.DataBytes, st.DeadBytes = s.space.totals()
	active := fileID(s.highest.Load())
	st.DataFile, st.DataOffset, st.DataActive = uint32(active), s.space.end(active), s.files.path(active)
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.ix == nil {
		return st
	}
	st.IndexBytes = s.ix.sizeBytes()
	if m, ok, err := s.ix.meta(); ok && err == nil {
		st.NextSequence, st.NextID = m.NextSequence, m.NextSequence-1
		st.IndexCurrent = s.indexDir()
	}
	return st
}

func (s *Store) indexDir() string { return s.opts.FS.PathJoin(s.dir, "index") }

// noteUnread counts a read that failed, but not one that its caller gave no memory for.
func (s *Store) noteUnread(err error) {
	if !errors.Is(err, zdb.ErrUnavailable) {
		s.noteReadError()
	}
}

func (s *Store) noteReadError()  { s.readErrors.Add(1); s.lastErrorUnix.Store(s.opts.Now().Unix()) }
func (s *Store) noteWriteError() { s.writeErrors.Add(1); s.lastErrorUnix.Store(s.opts.Now().Unix()) }

// fail ends writing: the index on disk stays as it is, and the next open
// replays the rest.
func (s *Store) fail(err error) {
	err = diskError(err)
	if s.failed.CompareAndSwap(nil, &err) {
		s.noteWriteError()
		s.opts.Log.Error("store takes no more writes", "dir", s.dir, "err", err)
	}
}
