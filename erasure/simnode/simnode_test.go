package simnode

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// The in-memory node and the wrapper without faults are storage nodes.
func TestConform(t *testing.T) {
	t.Run("memory", func(t *testing.T) { Conform(t, func(*testing.T) Backend { return &Memory{} }) })
	t.Run("wrapped", func(t *testing.T) { Conform(t, func(*testing.T) Backend { return New(1) }) })
	t.Run("wrapped twice", func(t *testing.T) { Conform(t, func(*testing.T) Backend { return Wrap(New(1), 2) }) })
}

// Each fault does what its name says.
func TestFaults(t *testing.T) {
	ctx := t.Context()
	key, other := []byte("key"), []byte("other")
	old, want := bytes.Repeat([]byte("a"), 100), bytes.Repeat([]byte("b"), 100)
	boom := errors.New("boom")
	prepare := func(f Fault) *Node {
		n := New(7)
		for _, kv := range [][2][]byte{{key, old}, {other, []byte("other value")}, {key, want}} {
			if err := n.Set(ctx, kv[0], kv[1]); err != nil {
				t.Fatal(err)
			}
		}
		n.Inject(f)
		return n
	}
	for _, tc := range []struct {
		fault Fault
		err   error
		ok    func(got []byte) bool
	}{
		{Fault{Kind: Down}, zdb.ErrUnavailable, nil},
		{Fault{Kind: Error, Err: boom}, boom, nil},
		{Fault{Kind: Vanish}, zdb.ErrNotFound, nil},
		{Fault{Kind: FlipBit}, nil, func(got []byte) bool { return len(got) == len(want) && !bytes.Equal(got, want) }},
		{Fault{Kind: Truncate}, nil, func(got []byte) bool { return len(got) < len(want) && bytes.HasPrefix(want, got) }},
		{Fault{Kind: Extend}, nil, func(got []byte) bool { return len(got) > len(want) && bytes.HasPrefix(got, want) }},
		{Fault{Kind: Swap}, nil, func(got []byte) bool { return string(got) == "other value" }},
		{Fault{Kind: Stale}, nil, func(got []byte) bool { return bytes.Equal(got, old) }},
		{Fault{Kind: Forge}, nil, func(got []byte) bool { return len(got) == len(want) && !bytes.Equal(got, want) }},
		{Fault{Kind: Down, Op: Set}, nil, func(got []byte) bool { return bytes.Equal(got, want) }},
		{Fault{Kind: Down, Key: func(k []byte) bool { return string(k) == "no" }}, nil, func(got []byte) bool { return bytes.Equal(got, want) }},
	} {
		t.Run(tc.fault.Kind.String(), func(t *testing.T) {
			n := prepare(tc.fault)
			got, err := n.Get(ctx, key)
			if !errors.Is(err, tc.err) || tc.ok != nil && !tc.ok(got) {
				t.Fatalf("got %q and %v", got, err)
			}
			n.Heal()
			if got, err := n.Get(ctx, key); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("after heal: got %q and %v", got, err)
			}
		})
	}
	t.Run("writes", func(t *testing.T) {
		n := prepare(Fault{Kind: Full, Times: 1})
		if err := n.Set(ctx, key, old); !errors.Is(err, zdb.ErrNoSpace) {
			t.Fatalf("full: %v", err)
		}
		n.Inject(Fault{Kind: LostWrite, Times: 1}, Fault{Kind: LostAck, Times: 1, Key: func(k []byte) bool { return string(k) == "other" }})
		if err := n.Set(ctx, key, old); err != nil {
			t.Fatalf("lost write: %v", err)
		}
		if got, _ := n.Get(ctx, key); !bytes.Equal(got, want) {
			t.Fatalf("lost write was stored: %q", got)
		}
		if err := n.Set(ctx, other, old); err == nil {
			t.Fatal("lost ack was acknowledged")
		}
		if got, _ := n.Get(ctx, other); !bytes.Equal(got, old) {
			t.Fatalf("lost ack was not stored: %q", got)
		}
	})
	t.Run("limit", func(t *testing.T) {
		n := Wrap(&Memory{LimitBytes: 10}, 1)
		if err := n.Set(ctx, key, make([]byte, 11)); !errors.Is(err, zdb.ErrNoSpace) {
			t.Fatalf("got %v", err)
		}
		if err := n.Set(ctx, key, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	})
}

// Hang lasts as long as the context, Delay as long as told; both are counted.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Inject(Fault{Kind: Hang, Op: Get}, Fault{Kind: Delay, Op: Set, Delay: time.Minute})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Get(ctx, []byte("key")); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("hang: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if err := n.Set(t.Context(), []byte("key"), nil); err != nil || time.Since(start) != time.Minute {
			t.Fatalf("delay: %v after %v", err, time.Since(start))
		}
		if c := n.Counts(); c.Gets != 1 || c.Sets != 1 || c.Faults != 2 || c.InFlight != 0 {
			t.Fatalf("counts: %+v", c)
		}
	})
}

// The seed alone decides which requests a fault meets.
func TestSeed(t *testing.T) {
	run := func(seed uint64) (out []bool) {
		n := New(seed)
		n.Inject(Fault{Kind: Down, Probability: 0.5})
		for range 64 {
			_, err := n.Get(t.Context(), []byte("key"))
			out = append(out, errors.Is(err, zdb.ErrUnavailable))
		}
		return out
	}
	same := func(a, b []bool) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !same(run(1), run(1)) || same(run(1), run(2)) {
		t.Fatal("not a function of the seed")
	}
}
