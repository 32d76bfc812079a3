package keyfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is what create asks of the operating system, so that tests can make each step fail.
type disk struct {
	write   func(f *os.File, data []byte) error
	sync    func(f *os.File) error
	rename  func(from, to string) error // never replaces
	syncDir func(dir string) error
}

var osDisk = disk{
	write:   func(f *os.File, data []byte) error { _, err := f.Write(data); return err },
	sync:    (*os.File).Sync,
	rename:  renameNoReplace,
	syncDir: syncDir,
}

// create makes a file of mode 0600 with data, durable and whole. When it returns an error there is no file that was not
// there before, but for a crash in between, which may leave one named .qsfs-key-*.
func create(d disk, path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".qsfs-key-*") // O_EXCL, mode 0600
	if err != nil {
		return fmt.Errorf("keyfile: %w", err)
	}
	made := f.Name()
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(made)
			err = fmt.Errorf("keyfile: write %s: %w", path, err)
		}
	}()
	if err := f.Chmod(0o600); err != nil { // whatever the umask took away
		return err
	}
	if err := d.write(f, data); err != nil {
		return err
	}
	if err := d.sync(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := d.rename(made, path); err != nil {
		return err
	}
	made = path
	return d.syncDir(dir)
}

// renameNoReplace gives EEXIST when to exists, be it a dangling symbolic link. Where the filesystem has no such rename
// (renameat2(2): EINVAL), link(2) does the same.
func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return linkNoReplace(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func linkNoReplace(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
