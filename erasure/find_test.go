package erasure

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qsfs/qsfs/erasure/simnode"
)

var findGeometry = Geometry{4, 2, 512}

func withGeometry(o *PoolOptions) { o.Geometry = findGeometry }

// An object is found without its layout, also among other objects and spare nodes,
// with up to m nodes down, and reads back.
func TestFind(t *testing.T) {
	for _, members := range []int{6, 9} {
		for _, size := range []int{0, 1, 1000, 5 * 4 * 512} {
			g := newGrid(t, members, withGeometry)
			data := randomBytes(uint64(size), size)
			l := g.put(1, data, findGeometry)
			g.put(2, randomBytes(7, 3000), Geometry{2, 1, 256})
			for lost := range findGeometry.Parity + 1 {
				fresh := g.again(withGeometry)
				for i := range lost {
					g.at(&l, i).Inject(simnode.Fault{Kind: simnode.Down})
				}
				found, err := fresh.Find(t.Context(), l.Object)
				if err != nil {
					t.Fatalf("%d of %d down: %v", lost, members, err)
				}
				if err := found.Check(); err != nil {
					t.Fatal(err)
				}
				if found.SizeBytes != l.SizeBytes || found.Geometry != l.Geometry || len(found.Missing) != lost*l.Stripes() {
					t.Fatalf("%d down: found %+v", lost, found)
				}
				if !slices.Equal(found.Nodes[lost:], l.Nodes[lost:]) {
					t.Fatalf("found on %v, put on %v", found.Nodes, l.Nodes)
				}
				fresh.mustRead(&found, data)
			}
		}
	}
}

// An object that is not there is not found as soon as fewer than k nodes are silent;
// before that it may exist.
func TestFindNothing(t *testing.T) {
	for silent := range 7 {
		g := newGrid(t, 6, withGeometry)
		for _, n := range g.nodes[:silent] {
			n.Inject(simnode.Fault{Kind: simnode.Error, Err: errors.New("boom")})
		}
		want := ErrNotFound
		if silent >= findGeometry.Data {
			want = ErrUnavailable
		}
		if _, err := g.Find(t.Context(), ObjectID{1}); !errors.Is(err, want) {
			t.Errorf("%d silent: %v, want %v", silent, err, want)
		}
		if silent == 1 {
			if _, err := g.again(nil).Find(t.Context(), ObjectID{1}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("geometry unknown: %v, want ErrUnavailable", err)
			}
		}
	}
}

// A Put that was cut short and repeated with other nodes down leaves shards in two
// places; Find seats each node once, and the object reads and fills.
func TestFindAfterRepeatedPut(t *testing.T) {
	g := newGrid(t, 8, withGeometry)
	data := randomBytes(3, 9*4*512)
	first := g.put(1, data, findGeometry)
	for i := range 2 {
		g.at(&first, i).Inject(simnode.Fault{Kind: simnode.Down})
	}
	second := g.again(withGeometry)
	second.put(1, data, findGeometry)
	for _, n := range g.nodes {
		n.Heal()
	}
	third := g.again(withGeometry)
	found, err := third.Find(t.Context(), first.Object)
	if err != nil {
		t.Fatal(err)
	}
	third.mustRead(&found, data)
	full, _, err := third.Fill(t.Context(), &found)
	if err != nil || len(full.Missing) != 0 {
		t.Fatalf("missing %v: %v", full.Missing, err)
	}
	third.mustRead(&full, data)
}

// Shards that are gone on their nodes are listed as missing, nodes that lie about one
// shard are found by another.
func TestFindListsMissing(t *testing.T) {
	g := newGrid(t, 6, withGeometry)
	data := randomBytes(3, 3*4*512)
	l := g.put(1, data, findGeometry)
	g.hurt(&l, 0, 1<<2, 1<<4)
	g.hurt(&l, 2, 1<<5|1<<0, 0)
	found, err := g.Find(t.Context(), l.Object)
	if err != nil {
		t.Fatal(err)
	}
	want := []ShardRef{{0, 2}, {0, 4}, {2, 0}, {2, 5}}
	if !slices.Equal(found.Missing, want) || !slices.Equal(found.Nodes, l.Nodes) {
		t.Errorf("missing %v on %v, want %v on %v", found.Missing, found.Nodes, want, l.Nodes)
	}
	full, _, err := g.Fill(t.Context(), &found)
	if err != nil {
		t.Fatal(err)
	}
	g.mustRead(&full, data)
	again, err := g.Find(t.Context(), l.Object)
	if err != nil || len(again.Missing) != 0 || !slices.Equal(again.Nodes, l.Nodes) {
		t.Fatalf("after fill: %+v %v", again, err)
	}
}

// A Put that never reached its quorum may be found, but reads as absent, not wrong.
func TestFindTorn(t *testing.T) {
	g := newGrid(t, 6, withGeometry)
	data := randomBytes(3, 3*4*512)
	l := g.put(1, data, findGeometry)
	g.hurt(&l, 2, 1<<0|1<<1|1<<2|1<<3, 0)
	found, err := g.Find(t.Context(), l.Object)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.read(&found); !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read: %v", err)
	}
	buf := make([]byte, 2*4*512)
	if err := g.ReadAt(t.Context(), &found, buf, 0); err != nil || !bytes.Equal(buf, data[:len(buf)]) {
		t.Fatalf("read of what is whole: %v", err)
	}
}

// plain is a node with no more than the Node interface.
type plain struct{ Node }

// Nodes that can neither be pinged nor tell what exists do as well, and so does
// another source of randomness.
func TestPlainNodes(t *testing.T) {
	change := func(o *PoolOptions) {
		withGeometry(o)
		o.Rand = rand.NewChaCha8([32]byte{1})
		for i := range o.Members {
			o.Members[i].Node = plain{o.Members[i].Node}
		}
	}
	g := newGrid(t, 6, change)
	data := randomBytes(3, 5*4*512)
	l := g.put(1, data, findGeometry)
	g.hurt(&l, 0, 1<<2, 0)
	found, err := g.Find(t.Context(), l.Object)
	if err != nil || len(found.Missing) != 0 || !slices.Equal(found.Nodes, l.Nodes) {
		t.Fatalf("found %+v: %v", found, err)
	}
	g.mustRead(&found, data)
	for _, st := range g.Status() {
		if !st.Up || st.SpaceKnown {
			t.Errorf("status %+v", st)
		}
	}
}

// Broken shards of the only stripe still tell which place their node has.
func TestFindBroken(t *testing.T) {
	g := newGrid(t, 9, withGeometry)
	data := randomBytes(3, 1000)
	l := g.put(1, data, findGeometry)
	g.hurt(&l, 0, 0, 1<<1|1<<3)
	found, err := g.Find(t.Context(), l.Object)
	if err != nil || !slices.Equal(found.Nodes, l.Nodes) || !slices.Equal(found.Missing, []ShardRef{{0, 1}, {0, 3}}) {
		t.Fatalf("found %+v: %v", found, err)
	}
	g.hurt(&l, 0, 0, 1<<0|1<<2|1<<4|1<<5)
	if _, err := g.Find(t.Context(), l.Object); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("all broken: %v, want ErrUnavailable", err)
	}
}
