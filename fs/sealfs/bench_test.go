package sealfs

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const benchBytes = 64 << 20

// BenchmarkWrite writes a table front to back in the 32 KiB pieces pebble's blocks come in.
func BenchmarkWrite(b *testing.B) {
	for _, bench := range []struct {
		name string
		fs   vfs.FS
	}{{"plain", vfs.Default}, {"sealed", New(vfs.Default, testKey, Options{})}} {
		b.Run(bench.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "1.sst")
			piece := text(32<<10, 1)
			b.SetBytes(benchBytes)
			b.ReportAllocs()
			for b.Loop() {
				f, err := bench.fs.Create(path, vfs.WriteCategoryUnspecified)
				must(b, err)
				for range benchBytes / len(piece) {
					if _, err := f.Write(piece); err != nil {
						b.Fatal(err)
					}
				}
				must(b, f.Close()) // no sync: what is measured is sealing, not the disk
			}
		})
	}
}

// BenchmarkRead4K reads blocks of 4 KiB from a table in the page cache.
func BenchmarkRead4K(b *testing.B) {
	sealed := New(vfs.Default, testKey, Options{})
	for _, bench := range []struct {
		name       string
		fs         vfs.FS
		sequential bool
	}{{"plain/random", vfs.Default, false}, {"sealed/random", sealed, false}, {"plain/sequential", vfs.Default, true}, {"sealed/sequential", sealed, true}} {
		b.Run(bench.name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "1.sst")
			put(b, bench.fs, path, text(benchBytes, 1))
			f, err := bench.fs.Open(path)
			must(b, err)
			defer f.Close()
			rng := rand.New(rand.NewPCG(1, 2))
			p := make([]byte, 4096)
			var off int64
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if bench.sequential {
					off = (off + 4096) % benchBytes
				} else {
					off = rng.Int64N(benchBytes/4096) * 4096
				}
				if _, err := f.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
