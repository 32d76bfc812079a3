package fs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// disk is the local disk of a volume. It is reached through one interface, so
// that a disk that loses power can stand in for it under all of a volume.
type disk struct{ vfs.FS }

func (d disk) exists(path string) bool {
	_, err := d.Stat(path)
	return err == nil
}

func (d disk) readFile(path string) ([]byte, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// writeFile replaces path whole, durably.
func (d disk) writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := d.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.Rename(tmp, path)
	}
	if err != nil {
		d.Remove(tmp)
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

func (d disk) syncDir(dir string) error {
	f, err := d.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeDir makes a folder and what is missing above it, durably.
func (d disk) makeDir(dir string) error {
	above := d.existingParent(dir)
	if err := d.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for dir != above {
		dir = filepath.Dir(dir)
		if err := d.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// list names the entries of a folder; one that is not there has none.
func (d disk) list(dir string) ([]string, error) {
	names, err := d.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// syncFiles makes the files of a folder durable.
func (d disk) syncFiles(dir string) error {
	names, err := d.list(dir)
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names {
		f, err := d.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return d.syncDir(dir)
}

// removeIfThere removes a file that may not exist.
func (d disk) removeIfThere(path string) error {
	if err := d.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// freeBytes is what an unprivileged process may still write below dir; the
// greatest number when that can't be told.
func (d disk) freeBytes(dir string) int64 {
	u, err := d.GetDiskUsage(dir)
	if err != nil {
		return math.MaxInt64
	}
	return int64(min(u.AvailBytes, math.MaxInt64))
}

// lock makes this process the only user of a state folder.
func (d disk) lock(dir string) (io.Closer, error) {
	path := filepath.Join(dir, lockFile)
	if d.FS != vfs.Default {
		return d.Lock(path)
	}
	// By flock: the locks that vfs takes end when the process closes the file elsewhere.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, withHint(fmt.Errorf("%w: another process on this machine uses %s", ErrLocked, dir),
				`"qsfs status" shows where it is mounted; "qsfs umount" ends it`)
		}
		return nil, err
	}
	return f, nil
}
