package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Whatever a server does to one GET, the caller gets the right value or an error of
// the right kind, in bounded time, and later requests are well.
func TestFailures(t *testing.T) {
	const get = "GET"
	once := func(reply string) func() func(int, []string) string {
		return func() func(int, []string) string {
			var done atomic.Bool
			return func(_ int, args []string) string {
				if args[0] == get && !done.Swap(true) {
					return reply
				}
				return ""
			}
		}
	}
	always := func(reply string) func() func(int, []string) string {
		return func() func(int, []string) string {
			return func(_ int, args []string) string {
				if args[0] == get {
					return reply
				}
				return ""
			}
		}
	}
	tests := []struct {
		name   string
		script func() func(int, []string) string
		want   []error // nil: the value comes
		within time.Duration
	}{
		{"hangs", once(hang), []error{zdb.ErrUnavailable}, 10 * time.Second},
		{"reads on without a reply", once(silent), []error{zdb.ErrUnavailable}, 10 * time.Second},
		{"cut before the reply", once(cut), nil, 0},
		{"cut in the header", once("$5\r" + cut), nil, 0},
		{"cut in the value", once("$5\r\nva" + cut), nil, 0},
		{"cut each time", always("$5\r\nva" + cut), []error{zdb.ErrUnavailable}, 0},
		{"half a value and silence", once("$5\r\nva"), []error{zdb.ErrUnavailable}, 10 * time.Second},
		{"garbage each time", always("what?\r\n"), []error{zdb.ErrUnavailable, zdb.ErrNotZDB}, 0},
		{"garbage once", once("what?\r\n"), nil, 0},
		{"huge value", always("$9999999999\r\n"), []error{zdb.ErrUnavailable, zdb.ErrNotZDB}, 0},
		{"value one byte too large", always("$8388609\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"overflowing length", always("$92233720368547758079\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"negative length", always("$-2\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"huge array", always("*99999999\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"many arrays", always("*65536\r\n" + strings.Repeat("*65536\r\n", 5)), []error{zdb.ErrNotZDB}, 0},
		{"deep arrays", always("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"endless line", always("+" + strings.Repeat("x", 5000)), []error{zdb.ErrNotZDB}, 0},
		{"value longer than its length", always("$2\r\nvalue\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"bare newline", always("$-1\n"), []error{zdb.ErrNotZDB}, 0},
		{"RESP3 null", always("_\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"wrong kind", always(":5\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"array in place of a value", always("*1\r\n$1\r\nx\r\n"), []error{zdb.ErrNotZDB}, 0},
		{"unreadable", always("-Internal Error\r\n"), []error{zdb.ErrCorrupt}, 0},
		{"frozen", always("-Namespace is temporarily frozen (read-write disabled)\r\n"), []error{zdb.ErrFrozen}, 0},
		{"namespace gone", always("-Your active namespace is not available anymore (probably removed).\r\n" + cut), []error{zdb.ErrNamespaceNotFound}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.data["k"] = "value"
				c := open(t, f)
				f.setReply(test.script())
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				got, err := c.Get(t.Context(), []byte("k"))
				took := time.Since(start)
				runtime.ReadMemStats(&after)
				if test.want == nil {
					if err != nil || string(got) != "value" {
						t.Fatalf("got %q, %v", got, err)
					}
				} else {
					if err == nil {
						t.Fatalf("got %q, want an error", got)
					}
					wantErr(t, err, test.want...)
					if errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("%v claims that the caller's context ended", err)
					}
				}
				if took != test.within {
					t.Errorf("took %v, want %v", took, test.within)
				}
				if grown := after.TotalAlloc - before.TotalAlloc; grown > 20<<20 {
					t.Errorf("allocated %d bytes", grown)
				}
				// The node recovers, and so does the client.
				f.setReply(nil)
				time.Sleep(time.Minute)
				wantValue(t, c, "k", "value")
			})
		})
	}
}

// A reply that nobody asked for ends the connection and reaches no later request.
func TestUnaskedReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.data["k"], f.data["evil"] = "value", "other"
		c := open(t, f)
		var done atomic.Bool
		f.setReply(func(_ int, args []string) string {
			if args[0] == "GET" && !done.Swap(true) {
				return bulk("value") + bulk("evil")
			}
			return ""
		})
		wantValue(t, c, "k", "value")
		synctest.Wait()
		wantValue(t, c, "k", "value")
		if n := f.count(); n != 2 {
			t.Errorf("got %d connections, want 2", n)
		}
	})
}

// Replies in the wrong order are seen where a reply names its request: SET's does.
func TestWrongOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "SET" {
				return bulk("another key")
			}
			return ""
		})
		wantErr(t, c.Set(t.Context(), []byte("k"), []byte("v")), zdb.ErrNotZDB)
	})
}

// A caller that gives up leaves its reply to be dropped: the next request on the same
// connection gets its own.
func TestCancelDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range 10 {
			f.data[fmt.Sprint("k", i)] = fmt.Sprint("v", i)
		}
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "GET" {
				time.Sleep(300 * time.Millisecond)
			}
			return ""
		})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 450*time.Millisecond)
				defer cancel()
				if i%2 == 0 {
					ctx = t.Context()
				}
				start := time.Now()
				v, err := c.Get(ctx, []byte(fmt.Sprint("k", i)))
				switch {
				case i%2 == 0 && (err != nil || string(v) != fmt.Sprint("v", i)):
					t.Errorf("key %d: got %q, %v", i, v, err)
				case i%2 == 1 && err == nil && string(v) == fmt.Sprint("v", i): // its turn came in time
				case i%2 == 1 && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, zdb.ErrUnavailable)):
					t.Errorf("key %d: got %q, %v, want the context's error alone", i, v, err)
				case i%2 == 1 && time.Since(start) > time.Second:
					t.Errorf("key %d: cancelled after %v", i, time.Since(start))
				}
			})
		}
		wg.Wait()
		f.setReply(nil)
		wantValue(t, c, "k3", "v3")
	})
}

// A caller that gives up while its value is being written gets the value back soon,
// and the others on that connection are served by a new one.
func TestCancelWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		var done atomic.Bool
		f.setReply(func(_ int, args []string) string {
			if args[0] == "PING" && !done.Swap(true) {
				return hang
			}
			return ""
		})
		pinged := make(chan error, 1)
		go func() { pinged <- c.Ping(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		value := bytes.Repeat([]byte("v"), 1<<20)
		start := time.Now()
		err := c.Set(ctx, []byte("k"), value)
		wantErr(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took > time.Second+writeGrace {
			t.Errorf("returned after %v", took)
		}
		clear(value) // a data race if the writer still reads it
		if err := <-pinged; err != nil {
			t.Errorf("ping: %v", err)
		}
	})
}

// DEL that may have been carried out by a connection that broke is not "not found".
func TestDelResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.data["k"] = "v"
		c := open(t, f)
		var done atomic.Bool
		f.setReply(func(_ int, args []string) string {
			if args[0] == "DEL" && !done.Swap(true) {
				f.mu.Lock()
				delete(f.data, "k")
				f.mu.Unlock()
				return cut
			}
			return ""
		})
		if err := c.Del(t.Context(), []byte("k")); err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if err := c.Del(t.Context(), []byte("k")); !errors.Is(err, zdb.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	})
}

// What must not happen twice is not sent twice.
func TestOnceIsNotResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "NSNEW" {
				return cut
			}
			return ""
		})
		wantErr(t, c.NSNew(t.Context(), "other"), zdb.ErrUnavailable)
		if n := f.seen("NSNEW"); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
}

// A node that is down costs nothing: no call waits, the pauses between tries grow to
// their bound, and the node is taken back without a call.
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.data["k"] = "v"
		c := open(t, f)
		f.setDialErr(errors.New("connection refused"))
		f.mu.Lock()
		f.conns[0].Close()
		f.mu.Unlock()
		synctest.Wait()

		start := time.Now()
		for range 1000 {
			_, err := c.Get(t.Context(), []byte("k"))
			wantErr(t, err, zdb.ErrUnavailable)
			if !strings.Contains(err.Error(), "connection refused") {
				t.Fatalf("%v does not say why", err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("failing took %v", took)
		}
		if n := f.count(); n != 2 {
			t.Errorf("got %d dials, want 2", n)
		}
		time.Sleep(5 * time.Minute)
		f.mu.Lock()
		var pauses []time.Duration
		for i := 2; i < len(f.dials); i++ {
			pauses = append(pauses, f.dials[i].Sub(f.dials[i-1]))
		}
		f.mu.Unlock()
		want := 100 * time.Millisecond
		for i, p := range pauses {
			if p != want {
				t.Fatalf("pause %d: got %v, want %v of %v", i, p, want, pauses)
			}
			want = min(2*want, 30*time.Second)
		}
		f.setDialErr(nil)
		time.Sleep(30 * time.Second)
		wantValue(t, c, "k", "v")
	})
}

// A server that greets but never answers opens the circuit after a few connections.
func TestCircuitOnStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "GET" {
				return hang
			}
			return ""
		})
		for range maxStrikes {
			_, err := c.Get(t.Context(), []byte("k"))
			wantErr(t, err, zdb.ErrUnavailable)
			synctest.Wait()
		}
		start := time.Now()
		_, err := c.Get(t.Context(), []byte("k"))
		wantErr(t, err, zdb.ErrUnavailable)
		if time.Since(start) != 0 {
			t.Errorf("the circuit did not open: %v", err)
		}
	})
}

// Jitter keeps clients of one node apart: a pause is between half and the whole.
func TestJitter(t *testing.T) {
	c := &base{options: Options{Jitter: func() float64 { return 0 }}.withDefaults()}
	for _, want := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000} {
		if got := c.pause(); got != want*time.Millisecond {
			t.Errorf("got %v, want %v", got, want*time.Millisecond)
		}
	}
}

// Many callers share few connections; each gets its own value, and no more requests
// are under way than allowed.
func TestSharedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range 500 {
			f.data[fmt.Sprint(i)] = fmt.Sprint("value ", i)
		}
		c := open(t, f, func(_ *Target, o *Options) { o.MaxConns, o.MaxInflight = 3, 16 })
		f.setReply(func(_ int, args []string) string {
			if inflight := len(c.slots); inflight > 16 {
				t.Errorf("%d in flight", inflight)
			}
			return ""
		})
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() { wantValue(t, c, fmt.Sprint(i), fmt.Sprint("value ", i)) })
		}
		wg.Wait()
		if n := f.count(); n > 3 {
			t.Errorf("got %d connections, want at most 3", n)
		}
	})
}

// A read does not wait for a write that the node takes its time with.
func TestReadsPassWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.data["k"] = "v"
		c := open(t, f)
		if err := c.Set(t.Context(), []byte("a"), []byte("1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the connection for writes is there
		f.setReply(func(_ int, args []string) string {
			if args[0] == "SET" {
				time.Sleep(5 * time.Second)
			}
			return ""
		})
		written := make(chan error, 1)
		go func() { written <- c.Set(t.Context(), []byte("a"), []byte("2")) }()
		synctest.Wait()
		start := time.Now()
		wantValue(t, c, "k", "v")
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %v", took)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

// Close ends what is under way with zdb.ErrClosed, and what comes later too.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(int, []string) string { return hang })
		errs := make(chan error, 1)
		go func() { _, err := c.Get(t.Context(), []byte("k")); errs <- err }()
		synctest.Wait()
		c.Close()
		wantErr(t, <-errs, zdb.ErrClosed)
		wantErr(t, c.Ping(t.Context()), zdb.ErrClosed)
		c.Close()
	})
}

// A namespace that vanishes is an error, never an empty one made in its place.
func TestNamespaceIsNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		delete(f.spaces, "home")
		c := open(t, f, func(_ *Target, o *Options) { o.CreateNamespace = true })
		if f.seen("NSNEW") != 1 {
			t.Fatal("not created")
		}
		f.mu.Lock()
		delete(f.spaces, "home")
		f.conns[0].Close()
		f.mu.Unlock()
		synctest.Wait()
		_, err := c.Get(t.Context(), []byte("k"))
		wantErr(t, err, zdb.ErrNamespaceNotFound, zdb.ErrUnavailable)
		time.Sleep(time.Hour)
		if n := f.seen("NSNEW"); n != 1 {
			t.Errorf("NSNEW sent %d times", n)
		}
	})
}
