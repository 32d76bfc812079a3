package segment

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/fs/wal"
)

// tmpSuffix marks a file on its way into the cache.
const tmpSuffix = ".tmp"

// maxOpenFiles bounds the descriptors kept open for reading.
const maxOpenFiles = 128

// files reads segments from the log directory and from the cache directory,
// into which they are moved once the log no longer needs them. Least recently
// read segments leave the cache when it outgrows its limit. A file may vanish
// or rot at any time: the reader falls back to the nodes.
type files struct {
	disk             vfs.FS
	logDir, cacheDir string
	maxBytes         int64

	mu     sync.Mutex
	open   map[uint64]*openFile
	recent *list.List // of *openFile, most recently used first
	cached map[uint64]*cachedFile
	used   *list.List // of *cachedFile, most recently used first
	bytes  int64
}

type openFile struct {
	ordinal uint64
	f       vfs.File
	refs    int
	doomed  bool
	elem    *list.Element
}

type cachedFile struct {
	ordinal   uint64
	sizeBytes int64
	elem      *list.Element
}

func newFiles(disk vfs.FS, logDir, cacheDir string, maxBytes int64) (*files, error) {
	fl := &files{
		disk: disk, logDir: logDir, cacheDir: cacheDir, maxBytes: maxBytes,
		open: map[uint64]*openFile{}, recent: list.New(),
		cached: map[uint64]*cachedFile{}, used: list.New(),
	}
	if err := disk.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("segment cache: %w", err)
	}
	// What a Fetch that was cut short left behind.
	names, err := disk.List(cacheDir)
	if err != nil {
		return nil, fmt.Errorf("segment cache: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			disk.Remove(filepath.Join(cacheDir, name)) // one that stays is overwritten or tried again
		}
	}
	ordinals, err := wal.List(disk, cacheDir)
	if err != nil {
		return nil, fmt.Errorf("segment cache: %w", err)
	}
	for _, o := range ordinals {
		if fi, err := disk.Stat(wal.Path(cacheDir, o)); err == nil {
			fl.addCached(o, fi.Size())
		}
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.evict()
	return fl, nil
}

// readAt reads from a local file; fs.ErrNotExist when there is none.
func (fl *files) readAt(ordinal uint64, b []byte, off int64) error {
	of, err := fl.acquire(ordinal)
	if err != nil {
		return err
	}
	defer fl.release(of)
	_, err = of.f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("segment %d at %d: %w", ordinal, off, io.ErrUnexpectedEOF)
	}
	return err
}

func (fl *files) acquire(ordinal uint64) (*openFile, error) {
	fl.mu.Lock()
	if of := fl.open[ordinal]; of != nil {
		of.refs++
		fl.recent.MoveToFront(of.elem)
		if c := fl.cached[ordinal]; c != nil {
			fl.used.MoveToFront(c.elem)
		}
		fl.mu.Unlock()
		return of, nil
	}
	fl.mu.Unlock()
	f, err := fl.disk.Open(wal.Path(fl.logDir, ordinal))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fl.disk.Open(wal.Path(fl.cacheDir, ordinal))
	}
	if err != nil {
		return nil, err
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if of := fl.open[ordinal]; of != nil { // somebody else was as quick
		f.Close()
		of.refs++
		return of, nil
	}
	of := &openFile{ordinal: ordinal, f: f, refs: 1}
	if removed(f) { // meanwhile: kept open it would take space that nobody counts
		of.doomed = true
		return of, nil
	}
	if c := fl.cached[ordinal]; c != nil {
		fl.used.MoveToFront(c.elem)
	}
	of.elem = fl.recent.PushFront(of)
	fl.open[ordinal] = of
	for e := fl.recent.Back(); e != nil && fl.recent.Len() > maxOpenFiles; {
		old := e.Value.(*openFile)
		e = e.Prev()
		if old != of {
			fl.doom(old)
		}
	}
	return of, nil
}

// removed reports whether the file has no name any more.
func removed(f vfs.File) bool {
	var st unix.Stat_t
	return f.Fd() != vfs.InvalidFd && unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}

func (fl *files) release(of *openFile) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	of.refs--
	if of.doomed && of.refs == 0 {
		of.f.Close()
	}
}

// doom closes a descriptor as soon as nobody reads from it. mu is held.
func (fl *files) doom(of *openFile) {
	fl.recent.Remove(of.elem)
	delete(fl.open, of.ordinal)
	of.doomed = true
	if of.refs == 0 {
		of.f.Close()
	}
}

// retire moves a segment from the log to the cache.
func (fl *files) retire(ordinal uint64) error {
	from, to := wal.Path(fl.logDir, ordinal), wal.Path(fl.cacheDir, ordinal)
	fi, err := fl.disk.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("retire segment: %w", err)
	}
	if fl.maxBytes < fi.Size() || fl.disk.MkdirAll(fl.cacheDir, 0o700) != nil || fl.disk.Rename(from, to) != nil {
		// Another file system, or no room: the nodes have it.
		if err := fl.disk.Remove(from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("retire segment: %w", err)
		}
		fl.drop(ordinal)
		return nil
	}
	fl.addCached(ordinal, fi.Size())
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.evict()
	return nil
}

func (fl *files) addCached(ordinal uint64, sizeBytes int64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.cached[ordinal] != nil {
		return
	}
	c := &cachedFile{ordinal: ordinal, sizeBytes: sizeBytes}
	c.elem = fl.used.PushFront(c)
	fl.cached[ordinal] = c
	fl.bytes += sizeBytes
}

// evict removes least recently used files beyond the limit. mu is held.
func (fl *files) evict() {
	for fl.bytes > fl.maxBytes && fl.used.Len() > 0 {
		fl.forget(fl.used.Back().Value.(*cachedFile).ordinal)
	}
}

// shrink removes least recently used files until n bytes are free again, or
// there are none left.
func (fl *files) shrink(n int64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for upTo := fl.bytes - n; fl.bytes > max(upTo, 0) && fl.used.Len() > 0; {
		fl.forget(fl.used.Back().Value.(*cachedFile).ordinal)
	}
}

// forget removes a cached file. mu is held.
func (fl *files) forget(ordinal uint64) {
	if c := fl.cached[ordinal]; c != nil {
		fl.used.Remove(c.elem)
		delete(fl.cached, ordinal)
		fl.bytes -= c.sizeBytes
		fl.disk.Remove(wal.Path(fl.cacheDir, ordinal)) // one that is gone already is as good
	}
	if of := fl.open[ordinal]; of != nil {
		fl.doom(of)
	}
}

// drop removes a cached file that turned out to be bad. The log's own files
// are never removed here.
func (fl *files) drop(ordinal uint64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.forget(ordinal)
}

func (fl *files) close() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, of := range fl.open {
		fl.doom(of)
	}
}

// CacheDir is the folder of whole segments below a volume's cache folder.
func CacheDir(volumeCacheDir string) string { return filepath.Join(volumeCacheDir, "segments") }

// fits reports whether a file of this size goes into the cache without
// pushing another one out.
func (fl *files) fits(sizeBytes int64) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.bytes+sizeBytes <= fl.maxBytes
}
