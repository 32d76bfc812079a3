package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/fs/envelope"
)

// node is a storage node that may be down, slow, or lie.
type node struct {
	value []byte
	first []byte // the first value it ever had
	down  bool
	lie   func(n *node) []byte
	delay func() time.Duration
}

// cluster is the nodes that several writers share, each over its own link.
type cluster struct {
	mu    sync.Mutex
	nodes []*node
}

func newCluster(n int) *cluster {
	c := &cluster{}
	for range n {
		c.nodes = append(c.nodes, &node{})
	}
	return c
}

// link is one writer's way to the nodes.
type link struct {
	c   *cluster
	cut bool // nothing gets through
	// beforeSet, if set, is called before a record is written.
	beforeSet func()
}

func (l *link) each(ctx context.Context, do func(i int, n *node)) {
	var wg sync.WaitGroup
	for i, n := range l.c.nodes {
		wg.Go(func() {
			if n.delay != nil {
				time.Sleep(n.delay())
			}
			l.c.mu.Lock()
			defer l.c.mu.Unlock()
			do(i, n)
		})
	}
	wg.Wait()
}

var errDown = errors.New("node is down")

func (l *link) GetLease(ctx context.Context, _ []byte) []Reply {
	out := make([]Reply, len(l.c.nodes))
	l.each(ctx, func(i int, n *node) {
		switch {
		case n.down || l.cut || ctx.Err() != nil:
			out[i].Err = errDown
		case n.lie != nil:
			out[i].Value = n.lie(n)
		default:
			out[i].Value = n.value
		}
	})
	return out
}

func (l *link) SetLease(ctx context.Context, _, value []byte) (int, error) {
	if l.beforeSet != nil {
		l.beforeSet()
	}
	acks := 0
	l.each(ctx, func(_ int, n *node) {
		if n.down || l.cut || ctx.Err() != nil {
			return
		}
		n.value = bytes.Clone(value)
		if n.first == nil {
			n.first = n.value
		}
		acks++
	})
	return acks, nil
}

const testTTL = 30 * time.Second

// options are those of a writer named by a letter, of a volume with 4+2 on 6 nodes.
func (c *cluster) options(writer byte) Options {
	return Options{
		Nodes: &link{c: c}, Key: testKey, WriterID: bytes.Repeat([]byte{writer}, 16), Holder: "host " + string(writer),
		Quorum: len(c.nodes) - 2, TTL: testTTL, Rand: rand.Reader,
	}
}

func acquire(t *testing.T, o Options) *Lease {
	t.Helper()
	l, err := Acquire(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run renews in the background until stop is called, which returns what Run said.
func run(l *Lease) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		var lost error
		l.Run(ctx, func(err error) { lost = err })
		done <- lost
	}()
	return func() error { cancel(); return <-done }
}

// One writer after the other: released, crashed, alive, silent.
func TestSuccession(t *testing.T) {
	for _, c := range []struct {
		name string
		// before is what the first writer does with its lease.
		before   func(t *testing.T, l *Lease) (stop func() error)
		second   byte
		steal    bool
		wantHeld bool
		wantWait time.Duration // least time until taken
		wantMost time.Duration
	}{
		{"released is taken at once", func(t *testing.T, l *Lease) func() error {
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			return func() error { return nil }
		}, 'b', false, false, 0, 2 * time.Second},
		{"the same writer again at once", func(*testing.T, *Lease) func() error {
			return func() error { return nil }
		}, 'a', false, false, 0, 2 * time.Second},
		{"a live holder is named", func(_ *testing.T, l *Lease) func() error { return run(l) }, 'b', false, true, 0, testTTL},
		{"a silent holder is waited for", func(*testing.T, *Lease) func() error {
			return func() error { return nil }
		}, 'b', false, false, testTTL, testTTL + 3*time.Second},
		{"a live holder is stolen from", func(_ *testing.T, l *Lease) func() error { return run(l) }, 'b', true, false, 0, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := newCluster(6)
				first := acquire(t, nodes.options('a'))
				stop := c.before(t, first)
				o := nodes.options(c.second)
				o.Steal = c.steal
				waited := ""
				o.Waiting = func(holder string, _ time.Duration) { waited = holder }
				began := time.Now()
				l, err := Acquire(t.Context(), o)
				took := time.Since(began)
				if c.wantHeld {
					var held *HeldError
					if !errors.As(err, &held) || held.Holder != "host a" || !errors.Is(err, ErrHeld) {
						t.Errorf("got %v", err)
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if took < c.wantWait || took > c.wantMost {
					t.Errorf("took %v", took)
				}
				if (c.wantWait > 0) != (waited == "host a") && !c.wantHeld {
					t.Errorf("told to wait for %q", waited)
				}
				if l != nil && l.Epoch <= first.Epoch {
					t.Errorf("epoch %d after %d", l.Epoch, first.Epoch)
				}
				if c.steal {
					time.Sleep(testTTL)
					if err := stop(); !errors.Is(err, ErrLost) {
						t.Errorf("the one that was stolen from: %v", err)
					}
					return
				}
				if err := stop(); err != nil {
					t.Errorf("the first: %v", err)
				}
			})
		})
	}
}

// A process that was stopped while another took the volume finds out before it
// does anything, and a lost lease stays lost.
func TestResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newCluster(6)
		a := acquire(t, nodes.options('a'))
		if err := a.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := acquire(t, nodes.options('b')) // waits for TTL
		if err := a.Check(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("check: %v", err)
		}
		if err := b.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := a.Renew(t.Context()); !errors.Is(err, ErrLost) {
				t.Errorf("renew: %v", err)
			}
		}
		if err := a.Release(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("release: %v", err)
		}
		if err := b.Renew(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("renewed after its release: %v", err)
		}
	})
}

// Check vouches for TTL/2 only, and only from writes that reached a quorum.
func TestCheckNeedsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newCluster(6)
		o := nodes.options('a')
		a := acquire(t, o)
		o.Nodes.(*link).cut = true
		if err := a.Check(t.Context()); err != nil {
			t.Errorf("fresh: %v", err)
		}
		time.Sleep(testTTL / 2)
		if err := a.Check(t.Context()); !errors.Is(err, ErrNoQuorum) {
			t.Errorf("stale and cut off: %v", err)
		}
		o.Nodes.(*link).cut = false
		if err := a.Check(t.Context()); err != nil {
			t.Errorf("back: %v", err)
		}
	})
}

// Up to m nodes that are down or lie change nothing; more than that and there is
// no quorum.
func TestFaultyNodes(t *testing.T) {
	forge := func(n *node) []byte { return bytes.Repeat([]byte{7}, len(n.value)) }
	for _, c := range []struct {
		name string
		set  func(n *node)
	}{
		{"down", func(n *node) { n.down = true }},
		{"forged", func(n *node) { n.lie = forge }},
		{"bit flipped", func(n *node) {
			n.lie = func(n *node) []byte {
				b := bytes.Clone(n.value)
				if len(b) > 0 {
					b[len(b)/2] ^= 1
				}
				return b
			}
		}},
		{"truncated", func(n *node) { n.lie = func(n *node) []byte { return n.value[:len(n.value)/2] } }},
		{"stale", func(n *node) { n.lie = func(n *node) []byte { return n.first } }},
		{"emptied", func(n *node) { n.lie = func(*node) []byte { return nil } }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := newCluster(6)
				a := acquire(t, nodes.options('a'))
				if err := a.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				a = acquire(t, nodes.options('a'))
				c.set(nodes.nodes[1])
				c.set(nodes.nodes[4])
				stop := run(a)
				if _, err := Acquire(t.Context(), nodes.options('b')); !errors.Is(err, ErrHeld) {
					t.Errorf("a live holder: %v", err)
				}
				time.Sleep(5 * testTTL)
				if err := stop(); err != nil {
					t.Errorf("the holder: %v", err)
				}
				b := acquire(t, nodes.options('b'))
				if b.Epoch <= a.Epoch {
					t.Errorf("epoch %d after %d", b.Epoch, a.Epoch)
				}
				if err := a.Renew(t.Context()); !errors.Is(err, ErrLost) {
					t.Errorf("the old writer: %v", err)
				}
				if c.name == "stale" || c.name == "emptied" {
					return // such a node answers, so a quorum of answers is all it takes
				}
				c.set(nodes.nodes[0])
				if _, err := Acquire(t.Context(), nodes.options('c')); !errors.Is(err, ErrNoQuorum) {
					t.Errorf("three of six: %v", err)
				}
				if err := b.Renew(t.Context()); !errors.Is(err, ErrNoQuorum) {
					t.Errorf("renew with three of six: %v", err)
				}
			})
		})
	}
}

// A record of a newer release is respected although it can't be read.
func TestTooNewOnNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newCluster(6)
		a := acquire(t, nodes.options('a'))
		nodes.nodes[3].value = sealVersion(t, 2)
		if _, err := Acquire(t.Context(), nodes.options('b')); !errors.Is(err, ErrTooNew) {
			t.Errorf("acquire: %v", err)
		}
		if err := a.Renew(t.Context()); !errors.Is(err, ErrLost) || !errors.Is(err, ErrTooNew) {
			t.Errorf("renew: %v", err)
		}
	})
}

// sealVersion seals a record of another version of the format.
func sealVersion(t *testing.T, version byte) []byte {
	t.Helper()
	plain := append([]byte("QLEA"), version, 0, '{', '}')
	sealed, err := envelope.Seal(&testKey, valueLabel, Name(&testKey), plain, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// The last renewal of a predecessor that lands on top of the new record does not
// bring the predecessor back.
func TestOverwrittenByRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newCluster(6)
		oa := nodes.options('a')
		a := acquire(t, oa)
		taken := make(chan *Lease)
		oa.Nodes.(*link).beforeSet = func() {
			oa.Nodes.(*link).beforeSet = nil
			go func() {
				ob := nodes.options('b')
				ob.Steal = true
				b, err := Acquire(context.Background(), ob)
				if err != nil {
					t.Error(err)
				}
				taken <- b
			}()
			time.Sleep(testTTL / 60) // b has written and waits
		}
		if err := a.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := <-taken
		if err := a.Renew(t.Context()); !errors.Is(err, ErrLost) {
			t.Errorf("the predecessor: %v", err)
		}
		if err := b.Renew(t.Context()); err != nil {
			t.Errorf("the successor: %v", err)
		}
	})
}

// Writers that start together over links of any speed: at most one holds the
// volume, by the only measure that counts, Check.
func TestRace(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	won := 0
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if race(t, seed) {
					won++
				}
			})
		})
	}
	if won < rounds/3 {
		t.Errorf("somebody got the volume in %d of %d races", won, rounds)
	}
}

func race(t *testing.T, seed uint64) (won bool) {
	rng := mrand.New(mrand.NewPCG(seed, 0))
	var mu sync.Mutex
	random := func(d time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(rng.Int64N(int64(d) + 1))
	}
	nodes := newCluster(4 + rng.IntN(4))
	most := []time.Duration{time.Millisecond, 200 * time.Millisecond, 3 * time.Second, 8 * time.Second}[rng.IntN(4)]
	perLink := rng.IntN(2) == 0 // a writer's requests reach all nodes together, late
	for _, n := range nodes.nodes {
		n.delay = func() time.Duration {
			if perLink {
				return 0
			}
			return random(most)
		}
	}
	if rng.IntN(2) == 0 { // there was an owner before, who went silent or gave up
		l := acquire(t, nodes.options('z'))
		if rng.IntN(2) == 0 {
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var held sync.Map // writer to *Lease
	var wg sync.WaitGroup
	writers := 2 + rng.IntN(3)
	for w := range writers {
		wg.Go(func() {
			time.Sleep(random(2 * time.Second))
			o := nodes.options('a' + byte(w))
			if perLink {
				o.Nodes.(*link).beforeSet = func() { time.Sleep(random(most)) }
			}
			l, err := Acquire(ctx, o)
			switch {
			case err == nil:
				held.Store(w, l)
				l.Run(ctx, func(error) {})
			case !errors.Is(err, ErrHeld) && !errors.Is(err, ErrNoQuorum) && ctx.Err() == nil:
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	// fresh is Check without its repair: what a writer acts upon without asking.
	for began := time.Now(); time.Since(began) < 4*testTTL; time.Sleep(50 * time.Millisecond) {
		owners := 0
		held.Range(func(_, l any) bool {
			if l.(*Lease).fresh() {
				owners++
			}
			return true
		})
		if owners > 1 {
			t.Fatalf("seed %d: %d writers hold the volume", seed, owners)
		}
		won = won || owners == 1
	}
	epochs := map[uint32]any{}
	held.Range(func(w, l any) bool {
		if other, ok := epochs[l.(*Lease).Epoch]; ok {
			t.Errorf("seed %d: writers %v and %v have the same epoch", seed, w, other)
		}
		epochs[l.(*Lease).Epoch] = w
		return true
	})
	cancel()
	wg.Wait()
	return won
}

// Waiting ends with the context.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newCluster(6)
		a := acquire(t, nodes.options('a'))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Acquire(ctx, nodes.options('b')); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("acquire: %v", err)
		}
		// Renewals take turns; one that waits for its turn can be cancelled.
		for _, n := range nodes.nodes {
			n.delay = func() time.Duration { return time.Minute }
		}
		go a.Renew(context.Background())
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Renew(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("renew: %v", err)
		}
		time.Sleep(5 * time.Minute)
	})
}
