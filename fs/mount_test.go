package fs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// mounted puts a fresh volume on simulated nodes under a real mount point.
func mounted(t *testing.T) (*Volume, string) {
	t.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skip("no /dev/fuse here")
	} else {
		f.Close()
	}
	g := newGrid(t, 2, 1, 3)
	o := g.options(t.TempDir())
	if err := Create(context.Background(), g.cfg, o); err != nil {
		t.Fatal(err)
	}
	v := g.open(o)
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m, err := v.Mount(dir, MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
		m.Wait()
		if err := v.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return v, dir
}

// A file written through the mount reads back through it.
func TestMountReadWrite(t *testing.T) {
	_, dir := mounted(t)
	want := randomBytes(9, 3<<20+17)
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, want, 0o640); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back: %v, equal %v", err, bytes.Equal(got, want))
	}
}

// go-fuse's own POSIX suite.
func TestPosix(t *testing.T) {
	for name, fn := range posixtest.All {
		if name == "FcntlFlockLocksFile" {
			// It wants two descriptors of one process to exclude each other by F_SETLK, which
			// POSIX rules out (fcntl: locks belong to the process) and no local filesystem does.
			continue
		}
		t.Run(name, func(t *testing.T) {
			_, dir := mounted(t)
			fn(t, dir)
		})
	}
}
