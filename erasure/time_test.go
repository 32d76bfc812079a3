package erasure

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/zdb"
)

// timed runs f in a bubble of fake time.
func timed(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

var timeGeometry = Geometry{4, 2, 512}

// A node that hangs costs a Put the request timeout, once; then it is down and costs
// nothing, until a probe finds it well again.
func TestPutHangingNode(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		defer g.Close()
		synctest.Wait() // the first checks are over
		hung := g.nodes[2]
		hung.Inject(simnode.Fault{Kind: simnode.Hang})
		data := randomBytes(1, 40_000)

		start := time.Now()
		l := g.put(1, data, timeGeometry)
		if took := time.Since(start); took != defaultRequestTimeout {
			t.Errorf("first put took %v, want %v", took, defaultRequestTimeout)
		}
		if len(l.Missing) != l.Stripes() {
			t.Errorf("missing %d shards, want %d", len(l.Missing), l.Stripes())
		}
		if st := g.Status()[2]; st.Up || st.LastError == "" {
			t.Errorf("status of the hung node: %+v", st)
		}

		start = time.Now()
		l2 := g.put(2, data, timeGeometry)
		g.mustRead(&l, data)
		g.mustRead(&l2, data)
		if replies, err := g.SetAll(t.Context(), []byte("k"), []byte("v")); err != nil || !errors.Is(replies[2].Err, ErrNodeDown) {
			t.Errorf("set all: %+v %v", replies, err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("with the node down operations took %v, want none", took)
		}
		if _, filled, err := g.Fill(t.Context(), &l); err != nil || filled != 0 {
			t.Errorf("fill with the node down: %d %v", filled, err)
		}

		hung.Heal()
		time.Sleep(maxBackoff + defaultRequestTimeout)
		synctest.Wait()
		if st := g.Status()[2]; !st.Up {
			t.Fatalf("healed node is not up: %+v", st)
		}
		full, filled, err := g.Fill(t.Context(), &l)
		if err != nil || filled != len(l.Missing) {
			t.Fatalf("filled %d: %v", filled, err)
		}
		g.mustRead(&full, data)
	})
}

// A slow or hanging node delays a read by the hedge delay only, and once it was slow
// some times in a row, not at all.
func TestReadHedges(t *testing.T) {
	for _, kind := range []simnode.Kind{simnode.Hang, simnode.Delay} {
		t.Run(kind.String(), func(t *testing.T) {
			timed(t, func(t *testing.T) {
				g := newGrid(t, 6, nil)
				defer g.Close()
				data := randomBytes(1, 2048)
				l := g.put(1, data, timeGeometry)
				for i := range timeGeometry.Parity {
					g.at(&l, i).Inject(simnode.Fault{Kind: kind, Delay: 5 * time.Second})
				}
				for i := range 3 {
					start := time.Now()
					g.mustRead(&l, data)
					if took := time.Since(start); took != defaultHedgeFloor {
						t.Errorf("read %d took %v, want the hedge floor", i, took)
					}
				}
				start := time.Now()
				for range 3 {
					g.mustRead(&l, data)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("reads around suspects took %v, want none", took)
				}
				time.Sleep(2 * defaultRequestTimeout)
				synctest.Wait()
				if up := g.Status()[l.Nodes[0]-1].Up; up != (kind == simnode.Delay) {
					t.Errorf("up is %v", up)
				}
			})
		})
	}
}

// The hedge delay follows what a node usually takes, but not far beyond the others.
func TestHedgeDelay(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		defer g.Close()
		data := randomBytes(1, 2048)
		l := g.put(1, data, timeGeometry)
		for i := range 6 {
			g.at(&l, i).Inject(simnode.Fault{Kind: simnode.Delay, Op: simnode.Get, Delay: 100 * time.Millisecond})
		}
		slow := g.at(&l, 5)
		slow.Heal()
		slow.Inject(simnode.Fault{Kind: simnode.Delay, Op: simnode.Get, Delay: 2 * time.Second})
		for _, n := range g.Pool.nodes {
			for range 100 {
				n.get(t.Context(), []byte("absent"))
			}
		}
		for _, n := range g.Pool.nodes { // absent keys are no measure
			if n.p95.Load() != 0 {
				t.Fatalf("p95 %v of no reads", n.p95.Load())
			}
		}
		g.SetAll(t.Context(), []byte("k"), []byte("v"))
		for range 10 {
			g.GetAll(t.Context(), []byte("k"))
		}
		for i := range 6 {
			want := 100 * time.Millisecond
			if i == 5 {
				want = 400 * time.Millisecond
			}
			if got := g.hedgeDelay(g.byID[l.Nodes[i]]); got != want {
				t.Errorf("place %d: %v, want %v", i, got, want)
			}
		}
	})
}

// More than m nodes hanging: an error within a bounded time; all is well when they
// are back.
func TestTooManyHang(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		defer g.Close()
		data := randomBytes(1, 5000)
		l := g.put(1, data, timeGeometry)
		for _, n := range g.nodes[:3] {
			n.Inject(simnode.Fault{Kind: simnode.Hang})
		}
		for i := range 3 {
			start := time.Now()
			if _, err := g.read(&l); !errors.Is(err, ErrUnavailable) {
				t.Errorf("read %d: %v, want ErrUnavailable", i, err)
			}
			if took := time.Since(start); took > operationTimeouts*defaultRequestTimeout {
				t.Errorf("read %d took %v", i, took)
			}
			start = time.Now()
			if _, err := g.Put(t.Context(), ObjectID{2}, bytes.NewReader(data), 5000, timeGeometry); !errors.Is(err, ErrTooFewNodes) {
				t.Errorf("put %d: %v, want ErrTooFewNodes", i, err)
			}
			if took := time.Since(start); took > operationTimeouts*defaultRequestTimeout {
				t.Errorf("put %d took %v", i, took)
			}
		}
		for _, n := range g.nodes {
			n.Heal()
		}
		time.Sleep(kickRest)
		g.mustRead(&l, data) // has the nodes probed rather than fail
		l = g.put(2, data, timeGeometry)
		g.mustRead(&l, data)
	})
}

// What the caller's context ends is over at once, and is not held against the nodes.
func TestCallerGivesUp(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		defer g.Close()
		data := randomBytes(1, 5000)
		l := g.put(1, data, timeGeometry)
		synctest.Wait()
		for _, n := range g.nodes {
			n.Inject(simnode.Fault{Kind: simnode.Hang, Op: simnode.Get | simnode.Set | simnode.Del})
		}
		for name, op := range map[string]func(context.Context) error{
			"read":    func(ctx context.Context) error { return g.ReadAt(ctx, &l, make([]byte, 5000), 0) },
			"delete":  func(ctx context.Context) error { return g.Delete(ctx, &l) },
			"set all": func(ctx context.Context) error { _, err := g.SetAll(ctx, []byte("k"), nil); return err },
			"put": func(ctx context.Context) error {
				_, err := g.Put(ctx, ObjectID{3}, bytes.NewReader(data), 5000, timeGeometry)
				return err
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			if err := op(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("%s took %v", name, took)
			}
			cancel()
		}
		for _, st := range g.Status() {
			if !st.Up {
				t.Errorf("node %d is down: %s", st.ID, st.LastError)
			}
		}
	})
}

// Close ends what hangs.
func TestCloseEndsRequests(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		data := randomBytes(1, 5000)
		l := g.put(1, data, timeGeometry)
		for _, n := range g.nodes {
			n.Inject(simnode.Fault{Kind: simnode.Hang})
		}
		errs := make(chan error, 2)
		go func() { _, err := g.read(&l); errs <- err }()
		go func() {
			_, err := g.Put(t.Context(), ObjectID{2}, bytes.NewReader(data), 5000, timeGeometry)
			errs <- err
		}()
		synctest.Wait()
		start := time.Now()
		g.Close()
		for range 2 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("close took %v", took)
		}
		for i, n := range g.nodes {
			if c := n.Counts(); c.InFlight != 0 {
				t.Errorf("node %d has %d requests in flight", i, c.InFlight)
			}
		}
	})
}

// Probes of a node that stays down come at growing intervals.
func TestProbeBackoff(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 1, nil)
		defer g.Close()
		g.nodes[0].Inject(simnode.Fault{Kind: simnode.Down})
		g.GetAll(t.Context(), []byte("k"))
		g.nodes[0].ResetCounts()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if c := g.nodes[0].Counts(); c.Pings < 55 || c.Pings > 70 || c.Gets+c.Sets > 0 {
			t.Errorf("counts in 10 minutes: %+v", c)
		}
	})
}

// gauge counts the bytes of Sets in flight.
type gauge struct {
	Node
	mu        *sync.Mutex
	now, most *int64
}

func (n gauge) Set(ctx context.Context, key, value []byte) error {
	n.mu.Lock()
	*n.now += int64(len(value))
	*n.most = max(*n.most, *n.now)
	n.mu.Unlock()
	time.Sleep(time.Second)
	n.mu.Lock()
	*n.now -= int64(len(value))
	n.mu.Unlock()
	return n.Node.Set(ctx, key, value)
}

// Put holds no more than MaxInflightBytes of values, and a node gets no more than
// writeDepth at once.
func TestPutBounds(t *testing.T) {
	timed(t, func(t *testing.T) {
		const bound = 50_000
		var mu sync.Mutex
		var now, most int64
		g := newGrid(t, 6, func(o *PoolOptions) {
			o.MaxInflightBytes = bound
			for i := range o.Members {
				o.Members[i].Node = gauge{o.Members[i].Node, &mu, &now, &most}
			}
		})
		defer g.Close()
		data := randomBytes(1, 300_000)
		l := g.put(1, data, Geometry{4, 2, 1024})
		g.mustRead(&l, data)
		if most > bound || most > 6*writeDepth*(1024+144) || most < bound/4 {
			t.Errorf("%d bytes in flight at most, bound %d", most, bound)
		}
		l = g.put(2, data, Geometry{4, 2, 64 << 10}) // one stripe alone is above the bound
		g.mustRead(&l, data)
	})
}

// A node that was full comes last for new objects until it has had time.
func TestFullNodeComesLast(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 7, nil)
		defer g.Close()
		geo := timeGeometry
		first := g.put(1, []byte("data"), geo)
		full := g.at(&first, 0)
		full.Inject(simnode.Fault{Kind: simnode.Full})
		if l := g.put(1, []byte("data"), geo); len(l.Missing) != 1 {
			t.Fatalf("missing %v", l.Missing)
		}
		if l := g.put(1, []byte("data"), geo); len(l.Missing) != 0 || l.Nodes[0] == first.Nodes[0] {
			t.Fatalf("full node was chosen again: %v missing %v", l.Nodes, l.Missing)
		}
		time.Sleep(refusedFor)
		if l := g.put(1, []byte("data"), geo); l.Nodes[0] != first.Nodes[0] {
			t.Fatalf("node was not tried again: %v", l.Nodes)
		}
	})
}

// Space is refreshed in the background, and never waits for a node.
func TestSpaceRefresh(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, func(o *PoolOptions) {
			for i := range o.Members {
				m := &simnode.Memory{LimitBytes: 100 * (512 + 144)}
				o.Members[i].Node = simnode.Wrap(m, uint64(i))
			}
		})
		defer g.Close()
		for _, m := range g.Pool.nodes {
			m.Node.(*simnode.Node).Inject(simnode.Fault{Kind: simnode.Delay, Op: simnode.Space, Delay: time.Second})
		}
		if s := g.Space(timeGeometry); s.Known {
			t.Fatalf("known before any node told: %+v", s)
		}
		time.Sleep(2 * time.Second)
		if s := g.Space(timeGeometry); !s.Known || s.FreeBytes != 100*4*512 || s.UsedBytes != 0 {
			t.Fatalf("empty: %+v", s)
		}
		l := g.put(1, randomBytes(1, 50*4*512), timeGeometry)
		time.Sleep(heartbeat + 2*time.Second)
		if s := g.Space(timeGeometry); s.FreeBytes != 50*4*512 || s.UsedBytes < 50*4*512 || s.TotalBytes != s.FreeBytes+s.UsedBytes {
			t.Fatalf("half full: %+v", s)
		}
		if _, err := g.Put(t.Context(), ObjectID{2}, bytes.NewReader(make([]byte, 60*4*512)), 60*4*512, timeGeometry); !errors.Is(err, ErrNoSpace) || !errors.Is(err, zdb.ErrNoSpace) {
			t.Fatalf("over full: %v", err)
		}
		g.mustRead(&l, randomBytes(1, 50*4*512))
	})
}

// Requests to a node that hangs do not pile up: once it is suspect and all its slots
// are taken, it is not asked.
func TestJammedNode(t *testing.T) {
	timed(t, func(t *testing.T) {
		g := newGrid(t, 6, nil)
		defer g.Close()
		data := randomBytes(1, 2048)
		l := g.put(1, data, timeGeometry)
		g.at(&l, 0).Inject(simnode.Fault{Kind: simnode.Hang, Op: simnode.Get})
		start := time.Now()
		for range 200 {
			g.mustRead(&l, data)
		}
		if took := time.Since(start); took > strikesOut*defaultHedgeFloor {
			t.Errorf("200 reads took %v", took)
		}
		if c := g.at(&l, 0).Counts(); c.Gets > readDepth {
			t.Errorf("%d requests to the hung node", c.Gets)
		}
	})
}
