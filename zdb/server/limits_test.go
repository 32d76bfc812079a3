package server

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A bucket gives its rate over time, lends beyond what it has, and says when that is paid.
func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(100)
		for _, step := range []struct {
			name  string
			after time.Duration
			take  float64
			want  time.Duration
		}{
			{"a second's worth at once", 0, 100, 0},
			{"a debt", 0, 50, 500 * time.Millisecond},
			{"more of it", 0, 250, 3 * time.Second},
			{"paid in part", time.Second, 0, 2 * time.Second},
			{"paid", 2 * time.Second, 0, 0},
			{"never more than a second's worth", time.Hour, 101, 10 * time.Millisecond},
			{"beyond what a duration holds", 0, 1e300, 24 * time.Hour},
		} {
			time.Sleep(step.after)
			if got := b.take(step.take); got.Round(time.Millisecond) != step.want {
				t.Fatalf("%s: got %s, want %s", step.name, got, step.want)
			}
		}
		var none bucket
		if got := none.take(1e12); got != 0 || !none.full(time.Now()) {
			t.Fatalf("no limit: got %s", got)
		}
	})
}

// pipes is a listener of connections inside of the process, each from an address.
type pipes struct {
	conns  chan net.Conn
	done   chan struct{}
	closed sync.Once
}

type pipeEnd struct {
	net.Conn
	from net.Addr
}

func (p pipeEnd) RemoteAddr() net.Addr { return p.from }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }
func (p *pipes) Close() error   { p.closed.Do(func() { close(p.done) }); return nil }
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(t *testing.T, from string) *client {
	near, far := net.Pipe()
	p.conns <- pipeEnd{far, &net.TCPAddr{IP: net.ParseIP(from), Port: 1}}
	t.Cleanup(func() { near.Close() })
	return &client{t: t, nc: near, r: bufio.NewReader(near)}
}

// bubble runs a server and what uses it where time is simulated.
func bubble(t *testing.T, o Options, use func(t *testing.T, s *Server, p *pipes)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o.DataDir = dir
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(p) }()
		use(t, s, p)
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// Who sends more than the rate is answered later, and nobody else is.
func TestRequestRate(t *testing.T) {
	bubble(t, Options{RequestsPerSecond: 10, Metrics: true}, func(t *testing.T, s *Server, p *pipes) {
		greedy, again, modest := p.dial(t, "192.0.2.1"), p.dial(t, "192.0.2.1"), p.dial(t, "192.0.2.2")
		began := time.Now()
		for range 10 {
			greedy.want("+PONG", "PING")
		}
		greedy.want("k", "SET", "k", "v") // what has been executed is answered, the next one waits
		if took := time.Since(began); took > 0 {
			t.Errorf("the last one within the rate was answered after %s", took)
		}
		for range 19 {
			greedy.want("+PONG", "PING")
		}
		if took := time.Since(began); took < 1800*time.Millisecond || took > 2200*time.Millisecond {
			t.Errorf("30 requests at 10/s, 10 of them at once, took %s", took)
		}
		began = time.Now()
		modest.want("+PONG", "PING")
		if took := time.Since(began); took != 0 {
			t.Errorf("another client waited %s", took)
		}
		again.want("+PONG", "PING") // this one is on credit, the next waits for it
		began = time.Now()
		again.want("+PONG", "PING")
		if took := time.Since(began); took < 50*time.Millisecond {
			t.Errorf("a second connection of the client waited %s only", took)
		}
	})
}

// Bytes count in both directions.
func TestByteRate(t *testing.T) {
	bubble(t, Options{BytesPerSecond: 100e3}, func(t *testing.T, s *Server, p *pipes) {
		c := p.dial(t, "192.0.2.1")
		value := strings.Repeat("v", 500e3)
		began := time.Now()
		c.want("k", "SET", "k", value)
		if took := time.Since(began); took > 0 {
			t.Errorf("SET was answered after %s: what has been executed does not wait", took)
		}
		c.want(value, "GET", "k") // waits for the 400 kB that SET went beyond
		if took := time.Since(began); took < 3900*time.Millisecond || took > 4500*time.Millisecond {
			t.Errorf("GET came after %s", took)
		}
		c.want("+PONG", "PING") // waits for the value that went out
		if took := time.Since(began); took < 8900*time.Millisecond || took > 9500*time.Millisecond {
			t.Errorf("PING came after %s", took)
		}
	})
}

// A pause ends when the server does.
func TestCloseEndsPause(t *testing.T) {
	bubble(t, Options{RequestsPerSecond: 0.001}, func(t *testing.T, s *Server, p *pipes) {
		c := p.dial(t, "192.0.2.1")
		c.want("+PONG", "PING")
		c.want("+PONG", "PING")
		synctest.Wait()
		began := time.Now()
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("close took %s", took)
		}
		if got := c.reply(); got != "closed" {
			t.Errorf("got %s", got)
		}
	})
}

// A connection without a request is closed, one with them is not.
func TestIdleTimeout(t *testing.T) {
	bubble(t, Options{IdleTimeout: time.Minute}, func(t *testing.T, s *Server, p *pipes) {
		idle, busy, waiter := p.dial(t, "192.0.2.1"), p.dial(t, "192.0.2.1"), p.dial(t, "192.0.2.1")
		answer := make(chan string, 1)
		go func() { answer <- waiter.do("WAIT", "SET", "300000") }()
		for range 10 {
			busy.want("+PONG", "PING")
			time.Sleep(50 * time.Second)
		}
		busy.want("+PONG", "PING")
		if got := <-answer; got != "-Timeout" {
			t.Errorf("one that waits for a command got %s", got)
		}
		if got := idle.reply(); got != "closed" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		if n := s.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A client has as many connections as it may have; the places of those that end are free.
func TestConnectionLimits(t *testing.T) {
	bubble(t, Options{MaxConnections: 5, MaxConnectionsPerClient: 2, Metrics: true}, func(t *testing.T, s *Server, p *pipes) {
		serves := func(from string) (*client, bool) {
			c := p.dial(t, from)
			go c.nc.Write([]byte("*1\r\n$4\r\nPING\r\n"))
			switch got := c.reply(); got {
			case "+PONG":
				return c, true
			case "-" + textTooManyClients:
			default:
				t.Fatalf("got %q", got)
			}
			return c, false
		}
		want := func(from string, want bool) *client {
			t.Helper()
			c, got := serves(from)
			if got != want {
				t.Fatalf("%s: served is %v", from, got)
			}
			return c
		}
		first := want("192.0.2.1", true)
		want("192.0.2.1", true)
		want("192.0.2.1", false)
		want("::ffff:192.0.2.1", false) // the same address
		want("2001:db8:1:2::1", true)
		want("2001:db8:1:2::2", true)
		want("2001:db8:1:2:ffff::3", false) // one customer's network
		first.nc.Close()
		synctest.Wait()
		want("192.0.2.1", true)
		want("192.0.2.3", true)
		want("192.0.2.4", false) // five in all
	})
}

// A request above the limit gets 0-db's text and a close.
func TestRequestSize(t *testing.T) {
	_, addr := run(t, Options{MaxRequestBytes: 1000})
	c := dial(t, addr)
	c.want("k", "SET", "k", strings.Repeat("v", 900))
	c.want("-Payload too big", "SET", "k", strings.Repeat("v", 1000))
	if got := c.reply(); got != "closed" {
		t.Errorf("got %s", got)
	}
}

// A user of the unix socket is one client; those that are gone and owe nothing are forgotten.
func TestPeers(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ids []peerID
	for range 2 {
		nc, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		ids = append(ids, peerOf(got))
	}
	if ids[0] != ids[1] || ids[0].user == 0 {
		t.Errorf("got %+v", ids)
	}

	synctest.Test(t, func(t *testing.T) {
		ps := newPeers(&Options{RequestsPerSecond: 1})
		for i := range int64(10 * minTidyPeers) {
			p := ps.admit(peerID{user: i + 1})
			p.requests.take(10)
			ps.leave(p)
		}
		if n := len(ps.byID); n != 10*minTidyPeers {
			t.Errorf("%d clients, though all owe", n)
		}
		time.Sleep(time.Minute)
		for i := range int64(20 * minTidyPeers) {
			ps.leave(ps.admit(peerID{user: -i - 1}))
		}
		if n := len(ps.byID); n > 21*minTidyPeers {
			t.Errorf("%d clients are kept", n)
		}
	})
}
