package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watchFS calls before ahead of each change of the disk; an error of it is the
// result of the change, which is then not made (a short write makes half of it).
type watchFS struct {
	vfs.FS
	mu     sync.Mutex
	before func(op, name string) error
}

func (f *watchFS) ask(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before == nil {
		return nil
	}
	return f.before(op, name)
}

func (f *watchFS) set(fn func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = fn
}

func (f *watchFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.ask("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return &watchFile{file, f, name}, err
}

func (f *watchFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.ask("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return &watchFile{file, f, name}, err
}

func (f *watchFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return &watchFile{file, f, name}, err
}

func (f *watchFS) Rename(o, n string) error {
	if err := f.ask("rename", n); err != nil {
		return err
	}
	return f.FS.Rename(o, n)
}

func (f *watchFS) Remove(n string) error {
	if err := f.ask("remove", n); err != nil {
		return err
	}
	return f.FS.Remove(n)
}

type watchFile struct {
	vfs.File
	fs   *watchFS
	name string
}

func (f *watchFile) Write(p []byte) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *watchFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f *watchFile) Sync() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *watchFile) SyncData() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}
