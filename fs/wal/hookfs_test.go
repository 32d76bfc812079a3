package wal

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hookFS calls before and after around each operation that changes the filesystem beneath. An error of before is the
// operation's. Its files say that they can be truncated and do not do it, as when the power goes before that is durable:
// so the log writes zeros ahead on it, and they stay.
type hookFS struct {
	vfs.FS
	mu     sync.Mutex
	before func(op string) error
	after  func(op string)
}

func (fs *hookFS) set(before func(op string) error, after func(op string)) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.before, fs.after = before, after
}

func (fs *hookFS) do(op string, f func() error) error {
	fs.mu.Lock()
	before, after := fs.before, fs.after
	fs.mu.Unlock()
	if before != nil {
		if err := before(op); err != nil {
			return err
		}
	}
	err := f()
	if after != nil && err == nil {
		after(op)
	}
	return err
}

func (fs *hookFS) wrap(op string, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := fs.do(op, func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &hookFile{f, fs}, nil
}

func (fs *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap("create", func() (vfs.File, error) { return fs.FS.Create(name, c) })
}

func (fs *hookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return fs.wrap("create", func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, c, o...) })
}

func (fs *hookFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &hookFile{f, fs}, nil
}

func (fs *hookFS) Remove(name string) error {
	return fs.do("remove", func() error { return fs.FS.Remove(name) })
}

func (fs *hookFS) Rename(from, to string) error {
	return fs.do("rename", func() error { return fs.FS.Rename(from, to) })
}

type hookFile struct {
	vfs.File
	fs *hookFS
}

func (f *hookFile) Write(p []byte) (n int, err error) {
	err = f.fs.do("write", func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *hookFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do("write", func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *hookFile) Preallocate(off, n int64) error {
	return f.fs.do("preallocate", func() error { return f.File.Preallocate(off, n) })
}

func (f *hookFile) Sync() error     { return f.fs.do("sync", f.File.Sync) }
func (f *hookFile) SyncData() error { return f.fs.do("sync", f.File.SyncData) }

func (f *hookFile) Truncate(int64) error {
	return f.fs.do("truncate", func() error { return nil })
}
