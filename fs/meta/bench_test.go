package meta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// benchStore is a store on the real disk, with a log that costs nothing.
func benchStore(b *testing.B) *Store {
	s, err := Open(Options{Dir: b.TempDir(), FS: vfs.Default, Journal: &memJournal{discard: true}, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	if err := s.Format(0o755, 0, 0); err != nil {
		b.Fatal(err)
	}
	return s
}

func must[T any](b *testing.B) func(T, error) T {
	return func(v T, err error) T {
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("file-%08d.dat", i)
	}
	return names
}

func fill(b *testing.B, s *Store, n int) (names []string, inos []Ino) {
	names = benchNames(n)
	for _, name := range names {
		inos = append(inos, must[Attr](b)(s.Create(RootIno, name, New{})).Ino)
	}
	return names, inos
}

func BenchmarkCreate(b *testing.B) {
	s := benchStore(b)
	names := benchNames(b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		must[Attr](b)(s.Create(RootIno, names[i], New{Mode: 0o644}))
	}
}

func BenchmarkUnlinkReclaim(b *testing.B) {
	s := benchStore(b)
	names, _ := fill(b, s, b.N)
	b.ResetTimer()
	for i := range b.N {
		a := must[Attr](b)(s.Unlink(RootIno, names[i]))
		if err := s.Reclaim(a.Ino); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s := benchStore(b)
	names, _ := fill(b, s, 100_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, where := range []string{"memtable", "tables"} {
		b.Run(where, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				must[Attr](b)(s.Lookup(RootIno, names[rng.IntN(len(names))]))
			}
		})
		if err := s.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("absent", func(b *testing.B) {
		for range b.N {
			if _, err := s.Lookup(RootIno, "absent"); err != ErrNotExist {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkGetAttr(b *testing.B) {
	s := benchStore(b)
	_, inos := fill(b, s, 200_000)
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			must[Attr](b)(s.GetAttr(inos[len(inos)-1-i%10_000]))
		}
	})
	b.Run("warm-parallel", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				must[Attr](b)(s.GetAttr(inos[len(inos)-1-i%10_000]))
			}
		})
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			must[Attr](b)(s.GetAttr(inos[i*7919%len(inos)]))
		}
	})
}

func BenchmarkWriteExtents(b *testing.B) {
	big := block(1)
	big.RawBytes, big.FrameBytes = 64<<10, 60<<10
	b.Run("sequential-64KiB", func(b *testing.B) {
		s := benchStore(b)
		a := must[Attr](b)(s.Create(RootIno, "f", New{}))
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			must[Attr](b)(s.WriteExtents(a.Ino, []Extent{{FileOffset: uint64(i) << 16, Length: 64 << 10, Block: big}}, Change{Mask: ChangeMtime}))
		}
	})
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("random-4KiB/batch=%d", batch), func(b *testing.B) {
			s := benchStore(b)
			a := must[Attr](b)(s.Create(RootIno, "f", New{}))
			const size = 16 << 10 // blocks of 64 KiB, 1 GiB
			for i := range uint64(size) {
				must[Attr](b)(s.WriteExtents(a.Ino, []Extent{{FileOffset: i << 16, Length: 64 << 10, Block: big}}, Change{}))
			}
			rng := rand.New(rand.NewPCG(1, 2))
			exts := make([]Extent, batch)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N / batch {
				step := uint64(size * 16 / batch)
				for j := range exts {
					exts[j] = Extent{FileOffset: (uint64(j)*step + rng.Uint64N(step)) << 12, Length: 4096, Block: big}
				}
				must[Attr](b)(s.WriteExtents(a.Ino, exts, Change{}))
			}
		})
	}
}

func BenchmarkExtents(b *testing.B) {
	s := benchStore(b)
	big := block(1)
	big.RawBytes, big.FrameBytes = 64<<10, 60<<10
	a := must[Attr](b)(s.Create(RootIno, "f", New{}))
	const size = 64 << 10
	for i := range uint64(size) {
		must[Attr](b)(s.WriteExtents(a.Ino, []Extent{{FileOffset: i << 16, Length: 64 << 10, Block: big}}, Change{}))
	}
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var dst []Extent
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		dst = must[[]Extent](b)(s.Extents(a.Ino, rng.Uint64N(size)<<16, 128<<10, dst[:0]))
	}
}

func BenchmarkReadDir100k(b *testing.B) {
	s := benchStore(b)
	fill(b, s, 100_000)
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		n := 0
		if err := s.ReadDir(RootIno, 0, func(DirEntry) bool { n++; return true }); err != nil || n != 100_000 {
			b.Fatal(n, err)
		}
	}
}
