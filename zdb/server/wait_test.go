package server

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test whose clock is a synctest bubble's, with clients over pipes.
func inBubble(t *testing.T, o Options, test func(t *testing.T, s *Server, dial func() *client)) {
	t.Helper()
	o.DataDir = t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		var conns []net.Conn
		test(t, s, func() *client {
			ours, theirs := net.Pipe()
			conns = append(conns, ours)
			s.start(theirs)
			return &client{t: t, nc: ours, r: bufio.NewReader(ours)}
		})
		for _, nc := range conns {
			nc.Close()
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// WAIT ends when its time is over: 5 s unless another is given.
func TestWaitTimeout(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *Server, dial func() *client) {
		c := dial()
		for _, w := range []struct {
			args []string
			want time.Duration
		}{
			{args("WAIT", "SET"), 5 * time.Second},
			{args("WAIT", "*"), 5 * time.Second},
			{args("wait", "set", "100"), 100 * time.Millisecond},
			{args("WAIT", "GET", "1800000"), 30 * time.Minute},
		} {
			start := time.Now()
			c.want("-Timeout", w.args...)
			if got := time.Since(start); got != w.want {
				t.Errorf("%q: after %v, want %v", w.args, got, w.want)
			}
		}
		for _, ms := range []string{"99", "0", "", "-100", "1800001", "abc", "100x", "12345678901234567", "99999999999999999999"} {
			c.want("-Invalid timeout", "WAIT", "SET", ms)
		}
		c.steps([]step{
			{"-Invalid arguments", args("WAIT")},
			{"-Invalid arguments", args("WAIT", "SET", "100", "x")},
			{"-Unknown command to watch", args("WAIT", "NOPE")},
			{"-Unknown command to watch", args("WAIT", "")},
			{"-Unknown command to watch", args("WAIT", "KEYTIMES")},
		})
		if n := s.waits.count.Load(); n != 0 {
			t.Fatalf("%d still wait", n)
		}
	})
}

// A session is woken by another one's command in the same namespace, and by nothing else.
func TestWaitWakes(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *Server, dial func() *client) {
		a, b := dial(), dial()
		b.want("+OK", "NSNEW", "x")
		for _, w := range []struct {
			watched string
			wakes   []string
			want    string
		}{
			{"SET", args("SET", "k", "v"), "+SET"},
			{"set", args("sEt", "k", "v2"), "+SET"},
			{"SET", args("SET", "k", "v2"), "+SET"},          // nothing new
			{"SET", args("SET", ""), "+SET"},                 // not even good
			{"SETX", args("SETX", "k", "v3"), "+SETX"},       // the name that was used
			{"*", args("DEL", "k"), "+DEL"},                  // any
			{"*", args("NSLIST"), "+NSLIST"},                 // any at all
			{"PING", args("PING"), "+PING"},                  // none of the data
			{"NSJUMP", args("NSJUMP"), "+NSJUMP"},            // an administrator's
			{"WAIT", args("WAIT", "SET", "99"), "+WAIT"},     // itself
			{"SELECT", args("SELECT", "default"), "+SELECT"}, // come to stay
		} {
			a.send("WAIT", w.watched)
			a.want("+PONG", "PING") // the pipeline goes on
			b.do(w.wakes...)
			if got := a.reply(); got != w.want {
				t.Fatalf("WAIT %s, %q: %q", w.watched, w.wakes, got)
			}
		}
		start := time.Now()
		a.send("WAIT", "SET", "1000")
		a.want("k", "SET", "k", "mine") // its own
		b.want("mine", "GET", "k")      // another command
		b.want("-Command not supported", "NOPE")
		b.want("k2", "SETX", "k2", "v") // another name
		b.want("+OK", "SELECT", "x")
		b.want("k", "SET", "k", "v") // another namespace
		if got := a.reply(); got != "-Timeout" || time.Since(start) != time.Second {
			t.Fatal(got, time.Since(start))
		}

		// The session selects another namespace while it waits.
		a.send("WAIT", "SET")
		a.want("+OK", "SELECT", "x")
		b.want("+OK", "SELECT", "default")
		b.want("k", "SET", "k", "v9")
		b.want("+OK", "SELECT", "x")
		b.want("k", "SET", "k", "v9")
		if got := a.reply(); got != "+SET" {
			t.Fatal(got)
		}
		a.want("+PONG", "PING") // and only once
	})
}

// A second WAIT takes the place of the first, which gets its reply too.
func TestWaitTwice(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *Server, dial func() *client) {
		a, b := dial(), dial()
		a.send("WAIT", "SET")
		a.want("-Timeout", "WAIT", "DEL")
		b.want("k", "SET", "k", "v")
		b.want("+OK", "DEL", "k")
		if got := a.reply(); got != "+DEL" {
			t.Fatal(got)
		}
	})
}

// What a waiter is told of is done: it finds the value.
func TestWaitFindsTheValue(t *testing.T) {
	_, addr := run(t, Options{})
	a, b := dial(t, addr), dial(t, addr)
	for range 100 {
		a.send("WAIT", "SET")
		a.want("+PONG", "PING")
		value := time.Now().String()
		b.want("k", "SET", "k", value)
		if got := a.reply(); got != "+SET" {
			t.Fatal(got)
		}
		a.want(value, "GET", "k")
	}
}

// A reply to WAIT never comes inside of another reply.
func TestWaitBetweenReplies(t *testing.T) {
	_, addr := run(t, Options{})
	a, b := dial(t, addr), dial(t, addr)
	a.want("k", "SET", "k", strings.Repeat("v", 200000))
	get := append(args("MGET"), strings.Split(strings.Repeat("k ", 50), " ")[:50]...)
	want := "[" + strings.Repeat("v", 200000) + strings.Repeat(" "+strings.Repeat("v", 200000), 49) + "]"
	for range 5 {
		a.send("WAIT", "TIME")
		a.want("+PONG", "PING")
		a.send(get...)
		b.do("TIME") // while the reply to MGET does not fit the socket
		woken := 0
		for range 2 {
			switch got := a.reply(); got {
			case "+TIME":
				woken++
			case want:
			default:
				t.Fatalf("%.100q", got)
			}
		}
		if woken != 1 {
			t.Fatalf("woken %d times", woken)
		}
	}
}

// A wait ends with its client and with the server; neither is delayed by it, nor by a
// waiter that does not read.
func TestWaitEnds(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, s *Server, dial func() *client) {
		gone, deaf, a := dial(), dial(), dial()
		gone.send("WAIT", "SET", "1800000")
		gone.want("+PONG", "PING")
		gone.nc.Close()
		synctest.Wait()
		if n := s.waits.count.Load(); n != 0 {
			t.Fatalf("%d wait", n)
		}
		deaf.send("WAIT", "SET", "1800000")
		synctest.Wait() // the reply that follows is not read, so the pipe takes none
		start := time.Now()
		a.want("k", "SET", "k", "v")
		a.want("k", "SET", "k", "v2")
		if d := time.Since(start); d != 0 {
			t.Fatalf("others waited %v", d)
		}
		if got := deaf.reply(); got != "+SET" {
			t.Fatal(got)
		}
		deaf.send("WAIT", "SET", "1800000")
		synctest.Wait()
		if n := s.waits.count.Load(); n != 1 {
			t.Fatalf("%d wait", n)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Minute {
			t.Fatalf("the end took %v", d)
		}
		if n := s.waits.count.Load(); n != 0 || len(s.waits.at) != 0 {
			t.Fatalf("%d wait", n)
		}
	})
}
