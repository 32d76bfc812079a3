package store

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

var sizes = []struct {
	name  string
	bytes int
}{{"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"512KiB", 512 << 10}, {"4MiB", 4 << 20}}

func randomValue(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// BenchmarkSet: 16 writers, each waits for its fdatasync; and the same without.
func BenchmarkSet(b *testing.B) {
	for _, noSync := range []bool{false, true} {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("nosync=%v/%s", noSync, size.name), func(b *testing.B) {
				s := mustOpen(b, b.TempDir(), Options{NoSync: noSync})
				value := randomValue(size.bytes)
				var n atomic.Int64
				b.SetBytes(int64(size.bytes))
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := s.Set(ctx, fmt.Appendf(nil, "key%d", n.Add(1)), value); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), Options{NoSync: true})
			value := randomValue(size.bytes)
			const keys = 100
			for i := range keys {
				mustSet(b, s, fmt.Sprint(i), string(value))
			}
			buf := make([]byte, size.bytes+300)
			b.SetBytes(int64(size.bytes))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.GetInto(ctx, fmt.Append(nil, i%keys), func(n int) []byte { return buf[:n] }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
