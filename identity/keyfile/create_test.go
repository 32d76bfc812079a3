package keyfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Whatever step fails, the error comes back and the directory is as it was.
func TestCreateFaults(t *testing.T) {
	injected := errors.New("injected")
	fail := func(change func(*disk)) disk { d := osDisk; change(&d); return d }
	for _, v := range []struct {
		name string
		disk disk
	}{
		{"write fails", fail(func(d *disk) { d.write = func(*os.File, []byte) error { return injected } })},
		{"write stops half way", fail(func(d *disk) {
			d.write = func(f *os.File, data []byte) error { return errors.Join(osDisk.write(f, data[:len(data)/2]), injected) }
		})},
		{"sync fails", fail(func(d *disk) { d.sync = func(*os.File) error { return injected } })},
		{"rename fails", fail(func(d *disk) { d.rename = func(string, string) error { return injected } })},
		{"directory is not synced", fail(func(d *disk) { d.syncDir = func(string) error { return injected } })},
	} {
		t.Run(v.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := create(v.disk, filepath.Join(dir, "volume.key"), []byte("secret")); !errors.Is(err, injected) {
				t.Errorf("got %v, want the injected error", err)
			}
			onlyFile(t, dir)
		})
	}
}

// The order is what makes it durable: data, then its name, then the directory.
func TestCreateOrder(t *testing.T) {
	var steps []string
	step := func(name string) { steps = append(steps, name) }
	d := disk{
		write:   func(f *os.File, data []byte) error { step("write"); return osDisk.write(f, data) },
		sync:    func(f *os.File) error { step("sync"); return osDisk.sync(f) },
		rename:  func(from, to string) error { step("rename"); return osDisk.rename(from, to) },
		syncDir: func(dir string) error { step("syncDir"); return osDisk.syncDir(dir) },
	}
	if err := create(d, filepath.Join(t.TempDir(), "k"), []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if got := len(steps); got != 4 || steps[0] != "write" || steps[1] != "sync" || steps[2] != "rename" || steps[3] != "syncDir" {
		t.Errorf("got %q", steps)
	}
}

// What is there already, be it a file, a directory or a dangling link, is never replaced, followed or changed.
func TestCreateNeverReplaces(t *testing.T) {
	for name, rename := range map[string]func(from, to string) error{"renameat2": renameNoReplace, "link": linkNoReplace} {
		t.Run(name, func(t *testing.T) {
			d := osDisk
			d.rename = rename
			dir := t.TempDir()
			file, sub, link := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
			if err := create(d, file, []byte("first")); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Mkdir(sub, 0o700), os.Symlink(filepath.Join(dir, "nowhere"), link)); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{file, sub, link} {
				if err := create(d, path, []byte("second")); !errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: got %v, want ErrExist", path, err)
				}
			}
			got, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(got, []byte("first")) {
				t.Errorf("got %q, %v", got, err)
			}
			onlyFile(t, dir, "a", "b", "c")
		})
	}
}

func TestCreateWithoutDirectory(t *testing.T) {
	if err := create(osDisk, filepath.Join(t.TempDir(), "none", "k"), []byte("secret")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
