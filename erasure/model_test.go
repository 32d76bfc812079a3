package erasure

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/qsfs/qsfs/erasure/simnode"
)

// Any sequence of Put, Read, Fill, Delete and of node faults: a read gives what was
// put or an error; with all nodes well every object that was put reads, and fills.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		k, m := rapid.IntRange(1, 4).Draw(rt, "k"), rapid.IntRange(0, 3).Draw(rt, "m")
		spare := rapid.IntRange(0, 2).Draw(rt, "spare")
		synctest.Test(t, func(*testing.T) { runModel(rt, seed, Geometry{k, m, 256}, k+m+spare) })
	})
}

func runModel(t *rapid.T, seed uint64, geo Geometry, members int) {
	o := PoolOptions{Keys: testKeys(), Geometry: geo}
	var nodes []*simnode.Node
	for i := range members {
		nodes = append(nodes, simnode.New(seed+uint64(i)))
		o.Members = append(o.Members, Member{ID: NodeID(i), Group: fmt.Sprint(i % 3), Node: nodes[i]})
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx := context.Background()
	type object struct {
		layout Layout
		data   []byte
	}
	var objects []object
	any := func(t *rapid.T) *object {
		if len(objects) == 0 {
			t.Skip("no objects")
		}
		return &objects[rapid.IntRange(0, len(objects)-1).Draw(t, "object")]
	}
	heal := func() {
		for _, n := range nodes {
			n.Heal()
		}
		time.Sleep(2*maxBackoff + refusedFor)
		synctest.Wait()
	}
	next := byte(0)
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			data := randomBytes(seed+uint64(next), rapid.IntRange(0, 4*256*geo.Data).Draw(t, "size"))
			l, err := p.Put(ctx, ObjectID{next}, bytes.NewReader(data), int64(len(data)), geo)
			next++
			if err != nil {
				return
			}
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
			encoded, err := DecodeLayout(l.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, object{encoded, data})
		},
		"read": func(t *rapid.T) {
			o := any(t)
			off := rapid.IntRange(0, len(o.data)).Draw(t, "off")
			n := rapid.IntRange(0, len(o.data)-off).Draw(t, "n")
			buf := make([]byte, n)
			if err := p.ReadAt(ctx, &o.layout, buf, int64(off)); err == nil && !bytes.Equal(buf, o.data[off:off+n]) {
				t.Fatal("wrong bytes")
			}
		},
		"fill": func(t *rapid.T) {
			o := any(t)
			before := len(o.layout.Missing)
			l, filled, _ := p.Fill(ctx, &o.layout)
			if err := l.Check(); err != nil || len(l.Missing)+filled != before {
				t.Fatalf("%d missing, %d filled, %d left: %v", before, filled, len(l.Missing), err)
			}
			o.layout = l
		},
		"find": func(t *rapid.T) {
			o := any(t)
			l, err := p.Find(ctx, o.layout.Object)
			if err != nil {
				return
			}
			buf := make([]byte, len(o.data))
			if l.SizeBytes != int64(len(buf)) {
				t.Fatalf("found %d bytes, put %d", l.SizeBytes, len(buf))
			}
			if err := p.ReadAt(ctx, &l, buf, 0); err == nil && !bytes.Equal(buf, o.data) {
				t.Fatal("wrong bytes from what was found")
			}
		},
		"fault": func(t *rapid.T) {
			// No lost writes: they are for good, and not in the model's promise.
			kinds := append([]simnode.Kind{simnode.Down, simnode.Hang, simnode.Delay, simnode.Full, simnode.LostAck}, simnode.Lies...)
			nodes[rapid.IntRange(0, members-1).Draw(t, "node")].Inject(simnode.Fault{
				Kind:        rapid.SampledFrom(kinds).Draw(t, "kind"),
				Probability: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "probability"),
				Delay:       time.Second,
			})
		},
		"heal": func(*rapid.T) { heal() },
		"time": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second) },
	})
	heal()
	for i := range objects {
		o := &objects[i]
		l, _, err := p.Fill(ctx, &o.layout)
		if err != nil || len(l.Missing) != 0 {
			t.Fatalf("object %d does not fill: %v, missing %v", i, err, l.Missing)
		}
		buf := make([]byte, len(o.data))
		if err := p.ReadAt(ctx, &l, buf, 0); err != nil || !bytes.Equal(buf, o.data) {
			t.Fatalf("object %d on healthy nodes: %v", i, err)
		}
	}
}
