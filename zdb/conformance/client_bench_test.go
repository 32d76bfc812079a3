package conformance

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/qsfs/qsfs/zdb/client"
)

func BenchmarkServer(b *testing.B) { benchmark(b, kinds[0]) }
func BenchmarkOriginal(b *testing.B) {
	if os.Getenv(originalVariable) == "" {
		b.Skip(originalVariable + " does not name a zdb binary of threefoldtech/0-db")
	}
	benchmark(b, kinds[2])
}

// benchmark measures SET and GET with 1 and with 32 callers at once.
func benchmark(b *testing.B, k kind) {
	p := k.start(b, config{Admin: true})
	c := open(b, p.admin("bench"), client.Options{CreateNamespace: true})
	for _, sizeBytes := range []int{4 << 10, 512 << 10} {
		const keys = 64
		value := bytes.Repeat([]byte("0123456789abcdef"), sizeBytes/16)
		key := func(i int64) []byte { return fmt.Appendf(nil, "%d/%d", sizeBytes, i%keys) }
		for i := range int64(keys) {
			if err := c.Set(b.Context(), key(i), value); err != nil {
				b.Fatal(err)
			}
		}
		for _, callers := range []int{1, 32} {
			run := func(name string, do func(i int64) error) {
				b.Run(fmt.Sprintf("%s/%dKiB/callers=%d", name, sizeBytes>>10, callers), func(b *testing.B) {
					b.SetBytes(int64(sizeBytes))
					b.ReportAllocs()
					var next atomic.Int64
					var wg sync.WaitGroup
					for range callers {
						wg.Go(func() {
							for {
								i := next.Add(1)
								if i > int64(b.N) {
									return
								}
								if err := do(i); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
				})
			}
			run("SET", func(i int64) error {
				// A changed value: a server may answer a repeated one without writing.
				fresh := append(fmt.Appendf(nil, "%016d", i), value[16:]...)
				return c.Set(b.Context(), key(i), fresh)
			})
			run("GET", func(i int64) error {
				_, err := c.Get(b.Context(), key(i))
				return err
			})
		}
	}
}
