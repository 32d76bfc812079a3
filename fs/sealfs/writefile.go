package sealfs

import (
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sealer seals frames into out and hands them to the base file in order.
type sealer struct {
	base   vfs.File
	cipher *fileCipher
	nonce  nonce
	out    []byte // sealed, not yet written
	at     int64  // sealed offset behind out
}

func newSealer(base vfs.File, c *fileCipher) sealer {
	return sealer{base: base, cipher: c}
}

// begin puts the header in front of the first frame. A file that nothing is written
// to stays empty: pebble's marker files cost nothing.
func (s *sealer) begin() {
	if s.at == 0 {
		s.out = s.cipher.header.append(s.out)
		s.at = headerBytes
	}
}

func (s *sealer) add(plain []byte, k kind) {
	s.begin()
	before := len(s.out)
	s.out = s.cipher.seal(&s.nonce, s.out, plain, s.at, k, 0)
	s.at += int64(len(s.out) - before)
}

func (s *sealer) flush() error {
	n, err := s.base.Write(s.out)
	if err == nil && n < len(s.out) {
		err = io.ErrShortWrite
	}
	s.out = s.out[:0]
	return err
}

// frameWriter is a layout being written.
type frameWriter interface {
	write(p []byte) error
	beforeSync() error // brings all that was written to the base file, so that it opens
	afterSync()        // all of it is durable
	beforeClose() error
	heldBack() bool // something written is not in the base file
	size() int64    // plaintext
}

// writeFile is the handle that Create gives. An error while writing is final: what is
// behind it in the file is unknown, so nothing more is sealed.
type writeFile struct {
	base vfs.File
	name string

	mu  sync.Mutex // guards what follows
	w   frameWriter
	err error
}

var _ vfs.File = (*writeFile)(nil)

func newWriteFile(base vfs.File, name string, c *fileCipher) *writeFile {
	f := &writeFile{base: base, name: name}
	if c.header.layout == layoutFixed {
		f.w = newFixedWriter(base, c)
	} else {
		f.w = newStreamWriter(base, c)
	}
	return f
}

// final makes err the file's last word.
func (f *writeFile) final(op string, err error) error {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s %s: %w", op, f.name, err)
	}
	return f.err
}

func (f *writeFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, f.err
	}
	if err := f.final("write", f.w.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *writeFile) Sync() error     { return f.sync(f.base.Sync) }
func (f *writeFile) SyncData() error { return f.sync(f.base.SyncData) }

func (f *writeFile) sync(base func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if err := f.final("write", f.w.beforeSync()); err != nil {
		return err
	}
	// After a failed fsync the kernel may have dropped the pages: a later one would lie.
	if err := f.final("sync", base()); err != nil {
		return err
	}
	f.w.afterSync()
	return nil
}

// SyncTo starts writing back what the base file has; it promises no durability unless it says so.
func (f *writeFile) SyncTo(length int64) (fullSync bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false, f.err
	}
	full, err := f.base.SyncTo(length) // a little less is stored by then than length says; it is only a hint
	return full && !f.w.heldBack(), f.final("sync", err)
}

func (f *writeFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.final("write", f.w.beforeClose())
	}
	err := f.base.Close()
	if f.err != nil {
		return f.err
	}
	return err
}

func (f *writeFile) Stat() (vfs.FileInfo, error) {
	info, err := f.base.Stat()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fileInfo{FileInfo: info, sizePlain: f.w.size()}, nil
}

// Preallocate does nothing: the trailer must be the end of the file, and pebble
// preallocates only logs.
func (f *writeFile) Preallocate(offset, length int64) error { return nil }

func (f *writeFile) Prefetch(offset, length int64) error { return nil }
func (f *writeFile) Fd() uintptr                         { return vfs.InvalidFd }

func (f *writeFile) Read(p []byte) (int, error) {
	return 0, fmt.Errorf("read %s, open for writing: %w", f.name, ErrUnsupported)
}

func (f *writeFile) ReadAt(p []byte, off int64) (int, error) {
	return 0, fmt.Errorf("read %s, open for writing: %w", f.name, ErrUnsupported)
}

func (f *writeFile) WriteAt(p []byte, off int64) (int, error) {
	return 0, fmt.Errorf("write %s at %d: %w", f.name, off, ErrUnsupported)
}
