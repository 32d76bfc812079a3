package sealfs

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// frameReader is a layout being read. Safe for concurrent use.
type frameReader interface {
	readAt(p []byte, off int64) (int, error) // as io.ReaderAt
	size() int64                             // plaintext
	prefetch(off, length int64) error
	verify() error
}

// emptyReader reads a stream that nothing was written to.
type emptyReader struct{}

func (emptyReader) readAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, io.EOF
}
func (emptyReader) size() int64                      { return 0 }
func (emptyReader) prefetch(off, length int64) error { return nil }
func (emptyReader) verify() error                    { return nil }

// readFile is the handle that Open gives.
type readFile struct {
	base vfs.File
	name string
	r    frameReader
	pos  atomic.Int64
}

var _ vfs.File = (*readFile)(nil)

func (f *readFile) wrap(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("read %s: %w", f.name, err)
}

func (f *readFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.r.readAt(p, f.pos.Load())
	f.pos.Add(int64(n))
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, f.wrap(err)
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.r.readAt(p, off)
	return n, f.wrap(err)
}

func (f *readFile) Stat() (vfs.FileInfo, error) {
	info, err := f.base.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{FileInfo: info, sizePlain: f.r.size()}, nil
}

func (f *readFile) Close() error                        { return f.base.Close() }
func (f *readFile) Prefetch(off, length int64) error    { return f.r.prefetch(off, length) }
func (f *readFile) Fd() uintptr                         { return vfs.InvalidFd }
func (f *readFile) Sync() error                         { return f.base.Sync() }
func (f *readFile) SyncData() error                     { return f.base.SyncData() }
func (f *readFile) SyncTo(length int64) (bool, error)   { return false, nil }
func (f *readFile) Preallocate(off, length int64) error { return nil }

func (f *readFile) Write(p []byte) (int, error) {
	return 0, fmt.Errorf("write %s, open for reading: %w", f.name, ErrUnsupported)
}

func (f *readFile) WriteAt(p []byte, off int64) (int, error) {
	return 0, fmt.Errorf("write %s at %d: %w", f.name, off, ErrUnsupported)
}

// openReader makes the reader for a base file of the given name.
func (fs *FS) openReader(base vfs.File, name string, rawSize int64) (frameReader, error) {
	if rawSize < headerBytes && layoutOf(fs.base.PathBase(name)) == layoutStream {
		return emptyReader{}, nil
	}
	h, err := readHeader(base, rawSize)
	if err != nil {
		return nil, err
	}
	c, err := newFileCipher(&fs.key, h)
	if err != nil {
		return nil, err
	}
	if h.layout == layoutFixed {
		return openFixed(base, rawSize, c, fs.cache)
	}
	return openStream(base, rawSize, c)
}

// openBase opens what is at name on the base file system: a sealed file, or a directory as it is.
func (fs *FS) openBase(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	base, err := fs.base.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	info, err := base.Stat()
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	if info.IsDir() {
		return base, nil
	}
	r, err := fs.openReader(base, name, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), base.Close())
	}
	return &readFile{base: base, name: name, r: r}, nil
}
