package erasure

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/erasure/simnode"
)

var update = flag.Bool("update", false, "write the golden files anew")

// grid is a pool over nodes in memory.
type grid struct {
	*Pool
	t     testing.TB
	nodes []*simnode.Node // member i has id i+1
}

func testKeys() (k Keys) {
	for i := range k.Name {
		k.Name[i], k.Shard[i] = byte(i), byte(200-i)
	}
	return k
}

// newGrid returns a pool of n nodes; change may alter its options.
func newGrid(t testing.TB, n int, change func(*PoolOptions)) *grid {
	t.Helper()
	g := &grid{t: t}
	o := PoolOptions{Keys: testKeys()}
	for i := range n {
		node := simnode.New(uint64(i))
		g.nodes = append(g.nodes, node)
		o.Members = append(o.Members, Member{ID: NodeID(i + 1), Name: fmt.Sprintf("sim://%d", i+1), Node: node})
	}
	if change != nil {
		change(&o)
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	g.Pool = p
	t.Cleanup(func() { p.Close() })
	return g
}

// again returns a new pool on the same nodes, as another process would.
func (g *grid) again(change func(*PoolOptions)) *grid {
	g.t.Helper()
	o := PoolOptions{Keys: testKeys()}
	for i, n := range g.nodes {
		o.Members = append(o.Members, Member{ID: NodeID(i + 1), Node: n})
	}
	if change != nil {
		change(&o)
	}
	p, err := NewPool(o)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { p.Close() })
	return &grid{Pool: p, t: g.t, nodes: g.nodes}
}

// at returns the simulated node of a place in the layout.
func (g *grid) at(l *Layout, i int) *simnode.Node { return g.nodes[l.Nodes[i]-1] }

func (g *grid) put(id byte, data []byte, geo Geometry) Layout {
	g.t.Helper()
	l, err := g.Put(context.Background(), ObjectID{id}, bytes.NewReader(data), int64(len(data)), geo)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		g.t.Fatal(err)
	}
	return l
}

func (g *grid) read(l *Layout) ([]byte, error) {
	buf := make([]byte, l.SizeBytes)
	err := g.ReadAt(context.Background(), l, buf, 0)
	return buf, err
}

// mustRead reads the whole object and compares it.
func (g *grid) mustRead(l *Layout, want []byte) {
	g.t.Helper()
	got, err := g.read(l)
	if err != nil {
		g.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		g.t.Fatal("read other bytes than were put")
	}
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(s).Read(b)
	return b
}

func (g *grid) name(l *Layout, stripe, index int) []byte {
	n := g.codec.Name(shard.Ref{Object: l.Object, Stripe: uint32(stripe), Index: uint8(index)})
	return n[:]
}

// Objects of all sizes around the borders of shards and stripes read back, whole and
// in parts, and each shard is where Locate says.
func TestPutRead(t *testing.T) {
	for _, geo := range []Geometry{{1, 0, 256}, {1, 2, 512}, {2, 1, 256}, {4, 2, 1024}, {10, 4, 256}, {3, 0, 768}} {
		t.Run(fmt.Sprintf("%d+%d", geo.Data, geo.Parity), func(t *testing.T) {
			g := newGrid(t, geo.Shards()+1, nil)
			s, b := int(geo.stripeBytes()), geo.ShardBytes
			for id, size := range []int{0, 1, 255, 256, 257, b - 1, b, b + 1, s - 1, s, s + 1, 2*s + b/2, 3 * s, 3*s + 1, 5*s - 1} {
				if size < 0 {
					continue
				}
				data := randomBytes(uint64(size), size)
				l := g.put(byte(id), data, geo)
				if len(l.Missing) != 0 {
					t.Fatalf("size %d: missing %v", size, l.Missing)
				}
				g.mustRead(&l, data)
				for range 20 {
					if size == 0 {
						break
					}
					off := rand.IntN(size)
					n := rand.IntN(size - off + 1)
					buf := make([]byte, n)
					if err := g.ReadAt(t.Context(), &l, buf, int64(off)); err != nil || !bytes.Equal(buf, data[off:off+n]) {
						t.Fatalf("size %d: read %d at %d: %v", size, n, off, err)
					}
				}
				var joined []byte
				for off := int64(0); off < l.SizeBytes; {
					stripe, index, in, n := l.Locate(off)
					body, err := g.ReadShard(t.Context(), &l, stripe, index)
					if err != nil || in != 0 || len(body) != n {
						t.Fatalf("size %d: shard at %d: %d bytes, want %d at %d: %v", size, off, len(body), n, in, err)
					}
					joined = append(joined, body...)
					off += int64(n)
				}
				if !bytes.Equal(joined, data) {
					t.Fatalf("size %d: shards are not the object", size)
				}
			}
		})
	}
}

// Reads outside of the object and layouts that cannot be are refused.
func TestReadRefuses(t *testing.T) {
	g := newGrid(t, 3, nil)
	geo := Geometry{2, 1, 256}
	l := g.put(1, randomBytes(1, 1000), geo)
	for _, r := range [][2]int64{{-1, 1}, {0, 1001}, {1000, 1}, {1 << 62, 10}} {
		if err := g.ReadAt(t.Context(), &l, make([]byte, r[1]), r[0]); !errors.Is(err, ErrInvalid) {
			t.Errorf("read %d at %d: %v, want ErrInvalid", r[1], r[0], err)
		}
	}
	if err := g.ReadAt(t.Context(), &l, nil, 1000); err != nil {
		t.Errorf("empty read at the end: %v", err)
	}
	for _, r := range [][2]int{{-1, 0}, {2, 0}, {0, 2}, {0, -1}} {
		if _, err := g.ReadShard(t.Context(), &l, r[0], r[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("shard %v: %v, want ErrInvalid", r, err)
		}
	}
	bad := l.Clone()
	bad.Nodes = bad.Nodes[:2]
	if _, err := g.read(&bad); !errors.Is(err, ErrInvalid) {
		t.Errorf("short layout: %v, want ErrInvalid", err)
	}
	bad = l.Clone()
	bad.Data = 0
	if _, err := g.read(&bad); !errors.Is(err, ErrInvalid) {
		t.Errorf("no geometry: %v, want ErrInvalid", err)
	}
	bad = l.Clone()
	bad.SizeBytes++
	if _, err := g.read(&bad); !errors.Is(err, ErrCorrupt) {
		t.Errorf("other size: %v, want ErrCorrupt", err)
	}
}

// No node sees a byte of the object, nor a pattern in what it stores.
func TestNodesSeeNothing(t *testing.T) {
	g := newGrid(t, 6, nil)
	data := bytes.Repeat([]byte("plaintext"), 4000)
	g.put(1, data, Geometry{4, 2, 4096})
	seen := make(map[string]bool)
	for _, n := range g.nodes {
		for _, key := range n.Backend().(*simnode.Memory).Keys() {
			value, err := n.Get(t.Context(), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(value, []byte("laint")) || bytes.Contains(value, make([]byte, 8)) {
				t.Fatal("value shows a pattern")
			}
			for _, piece := range []string{key, string(value[:16]), string(value[16:32])} {
				if seen[piece] {
					t.Fatalf("%x occurs twice", piece)
				}
				seen[piece] = true
			}
		}
	}
}

// The source's errors and short sources fail the Put.
func TestPutSource(t *testing.T) {
	g := newGrid(t, 3, nil)
	geo := Geometry{2, 1, 256}
	_, err := g.Put(t.Context(), ObjectID{1}, bytes.NewReader(make([]byte, 999)), 1000, geo)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short source: %v", err)
	}
	for _, bad := range []Geometry{{}, {0, 1, 256}, {1, -1, 256}, {200, 56, 256}, {2, 1, 255}, {2, 1, 0}, {2, 1, 1 << 24}} {
		if _, err := g.Put(t.Context(), ObjectID{1}, bytes.NewReader(nil), 0, bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", bad, err)
		}
	}
	if _, err := g.Put(t.Context(), ObjectID{1}, bytes.NewReader(nil), -1, geo); !errors.Is(err, ErrInvalid) {
		t.Errorf("negative size: %v", err)
	}
	if _, err := g.Put(t.Context(), ObjectID{1}, bytes.NewReader(nil), 0, Geometry{3, 1, 256}); !errors.Is(err, ErrTooFewNodes) {
		t.Errorf("more shards than members: %v, want ErrTooFewNodes", err)
	}
}

// A closed pool refuses everything and has nothing running.
func TestClose(t *testing.T) {
	g := newGrid(t, 3, nil)
	l := g.put(1, []byte("data"), Geometry{2, 1, 256})
	g.Close()
	g.Close()
	if _, err := g.read(&l); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := g.Put(t.Context(), ObjectID{2}, bytes.NewReader(nil), 0, Geometry{2, 1, 256}); !errors.Is(err, ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if _, err := g.SetAll(t.Context(), []byte("k"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("set all: %v", err)
	}
	if err := g.Delete(t.Context(), &l); !errors.Is(err, ErrClosed) {
		t.Errorf("delete: %v", err)
	}
	if _, err := g.Find(t.Context(), l.Object); !errors.Is(err, ErrClosed) {
		t.Errorf("find: %v", err)
	}
	if _, _, err := g.Fill(t.Context(), &l); !errors.Is(err, ErrClosed) {
		t.Errorf("fill: %v", err)
	}
	if r := g.GetAll(t.Context(), []byte("k")); r != nil {
		t.Errorf("get all: %v", r)
	}
}

// Members that cannot be are refused.
func TestNewPoolRefuses(t *testing.T) {
	n := simnode.New(1)
	for name, members := range map[string][]Member{
		"no node":  {{ID: 1}},
		"twice":    {{ID: 1, Node: n}, {ID: 1, Node: n}},
		"reserved": {{ID: NoNode, Node: n}},
	} {
		if _, err := NewPool(PoolOptions{Members: members}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}
