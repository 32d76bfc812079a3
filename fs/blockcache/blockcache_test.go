package blockcache

import (
	"bytes"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/qsfs/qsfs/fs/wal"
)

// Against a list kept the slow way: the right block or none, the bound kept, the
// least recently used gone first.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const maxBytes = 1000
		c := New(maxBytes)
		type item struct {
			a wal.Addr
			b []byte
		}
		var model []item // most recently used first
		find := func(a wal.Addr) int {
			for i, it := range model {
				if it.a == a {
					return i
				}
			}
			return -1
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				a := wal.Addr{Segment: rapid.Uint64Range(0, 3).Draw(t, "segment"), Offset: rapid.Uint32Range(0, 5).Draw(t, "offset")}
				b := bytes.Repeat([]byte{byte(a.Segment), byte(a.Offset)}, rapid.IntRange(0, 600).Draw(t, "half"))
				c.Put(a, b)
				if find(a) >= 0 || len(b) > maxBytes {
					return
				}
				model = append([]item{{a, b}}, model...)
				for total := 0; ; total = 0 {
					for _, it := range model {
						total += len(it.b)
					}
					if total <= maxBytes {
						break
					}
					model = model[:len(model)-1]
				}
			},
			"get": func(t *rapid.T) {
				a := wal.Addr{Segment: rapid.Uint64Range(0, 3).Draw(t, "segment"), Offset: rapid.Uint32Range(0, 5).Draw(t, "offset")}
				got := c.Get(a)
				i := find(a)
				if i < 0 {
					if got != nil {
						t.Fatalf("a block that was not put or is gone")
					}
					return
				}
				if !bytes.Equal(got, model[i].b) {
					t.Fatalf("got %d bytes, want %d", len(got), len(model[i].b))
				}
				it := model[i]
				model = append([]item{it}, append(model[:i:i], model[i+1:]...)...)
			},
			"": func(t *rapid.T) {
				if c.bytes > maxBytes || len(c.entries) != c.used.Len() || len(c.entries) != len(model) {
					t.Fatalf("%d bytes, %d entries, %d in the list, %d wanted", c.bytes, len(c.entries), c.used.Len(), len(model))
				}
			},
		})
	})
}

func TestConcurrent(t *testing.T) {
	c := New(1 << 16)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				a := wal.Addr{Segment: uint64(i % 17), Offset: uint32(i*w) % 13}
				if b := c.Get(a); b != nil && (b[0] != byte(a.Segment) || b[1] != byte(a.Offset)) {
					t.Errorf("the block of another address at %v", a)
				}
				c.Put(a, append([]byte{byte(a.Segment), byte(a.Offset)}, make([]byte, 2000)...))
			}
		})
	}
	wg.Wait()
	if c.bytes > c.maxBytes {
		t.Errorf("%d bytes, limit %d", c.bytes, c.maxBytes)
	}
}
