package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a scripted server. Each connection reads requests and writes what reply
// returns, raw; the special replies below do what their names say.
type fake struct {
	mu       sync.Mutex
	reply    func(conn int, args []string) string // nil, or a reply, or "" for the usual one
	dialErr  error
	dials    []time.Time
	conns    []net.Conn
	requests [][]string
	data     map[string]string
	spaces   map[string]string // namespace to password
	admin    string            // administrator's password; empty: all are
	done     chan struct{}
	wg       sync.WaitGroup
}

const (
	hang   = "\x00hang"   // no reply, and nothing more is read
	cut    = "\x00cut"    // the connection ends
	silent = "\x00silent" // no reply, but the next request is read
)

func newFake() *fake {
	return &fake{done: make(chan struct{}), data: map[string]string{}, spaces: map[string]string{"default": "", "home": ""}}
}

// dial is Options.Dial.
func (f *fake) dial(ctx context.Context, network, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, time.Now())
	if f.dialErr != nil {
		return nil, f.dialErr
	}
	near, far := net.Pipe()
	f.conns = append(f.conns, far)
	n := len(f.conns) - 1
	f.wg.Go(func() { f.serve(n, far) })
	return near, nil
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dials)
}

func (f *fake) setDialErr(err error) {
	f.mu.Lock()
	f.dialErr = err
	f.mu.Unlock()
}

func (f *fake) setReply(reply func(conn int, args []string) string) {
	f.mu.Lock()
	f.reply = reply
	f.mu.Unlock()
}

// seen returns how often a command came.
func (f *fake) seen(command string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if r[0] == command {
			n++
		}
	}
	return n
}

// close ends all connections and waits for their goroutines.
func (f *fake) close() {
	f.mu.Lock()
	close(f.done)
	for _, c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (f *fake) serve(n int, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	admin := f.admin == ""
	for {
		args, err := readRequest(in)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.requests = append(f.requests, args)
		script := f.reply
		f.mu.Unlock()
		reply := ""
		if script != nil {
			reply = script(n, args)
		}
		if reply == "" {
			reply = f.usual(args, &admin)
		}
		switch reply {
		case hang:
			<-f.done
			return
		case cut:
			return
		case silent:
			continue
		}
		if before, ok := strings.CutSuffix(reply, cut); ok {
			io.WriteString(conn, before)
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

func readRequest(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "*")))
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "$")))
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

const (
	fakeInfo   = "# server\nserver_name: 0-db (zdb)\nuptime: 5\nsequential_key_size: 8\n"
	fakeNSInfo = "# namespace\nname: %s\nentries: %d\npublic: yes\npassword: no\ndata_size_bytes: 7\ndata_limits_bytes: 100\nmode: userkey\ndata_disk_freespace_bytes: 5000\n"
	challenge  = "0123456789abcdef"
)

// usual answers as a 0-db does.
func (f *fake) usual(args []string, admin *bool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch args[0] {
	case "INFO":
		return bulk(fakeInfo)
	case "NSINFO":
		return bulk(fmt.Sprintf(fakeNSInfo, args[1], len(f.data)))
	case "AUTH":
		switch {
		case len(args) == 3 && args[2] == "CHALLENGE":
			return "+" + challenge + "\r\n"
		case f.admin == "":
			return "-Authentication disabled\r\n"
		case args[len(args)-1] == secureHash(challenge, f.admin), len(args) == 2 && args[1] == f.admin:
			*admin = true
			return "+OK\r\n"
		}
		return "-Access denied\r\n"
	case "SELECT":
		password, ok := f.spaces[args[1]]
		switch {
		case !ok:
			return "-Namespace not found\r\n"
		case password == "", args[len(args)-1] == secureHash(challenge, password), len(args) == 3 && args[2] == password:
			return "+OK\r\n"
		case len(args) == 2:
			return "-Namespace protected and private\r\n"
		}
		return "-Access denied\r\n"
	case "NSNEW":
		if !*admin {
			return "-Permission denied\r\n"
		}
		f.spaces[args[1]] = ""
		return "+OK\r\n"
	case "NSSET":
		if args[2] == "password" {
			f.spaces[args[1]] = args[3]
		}
		return "+OK\r\n"
	case "NSDEL":
		delete(f.spaces, args[1])
		return "+OK\r\n"
	case "PING":
		return "+PONG\r\n"
	case "SET":
		if old, ok := f.data[args[1]]; ok && old == args[2] {
			return "$-1\r\n"
		}
		f.data[args[1]] = args[2]
		return bulk(args[1])
	case "GET":
		if v, ok := f.data[args[1]]; ok {
			return bulk(v)
		}
		return "$-1\r\n"
	case "DEL":
		if _, ok := f.data[args[1]]; !ok {
			return "-Key not found\r\n"
		}
		delete(f.data, args[1])
		return "+OK\r\n"
	}
	return "-Command not supported\r\n"
}

var target = Target{Network: "tcp", Address: "192.0.2.1:9900", Namespace: "home"}

// open opens a client on f; both end with the test.
func open(t *testing.T, f *fake, change ...func(*Target, *Options)) *Client {
	t.Helper()
	c, err := tryOpen(t, f, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); f.close() })
	return c
}

func tryOpen(t *testing.T, f *fake, change ...func(*Target, *Options)) (*Client, error) {
	t.Helper()
	where, options := target, Options{Dial: f.dial, Jitter: func() float64 { return 1 }}
	for _, fn := range change {
		fn(&where, &options)
	}
	return Open(t.Context(), where, options)
}

func wantErr(t *testing.T, got error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(got, w) {
			t.Fatalf("got error %v, want %v", got, w)
		}
	}
}

func wantValue(t *testing.T, c *Client, key, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), []byte(key))
	if err != nil || !bytes.Equal(got, []byte(want)) {
		t.Fatalf("Get(%q): got %q, %v, want %q", key, got, err, want)
	}
}
