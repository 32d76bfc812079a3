package wal

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noFd hides the descriptor of a file, and with it O_DIRECT.
type noFd struct{ vfs.File }

func (noFd) Fd() uintptr { return vfs.InvalidFd }

type noFdFS struct{ vfs.FS }

func (f noFdFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return noFd{file}, err
}

// After every Sync the file on the disk replays to exactly what was appended, whatever the sizes: written in
// pages past the cache, or, where that can't be, through it.
func TestDirectWrites(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"direct": vfs.Default, "cached": noFdFS{vfs.Default}} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			dir := filepath.Join(t.TempDir(), "log")
			l := mustOpen(t, Options{Dir: dir, Key: testKey, FS: fsys, SegmentBytes: 1 << 20})
			sizes := []int{1, 300, 4000, 4096, 20000, 65536, 100000}
			var sum uint64 // of the sizes appended
			for range 200 {
				n := sizes[r.IntN(len(sizes))]
				b := make([]byte, n)
				for i := range b {
					b[i] = byte(r.Uint32())
				}
				_, err := l.AppendBlock(Owner{Ino: uint64(n)}, b)
				must(t, err)
				sum += uint64(n)
				if r.IntN(4) > 0 {
					continue
				}
				must(t, l.Sync(ctx, l.End()))
				var got uint64
				_, err = Replay(vfs.Default, dir, &testKey, Position{}, func(e Entry) error {
					got += uint64(e.Addr.RawBytes)
					return nil
				})
				must(t, err)
				if got != sum {
					t.Fatalf("%d bytes on the disk after a sync, %d appended", got, sum)
				}
			}
			must(t, l.Close(ctx))
		})
	}
}
