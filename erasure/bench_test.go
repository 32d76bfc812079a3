package erasure

import (
	"bytes"
	"context"
	"testing"

	"github.com/klauspost/reedsolomon"

	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/zdb"
)

// sink is a node that takes everything and keeps nothing: what Put itself costs.
type sink struct{}

func (sink) Get(context.Context, []byte) ([]byte, error) { return nil, zdb.ErrNotFound }
func (sink) Set(context.Context, []byte, []byte) error   { return nil }
func (sink) Del(context.Context, []byte) error           { return nil }

func benchPool(b *testing.B, node func() Node) *Pool {
	o := PoolOptions{Keys: testKeys()}
	for i := range 6 {
		o.Members = append(o.Members, Member{ID: NodeID(i), Node: node()})
	}
	p, err := NewPool(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return p
}

var benchGeometry = Geometry{4, 2, DefaultShardBytes}

func BenchmarkPut16MiB(b *testing.B) {
	for name, node := range map[string]func() Node{
		"sink":   func() Node { return sink{} },
		"memory": func() Node { return &simnode.Memory{} },
	} {
		b.Run(name, func(b *testing.B) {
			p := benchPool(b, node)
			data := randomBytes(1, 16<<20)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Put(b.Context(), ObjectID{1}, bytes.NewReader(data), int64(len(data)), benchGeometry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead16MiB(b *testing.B) {
	for name, lost := range map[string]int{"healthy": 0, "two nodes lost": 2} {
		b.Run(name, func(b *testing.B) {
			p := benchPool(b, func() Node { return &simnode.Memory{} })
			data := randomBytes(1, 16<<20)
			l, err := p.Put(b.Context(), ObjectID{1}, bytes.NewReader(data), int64(len(data)), benchGeometry)
			if err != nil {
				b.Fatal(err)
			}
			for i := range lost {
				p.byID[l.Nodes[i]].observe(zdb.ErrUnavailable, true)
				p.byID[l.Nodes[i]].Node = sink{}
			}
			buf := make([]byte, len(data))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.ReadAt(b.Context(), &l, buf, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadBlock64KiB(b *testing.B) {
	p := benchPool(b, func() Node { return &simnode.Memory{} })
	data := randomBytes(1, 16<<20)
	l, err := p.Put(b.Context(), ObjectID{1}, bytes.NewReader(data), int64(len(data)), benchGeometry)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	off := int64(0)
	for b.Loop() {
		if err := p.ReadAt(b.Context(), &l, buf, off); err != nil {
			b.Fatal(err)
		}
		off = (off + 1<<20) % (16 << 20)
	}
}

func BenchmarkEncode(b *testing.B) {
	var c coders
	coder, err := c.get(benchGeometry)
	if err != nil {
		b.Fatal(err)
	}
	shards := reedsolomon.AllocAligned(6, DefaultShardBytes)
	b.SetBytes(4 * DefaultShardBytes)
	for b.Loop() {
		if err := coder.Encode(shards); err != nil {
			b.Fatal(err)
		}
	}
}
