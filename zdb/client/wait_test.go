package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// WAIT has a connection of its own, whose reply is the name, the end of the time, or
// nothing that a 0-db says.
func TestWait(t *testing.T) {
	for name, c := range map[string]struct {
		command, reply string
		want           string
		err            error
		within         time.Duration
	}{
		"it is run":       {"set", "+SET\r\n", "SET", nil, 0},
		"whatever is run": {AnyCommand, "+DEL\r\n", "DEL", nil, 0},
		"nobody runs it":  {"SET", "-" + zdb.TextTimeout + "\r\n", "", zdb.ErrTimeout, 0},
		"not a command":   {"NOPE", "-" + zdb.TextUnknownWatch + "\r\n", "", nil, 0},
		"another is run":  {"SET", "+DEL\r\n", "", zdb.ErrNotZDB, 0},
		"wrong kind":      {"SET", ":1\r\n", "", zdb.ErrNotZDB, 0},
		"garbage":         {"SET", "what\r\n", "", zdb.ErrUnavailable, 0},
		"cut":             {"SET", cut, "", zdb.ErrUnavailable, 0},
		"never a reply":   {"SET", hang, "", zdb.ErrUnavailable, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				w := open(t, f)
				f.setReply(func(_ int, args []string) string {
					if args[0] == "WAIT" {
						return c.reply
					}
					return ""
				})
				start := time.Now()
				got, err := w.Wait(t.Context(), c.command, 2*time.Second)
				if got != c.want || !errors.Is(err, c.err) && c.err != nil || c.err == nil && c.want == "" && err == nil || c.want != "" && err != nil {
					t.Errorf("got %q, %v, want %q, %v", got, err, c.want, c.err)
				}
				if took := time.Since(start); took != c.within {
					t.Errorf("took %v, want %v", took, c.within)
				}
				if n := f.count(); n != 2 {
					t.Errorf("%d connections, want the client's and one for WAIT", n)
				}
				f.setReply(nil)
				if err := w.Ping(t.Context()); err != nil {
					t.Errorf("the client's connection suffered: %v", err)
				}
			})
		})
	}
}

// Who waits ends with his context, and with the client.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "WAIT" {
				return hang
			}
			return ""
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Wait(ctx, "SET", time.Minute)
		wantErr(t, err, context.DeadlineExceeded)
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v", took)
		}
		errs := make(chan error, 1)
		go func() { _, err := c.Wait(t.Context(), "SET", time.Minute); errs <- err }()
		synctest.Wait()
		c.Close()
		wantErr(t, <-errs, zdb.ErrClosed)
		_, err = c.Wait(t.Context(), "SET", time.Minute)
		wantErr(t, err, zdb.ErrClosed)
	})
}

func TestWaitRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		for _, limit := range []time.Duration{0, 99 * time.Millisecond, 31 * time.Minute} {
			if _, err := c.Wait(t.Context(), "SET", limit); err == nil {
				t.Errorf("%v is taken", limit)
			}
		}
		for _, command := range []string{"", "A B", "X\r\n"} {
			if _, err := c.Wait(t.Context(), command, time.Second); err == nil {
				t.Errorf("%q is taken", command)
			}
		}
		if f.seen("WAIT") != 0 {
			t.Error("WAIT was sent")
		}
		f.setDialErr(errors.New("connection refused"))
		f.mu.Lock()
		f.conns[0].Close()
		f.mu.Unlock()
		synctest.Wait()
		_ = c.Ping(t.Context()) // opens the circuit
		dials := f.count()
		_, err := c.Wait(t.Context(), "SET", time.Second)
		wantErr(t, err, zdb.ErrUnavailable)
		if f.count() != dials {
			t.Error("a node that is down was dialled")
		}
	})
}
