package erasure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/zdb"
)

// hurt deletes the shards of a stripe in absent and damages those in corrupt.
func (g *grid) hurt(l *Layout, stripe int, absent, corrupt uint32) (repair func()) {
	g.t.Helper()
	ctx := context.Background()
	var undo []func()
	for i := range l.Shards() {
		n := g.nodes[l.Node(ShardRef{uint32(stripe), uint8(i)})-1].Backend()
		name := g.name(l, stripe, i)
		value, err := n.Get(ctx, name)
		if err != nil {
			g.t.Fatal(err)
		}
		switch {
		case absent&(1<<i) != 0:
			err = n.Del(ctx, name)
		case corrupt&(1<<i) != 0:
			bad := bytes.Clone(value)
			bad[len(bad)/2] ^= 1
			err = n.Set(ctx, name, bad)
		default:
			continue
		}
		if err != nil {
			g.t.Fatal(err)
		}
		undo = append(undo, func() { n.Set(ctx, name, value) })
	}
	return func() {
		for _, f := range undo {
			f()
		}
	}
}

// For every way in which shards of a stripe are good, absent or corrupt: with k good
// ones the right bytes are read, with fewer there is the right error.
func TestEveryLoss(t *testing.T) {
	check := func(t *testing.T, g *grid, l *Layout, data []byte, absent, corrupt uint32) {
		repair := g.hurt(l, 0, absent, corrupt)
		defer repair()
		got, err := g.read(l)
		goodShards := l.Shards() - bits.OnesCount32(absent|corrupt)
		dataMask := uint32(1)<<l.Data - 1
		switch {
		case goodShards >= l.Data || (absent|corrupt)&dataMask == 0:
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("absent %b corrupt %b: %v", absent, corrupt, err)
			}
		case !errors.Is(err, ErrCorrupt):
			t.Fatalf("absent %b corrupt %b: %v, want ErrCorrupt", absent, corrupt, err)
		case errors.Is(err, ErrNotFound) && corrupt != 0 && absent == 0:
			t.Fatalf("corrupt %b: %v", corrupt, err)
		}
	}
	for _, geo := range []Geometry{{2, 1, 256}, {4, 2, 256}, {1, 3, 256}} {
		t.Run(fmt.Sprintf("%d+%d", geo.Data, geo.Parity), func(t *testing.T) {
			g := newGrid(t, geo.Shards(), func(o *PoolOptions) { o.HedgeFloor = time.Hour })
			data := randomBytes(1, 2*int(geo.stripeBytes()))
			l := g.put(1, data, geo)
			all := uint32(1) << geo.Shards()
			for absent := range all {
				for corrupt := range all {
					if absent&corrupt == 0 {
						check(t, g, &l, data, absent, corrupt)
					}
				}
			}
		})
	}
	t.Run("10+4", func(t *testing.T) {
		geo := Geometry{10, 4, 256}
		g := newGrid(t, 14, func(o *PoolOptions) { o.HedgeFloor = time.Hour })
		data := randomBytes(1, int(geo.stripeBytes()))
		l := g.put(1, data, geo)
		rng := rand.New(rand.NewPCG(1, 2))
		for range 400 {
			hurt := uint32(0)
			for range rng.IntN(7) {
				hurt |= 1 << rng.IntN(14)
			}
			absent := hurt & rng.Uint32()
			check(t, g, &l, data, absent, hurt&^absent)
		}
	})
}

// Each way in which a node lies or fails on reads: up to m such nodes change
// nothing, more than m give an error and never wrong bytes.
func TestLyingNodes(t *testing.T) {
	geo := Geometry{4, 2, 512}
	for _, kind := range append(slices.Clone(simnode.Lies), simnode.Down, simnode.Error) {
		t.Run(kind.String(), func(t *testing.T) {
			for bad := 1; bad <= geo.Shards(); bad++ {
				g := newGrid(t, geo.Shards(), nil)
				old := randomBytes(99, 3*int(geo.stripeBytes())+100)
				data := randomBytes(1, len(old))
				g.put(1, old, geo) // what a node plays back
				l := g.put(1, data, geo)
				for i := range bad {
					g.at(&l, i).Inject(simnode.Fault{Kind: kind, Op: simnode.Get | simnode.Ping, Err: errors.New("boom")})
				}
				got, err := g.read(&l)
				if bad <= geo.Parity {
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%d bad nodes: %v", bad, err)
					}
					for off := int64(0); off < l.SizeBytes; {
						stripe, i, _, n := l.Locate(off)
						body, err := g.ReadShard(t.Context(), &l, stripe, i)
						if err != nil || !bytes.Equal(body, data[off:off+int64(n)]) {
							t.Fatalf("%d bad nodes: shard: %v", bad, err)
						}
						off += int64(n)
					}
					continue
				}
				want := ErrCorrupt
				if kind == simnode.Down || kind == simnode.Error {
					want = ErrUnavailable
				}
				if !errors.Is(err, want) {
					t.Fatalf("%d bad nodes: %v, want %v", bad, err, want)
				}
			}
		})
	}
}

// Without sums, as after Find, shards of another encoding still never mix.
func TestStaleWithoutSums(t *testing.T) {
	geo := Geometry{4, 2, 256}
	old, data := randomBytes(1, 5000), randomBytes(2, 5000)
	for stale := range geo.Shards() + 1 {
		g := newGrid(t, geo.Shards(), nil)
		g.put(1, old, geo)
		l := g.put(1, data, geo)
		l.Sums = nil
		for i := range stale {
			g.at(&l, i).Inject(simnode.Fault{Kind: simnode.Stale})
		}
		got, err := g.read(&l)
		switch {
		case stale <= geo.Parity && (err != nil || !bytes.Equal(got, data)):
			t.Fatalf("%d stale: %v", stale, err)
		case err == nil && !bytes.Equal(got, data) && !bytes.Equal(got, old):
			t.Fatalf("%d stale: a mixture was read", stale)
		}
	}
}

// The owner is told of bad shards, and Fill pays what it lists.
func TestOnBadShard(t *testing.T) {
	var mu sync.Mutex
	told := make(map[ShardRef]error)
	geo := Geometry{4, 2, 256}
	g := newGrid(t, 6, func(o *PoolOptions) {
		o.OnBadShard = func(_ *Layout, r ShardRef, err error) {
			mu.Lock()
			defer mu.Unlock()
			told[r] = err
		}
	})
	data := randomBytes(1, 1024)
	l := g.put(1, data, geo)
	g.hurt(&l, 0, 1, 2)
	g.mustRead(&l, data)
	if len(told) != 2 || !errors.Is(told[ShardRef{0, 0}], zdb.ErrNotFound) || !errors.Is(told[ShardRef{0, 1}], shard.ErrCorrupt) {
		t.Fatalf("told of %v", told)
	}
	for r := range told {
		if !l.AddMissing(r) {
			t.Fatalf("%v was listed", r)
		}
	}
	l, filled, err := g.Fill(t.Context(), &l)
	if err != nil || filled != 2 || len(l.Missing) != 0 {
		t.Fatalf("filled %d: %v", filled, err)
	}
	clear(told)
	g.mustRead(&l, data)
	if len(told) != 0 {
		t.Fatalf("after fill told of %v", told)
	}
}

// Writes with up to m nodes failing in any way succeed, list what is owed, and Fill
// pays it when the nodes are well; with more than m failing they say why.
func TestPutUnderFaults(t *testing.T) {
	geo := Geometry{4, 2, 512}
	for _, kind := range []simnode.Kind{simnode.Down, simnode.Error, simnode.Full, simnode.LostAck, simnode.LostWrite} {
		t.Run(kind.String(), func(t *testing.T) {
			for bad := 1; bad <= geo.Shards(); bad++ {
				g := newGrid(t, geo.Shards(), nil)
				for _, n := range g.nodes[:bad] {
					n.Inject(simnode.Fault{Kind: kind, Op: simnode.Set, Err: zdb.ErrReadOnly})
				}
				data := randomBytes(1, 3*int(geo.stripeBytes())+1)
				l, err := g.Put(t.Context(), ObjectID{1}, bytes.NewReader(data), int64(len(data)), geo)
				if bad > geo.Parity && kind != simnode.LostWrite {
					want := ErrTooFewNodes
					if kind == simnode.Full {
						want = ErrNoSpace
					}
					if !errors.Is(err, want) {
						t.Fatalf("%d bad: %v, want %v", bad, err, want)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%d bad: %v", bad, err)
				}
				if kind == simnode.LostWrite {
					got, err := g.read(&l)
					if bad <= geo.Parity && err != nil || err == nil && !bytes.Equal(got, data) {
						t.Fatalf("%d lost writes: %v", bad, err)
					}
					continue
				}
				if len(l.Missing) != bad*l.Stripes() || l.DegradedStripes() != l.Stripes() {
					t.Fatalf("%d bad: missing %v", bad, l.Missing)
				}
				g.mustRead(&l, data)
				for _, n := range g.nodes {
					n.Heal()
				}
				g = g.again(nil)
				full, filled, err := g.Fill(t.Context(), &l)
				if err != nil || filled != len(l.Missing) || len(full.Missing) != 0 {
					t.Fatalf("%d bad: filled %d of %d: %v", bad, filled, len(l.Missing), err)
				}
				for _, n := range g.nodes[geo.Shards()-geo.Parity:] {
					n.Inject(simnode.Fault{Kind: simnode.Down})
				}
				g.mustRead(&full, data)
			}
		})
	}
}

// Fill keeps what it achieved when a node fails in the middle.
func TestFillPartly(t *testing.T) {
	geo := Geometry{2, 2, 256}
	g := newGrid(t, 4, nil)
	data := randomBytes(1, 8*512)
	l := g.put(1, data, geo)
	for stripe := range l.Stripes() {
		for i := range l.Shards() {
			if id := l.Node(ShardRef{uint32(stripe), uint8(i)}); id <= 2 {
				l.AddMissing(ShardRef{uint32(stripe), uint8(i)})
			}
		}
	}
	owed := len(l.Missing)
	g.nodes[0].Inject(simnode.Fault{Kind: simnode.Full, Op: simnode.Set})
	part, filled, err := g.Fill(t.Context(), &l)
	if !errors.Is(err, zdb.ErrNoSpace) || filled != owed/2 || len(part.Missing) != owed/2 {
		t.Fatalf("filled %d of %d: %v", filled, owed, err)
	}
	if len(l.Missing) != owed {
		t.Fatal("the layout given was changed")
	}
	g.nodes[0].Heal()
	whole, filled, err := g.Fill(t.Context(), &part)
	if err != nil || filled != owed/2 || len(whole.Missing) != 0 {
		t.Fatalf("filled %d: %v", filled, err)
	}
	g.mustRead(&whole, data)
}

// Delete leaves nothing, says so when it cannot, and may be repeated.
func TestDelete(t *testing.T) {
	geo := Geometry{2, 1, 256}
	g := newGrid(t, 3, nil)
	l := g.put(1, randomBytes(1, 3000), geo)
	keep := g.put(2, randomBytes(2, 3000), geo)
	g.nodes[1].Inject(simnode.Fault{Kind: simnode.Error, Err: errors.New("boom"), Op: simnode.Del, Times: 1})
	if err := g.Delete(t.Context(), &l); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	for range 2 {
		if err := g.Delete(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.read(&l); !errors.Is(err, ErrNotFound) {
		t.Fatalf("read after delete: %v", err)
	}
	total := 0
	for _, n := range g.nodes {
		total += len(n.Backend().(*simnode.Memory).Keys())
	}
	if total != keep.Stripes()*keep.Shards() {
		t.Fatalf("%d values left, want %d", total, keep.Stripes()*keep.Shards())
	}
}

// Replicated records go to all members; each reply says how it went.
func TestRecords(t *testing.T) {
	g := newGrid(t, 4, nil)
	boom := errors.New("boom")
	g.nodes[2].Inject(simnode.Fault{Kind: simnode.Error, Err: boom})
	replies, err := g.SetAll(t.Context(), []byte("key"), []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range replies {
		if r.Node != NodeID(i+1) || errors.Is(r.Err, boom) != (i == 2) {
			t.Errorf("reply %d: %+v", i, r)
		}
	}
	g.nodes[3].Inject(simnode.Fault{Kind: simnode.Vanish})
	for i, r := range g.GetAll(t.Context(), []byte("key")) {
		switch {
		case i < 2 && (r.Err != nil || string(r.Value) != "value"):
			t.Errorf("reply %d: %+v", i, r)
		case i == 2 && r.Err == nil, i == 3 && !errors.Is(r.Err, zdb.ErrNotFound):
			t.Errorf("reply %d: %+v", i, r)
		}
	}
	for _, n := range g.nodes {
		n.Inject(simnode.Fault{Kind: simnode.Error, Err: boom})
	}
	if _, err := g.SetAll(t.Context(), []byte("key"), nil); !errors.Is(err, ErrTooFewNodes) || !errors.Is(err, boom) {
		t.Errorf("no member: %v", err)
	}
}

// Many readers and writers at once, with nodes that fail now and then.
func TestConcurrent(t *testing.T) {
	geo := Geometry{4, 2, 1024}
	g := newGrid(t, 7, func(o *PoolOptions) { o.MaxInflightBytes = 64 << 10 })
	for i, n := range g.nodes[:2] {
		n.Inject(simnode.Fault{Kind: simnode.FlipBit, Probability: 0.3}, simnode.Fault{Kind: simnode.Error, Err: zdb.ErrDisk, Probability: 0.2, Op: simnode.Get << i})
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 8 {
				data := randomBytes(uint64(w*100+i), 20_000+w*1111+i)
				l, err := g.Put(t.Context(), ObjectID{byte(w), byte(i)}, bytes.NewReader(data), int64(len(data)), geo)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := g.read(&l)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("writer %d object %d: %v", w, i, err)
					return
				}
				if l, _, err = g.Fill(t.Context(), &l); err != nil && !errors.Is(err, zdb.ErrDisk) {
					t.Error(err)
				}
				g.Status()
				g.Space(geo)
				if i%2 == 0 {
					if err := g.Delete(t.Context(), &l); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}
