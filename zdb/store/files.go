package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
	"golang.org/x/sys/unix"
)

// dataFile is an open data file. refs counts the readers and the table that holds
// it; the last to let go closes it.
type dataFile struct {
	id   fileID
	file vfs.File
	seed seed
	refs int // guarded by files.mu
	used uint64
}

// files is the table of open data files: at most maxOpenFiles, least recently
// used first out. The active file is held by the store besides.
type files struct {
	fs    vfs.FS
	dir   string
	store storeID

	mu    sync.Mutex
	open  map[fileID]*dataFile
	clock uint64
}

func newFiles(fs vfs.FS, dir string, id storeID) *files {
	return &files{fs: fs, dir: dir, store: id, open: make(map[fileID]*dataFile)}
}

func (t *files) path(id fileID) string { return t.fs.PathJoin(t.dir, fileName(id)) }

// acquire opens a file for reading or finds it open. The caller releases it.
func (t *files) acquire(id fileID) (*dataFile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	f := t.open[id]
	if f == nil {
		file, err := t.fs.Open(t.path(id), vfs.RandomReadsOption)
		if err != nil {
			return nil, fmt.Errorf("open data file %d: %w", id, err)
		}
		f = t.addLocked(id, file)
	}
	f.used = t.clock
	f.refs++
	return f, nil
}

// add puts a file that the store opened for writing into the table.
func (t *files) add(id fileID, file vfs.File) *dataFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	f := t.addLocked(id, file)
	f.used = t.clock
	f.refs++
	return f
}

func (t *files) addLocked(id fileID, file vfs.File) *dataFile {
	if len(t.open) >= maxOpenFiles {
		var oldest *dataFile
		for _, f := range t.open {
			if oldest == nil || f.used < oldest.used {
				oldest = f
			}
		}
		delete(t.open, oldest.id)
		t.dropLocked(oldest)
	}
	f := &dataFile{id: id, file: file, seed: newSeed(t.store, id), refs: 1}
	t.open[id] = f
	return f
}

// retain holds a file that the caller holds already once more.
func (t *files) retain(f *dataFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.refs++
}

func (t *files) release(f *dataFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(f)
}

func (t *files) dropLocked(f *dataFile) {
	if f.refs--; f.refs == 0 {
		f.file.Close()
	}
}

// forget lets go of the table's hold on a file that is about to be removed.
func (t *files) forget(id fileID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.open[id]; f != nil {
		delete(t.open, id)
		t.dropLocked(f)
	}
}

// reset lets go of all files and goes on with those of another store id.
func (t *files) reset(id storeID) {
	t.closeAll()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.store = id
}

// closeAll lets go of the table's own holds.
func (t *files) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, f := range t.open {
		delete(t.open, id)
		t.dropLocked(f)
	}
}

// list gives the ids of the data files that exist, in order.
func (t *files) list() ([]fileID, error) { return listFiles(t.fs, t.dir) }

// create makes a data file with its header and brings both it and its directory
// entry to the disk. On an error nothing stays behind.
func (t *files) create(h *fileHeader) (*dataFile, error) {
	path := t.path(h.ID)
	if _, err := t.fs.Stat(path); err == nil {
		return nil, fmt.Errorf("create data file %d: exists already: %w", h.ID, zdb.ErrCorrupt)
	}
	file, err := t.fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create data file %d: %w", h.ID, err)
	}
	if _, err = file.WriteAt(h.append(nil), 0); err == nil {
		if err = file.Sync(); err == nil {
			err = syncDir(t.fs, t.dir)
		}
	}
	if err != nil {
		file.Close()
		t.fs.Remove(path)
		return nil, fmt.Errorf("create data file %d: %w", h.ID, err)
	}
	return t.add(h.ID, file), nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// writeVec writes the buffers one behind the other at off, in one system call
// where the file is the operating system's.
func writeVec(f vfs.File, bufs [][]byte, off int64) error {
	fd := f.Fd()
	if fd == vfs.InvalidFd || fd > math.MaxInt32 {
		for _, b := range bufs {
			n, err := f.WriteAt(b, off)
			if err != nil {
				return err
			}
			off += int64(n)
		}
		return nil
	}
	defer runtime.KeepAlive(f)
	for len(bufs) > 0 {
		n, err := unix.Pwritev(int(fd), bufs, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off += int64(n)
		for len(bufs) > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			bufs[0] = bufs[0][n:]
		}
	}
	return nil
}

// readFull reads exactly p; where the file ends before, that is zdb.ErrCorrupt.
func readFull(f vfs.File, p []byte, off int64) error {
	if len(p) == 0 {
		return nil // at the end of a file it would be an error
	}
	n, err := f.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file ends before the record does", zdb.ErrCorrupt)
	}
	return diskError(err)
}

// truncate gives space behind end back where the file is the operating system's.
func truncate(f vfs.File, end int64) bool {
	fd := f.Fd()
	if fd == vfs.InvalidFd || fd > math.MaxInt32 {
		return false
	}
	defer runtime.KeepAlive(f)
	return unix.Ftruncate(int(fd), end) == nil
}
