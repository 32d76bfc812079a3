package store

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// indexFS stands between pebble and the disk, because pebble ends the process
// when its manifest can't be written.
//
// While the disk is full, a write waits for space and full is set, so that the
// store refuses new writes at once. On any other write error, and when the store
// closes during such a wait, the file system is frozen: from then on changes
// are swallowed, on disk everything stays as it was at that moment, as if the
// power had gone. The index is derived data, so that is always safe.
type indexFS struct {
	vfs.FS
	log    *slog.Logger
	onFail func(error)

	mu      sync.Mutex
	stopped chan struct{}
	full    int // writers that wait for space
	frozen  bool
	ending  atomic.Bool // compactions are to end
}

// compactionCategory is what pebble calls the tables that a compaction writes.
const compactionCategory = "pebble-compaction"

// errEnding ends a compaction of the index: the store closes.
var errEnding = errors.New("zdb: store closes")

// endCompactions makes compactions fail, so that a close need not wait for what may be hundreds
// of MiB. They only order what is there, and are begun anew some time later.
func (f *indexFS) endCompactions() { f.ending.Store(true) }

const spaceRetryInterval = 200 * time.Millisecond

func newIndexFS(base vfs.FS, log *slog.Logger, onFail func(error)) *indexFS {
	return &indexFS{FS: base, log: log, onFail: onFail, stopped: make(chan struct{})}
}

func (f *indexFS) isFull() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full > 0
}

func (f *indexFS) isFrozen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.frozen
}

// stopWaiting lets writers that wait for space give up: the store closes.
func (f *indexFS) stopWaiting() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.stopped:
	default:
		close(f.stopped)
	}
}

func (f *indexFS) freeze(err error) {
	f.mu.Lock()
	first := !f.frozen
	f.frozen = true
	f.mu.Unlock()
	if first {
		f.onFail(err)
	}
}

// change runs a change of the disk under the rules above; do may be run again.
func (f *indexFS) change(do func() error) error {
	if f.isFrozen() {
		return nil
	}
	err := do()
	if err == nil {
		return nil
	}
	if !isNoSpace(err) {
		f.freeze(err)
		return nil
	}
	f.log.Warn("disk full, index waits for space", "err", err)
	f.mu.Lock()
	f.full++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.full--
		f.mu.Unlock()
	}()
	tick := time.NewTicker(spaceRetryInterval)
	defer tick.Stop()
	for {
		select {
		case <-f.stopped:
			f.freeze(err)
			return nil
		case <-tick.C:
		}
		if f.isFrozen() {
			return nil
		}
		if err = do(); err == nil {
			return nil
		}
		if !isNoSpace(err) {
			f.freeze(err)
			return nil
		}
	}
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (f *indexFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	compaction := c == compactionCategory
	if compaction && f.ending.Load() {
		return nil, errEnding
	}
	var file vfs.File
	err := f.change(func() (err error) {
		file, err = f.FS.Create(name, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil { // frozen
		return &indexFile{File: nowhere{}, fs: f}, nil
	}
	return &indexFile{File: file, fs: f, compaction: compaction}, nil
}

func (f *indexFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	if err != nil {
		return nil, err
	}
	return &indexFile{File: file, fs: f}, nil
}

func (f *indexFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Remove(oldname); err != nil {
		return nil, err
	}
	return f.Create(newname, c)
}

func (f *indexFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &indexFile{File: file, fs: f}, nil
}

func (f *indexFS) Remove(name string) error {
	if f.isFrozen() {
		return nil
	}
	return f.FS.Remove(name)
}

func (f *indexFS) RemoveAll(name string) error {
	if f.isFrozen() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

func (f *indexFS) Rename(oldname, newname string) error {
	return f.change(func() error { return f.FS.Rename(oldname, newname) })
}

func (f *indexFS) Link(oldname, newname string) error {
	return f.change(func() error { return f.FS.Link(oldname, newname) })
}

func (f *indexFS) Unwrap() vfs.FS { return f.FS }

// indexFile is a file of the index under indexFS's rules.
type indexFile struct {
	vfs.File
	fs         *indexFS
	compaction bool
}

func (f *indexFile) Write(p []byte) (int, error) {
	if f.compaction && f.fs.ending.Load() {
		return 0, errEnding
	}
	done := 0
	err := f.fs.change(func() error {
		n, err := f.File.Write(p[done:])
		done += max(n, 0)
		return err
	})
	if err != nil {
		return done, err
	}
	return len(p), nil
}

func (f *indexFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.change(func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// A sync that failed is not tried again: the kernel may have dropped the pages.
func (f *indexFile) sync(do func() error) error {
	if f.fs.isFrozen() {
		return nil
	}
	if err := do(); err != nil {
		f.fs.freeze(err)
	}
	return nil
}

func (f *indexFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *indexFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *indexFile) SyncTo(length int64) (bool, error) {
	full := false
	err := f.sync(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *indexFile) Preallocate(off, length int64) error { return nil }

// nowhere is a file that is created after the freeze.
type nowhere struct{}

func (nowhere) Close() error                           { return nil }
func (nowhere) Read([]byte) (int, error)               { return 0, fs.ErrClosed }
func (nowhere) ReadAt([]byte, int64) (int, error)      { return 0, fs.ErrClosed }
func (nowhere) Write(p []byte) (int, error)            { return len(p), nil }
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nowhere) Preallocate(int64, int64) error         { return nil }
func (nowhere) Stat() (vfs.FileInfo, error)            { return nil, os.ErrNotExist }
func (nowhere) Sync() error                            { return nil }
func (nowhere) SyncTo(int64) (bool, error)             { return true, nil }
func (nowhere) SyncData() error                        { return nil }
func (nowhere) Prefetch(int64, int64) error            { return nil }
func (nowhere) Fd() uintptr                            { return vfs.InvalidFd }
