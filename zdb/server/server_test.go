package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
)

// client speaks to a server in raw RESP; a reply is shown as text.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// run starts a server on a loopback port and gives a way to connect to it.
func run(t testing.TB, o Options) (s *Server, addr string) {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(60 * time.Second))
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(args ...string) {
	c.t.Helper()
	b := resp.AppendArray(nil, len(args))
	for _, a := range args {
		b = resp.AppendBulk(b, a)
	}
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads one reply: "+OK", "-text", ":1", "nil", a bulk as it is, arrays as [a b].
func (c *client) reply() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "closed"
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			c.t.Fatal(err)
		}
		if n < 0 {
			return "nil"
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, b); err != nil {
			c.t.Fatal(err)
		}
		return string(b[:n])
	case '*':
		n, _ := strconv.Atoi(line[1:])
		var items []string
		for range n {
			items = append(items, c.reply())
		}
		return "[" + strings.Join(items, " ") + "]"
	}
	return line
}

func (c *client) do(args ...string) string {
	c.t.Helper()
	c.send(args...)
	return c.reply()
}

func (c *client) want(want string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); got != want {
		c.t.Fatalf("%.200q: got %.300q, want %.300q", args, got, want)
	}
}

// line reads the first line of a reply.
func (c *client) line(want string) {
	c.t.Helper()
	if got, _ := c.r.ReadString('\n'); got != want+"\r\n" {
		c.t.Fatalf("got %q, want %q", got, want)
	}
}

// step is a request and the reply to it.
type step struct {
	want string
	args []string
}

func args(a ...string) []string { return a }

func (c *client) steps(list []step) {
	c.t.Helper()
	for _, s := range list {
		c.want(s.want, s.args...)
	}
}

// Malformed input gets its text and then a clean close; others go on.
func TestMalformed(t *testing.T) {
	_, addr := run(t, Options{})
	other := dial(t, addr)
	for in, want := range map[string]string{
		"PING\r\n":                   zdb.TextMalformedRequest,
		"*0\r\n":                     zdb.TextMissingArguments,
		"*1025\r\n":                  zdb.TextTooManyArguments,
		"*1\r\n:1\r\n":               zdb.TextMalformedQuery,
		"*-1\r\n":                    zdb.TextInternalMemory,
		"*2\r\n$3\r\nGET\r\n$-1\r\n": zdb.TextMalformedQuery,
		"*2\r\n$3\r\nGET\r\n$8388609\r\n" + strings.Repeat("x", 9<<20): zdb.TextPayloadTooBig,
	} {
		c := dial(t, addr)
		go io.WriteString(c.nc, "*1\r\n$4\r\nPING\r\n"+in)
		if got := c.reply(); got != "+PONG" {
			t.Fatal(got)
		}
		if got := c.reply(); got != "-"+want {
			t.Fatalf("%.40q: got %q, want %q", in, got, want)
		}
		if got := c.reply(); got != "closed" {
			t.Fatalf("%.40q: then %q", in, got)
		}
		other.want("+PONG", "PING")
	}
	big := strings.Repeat("x", zdb.MaxValueBytes)
	other.want("k", "SET", "k", big)
	if got := other.do("GET", "k"); got != big {
		t.Fatalf("got %d bytes", len(got))
	}
}

// Replies of a pipeline come in order, also when writes, reads and errors mix.
func TestPipeline(t *testing.T) {
	_, addr := run(t, Options{})
	c := dial(t, addr)
	value := func(i int) string { return strings.Repeat(strconv.Itoa(i), 1+i*700%30000) }
	var in bytes.Buffer
	const n = 400
	for i := range n {
		for _, args := range [][]string{{"SET", "k", value(i)}, {"GET", "k"}, {"NOPE"}, {"SET", "k", value(i)}, {"LENGTH", "k"}, {"SET", fmt.Sprint("x", i), "v"}} {
			b := resp.AppendArray(nil, len(args))
			for _, a := range args {
				b = resp.AppendBulk(b, a)
			}
			in.Write(b)
		}
	}
	go c.nc.Write(in.Bytes())
	for i := range n {
		for _, want := range []string{"k", value(i), "-Command not supported", "nil", ":" + strconv.Itoa(len(value(i))), fmt.Sprint("x", i)} {
			if got := c.reply(); got != want {
				t.Fatalf("round %d: got %.40q, want %.40q", i, got, want)
			}
		}
	}
}

// The namespace is removed under a session: it is told so at its next command, and cut.
func TestNamespaceRemovedUnderSession(t *testing.T) {
	s, addr := run(t, Options{})
	admin, user := dial(t, addr), dial(t, addr)
	admin.want("+OK", "NSNEW", "x")
	user.want("+OK", "SELECT", "x")
	user.want("k", "SET", "k", "v")
	admin.want("+OK", "NSDEL", "x")
	admin.want("+OK", "NSNEW", "x")
	user.want("-"+zdb.TextNamespaceGone, "PING")
	if got := user.reply(); got != "closed" {
		t.Fatal(got)
	}
	admin.want("+OK", "SELECT", "x")
	admin.want("nil", "GET", "k")
	list, _ := os.ReadDir(s.spaces.dir)
	if len(list) != 2 {
		t.Fatal(list)
	}
}

// More namespaces than stores may be open: all answer.
func TestManyNamespaces(t *testing.T) {
	_, addr := run(t, Options{MaxOpenStores: 2})
	setup := dial(t, addr)
	const n = 6
	for i := range n {
		setup.want("+OK", "NSNEW", fmt.Sprint("ns", i))
	}
	var wg sync.WaitGroup
	for i := range n {
		c := dial(t, addr)
		wg.Go(func() {
			if got := c.do("SELECT", fmt.Sprint("ns", i)); got != "+OK" {
				t.Error(got)
			}
			for j := range 10 {
				k, v := fmt.Sprint("k", j), fmt.Sprint(i, j)
				if got := c.do("SET", k, v); got != k {
					t.Error(got)
				}
				if got := c.do("GET", k); got != v {
					t.Error(got)
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		if got := setup.do("NSINFO", fmt.Sprint("ns", i)); !strings.Contains(got, "entries: 10\n") {
			t.Fatal(got)
		}
	}
}

func TestTooManyClients(t *testing.T) {
	_, addr := run(t, Options{MaxConnections: 2})
	a, b := dial(t, addr), dial(t, addr)
	a.want("+PONG", "PING")
	b.want("+PONG", "PING")
	c := dial(t, addr)
	if got := c.reply(); got != "-"+textTooManyClients {
		t.Fatal(got)
	}
	a.want("+PONG", "PING")
}

// A client that neither reads nor finishes its request stops nobody else.
func TestSlowClients(t *testing.T) {
	_, addr := run(t, Options{MemoryBytes: 1})
	c := dial(t, addr)
	big := strings.Repeat("x", 1<<20)
	c.want("k", "SET", "k", big)
	deaf := dial(t, addr)
	for range 30 {
		deaf.send("GET", "k")
	}
	half := dial(t, addr)
	io.WriteString(half.nc, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nxxx")
	for range 5 {
		if got := c.do("GET", "k"); got != big {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	for range 30 {
		if got := deaf.reply(); got != big {
			t.Fatalf("deaf got %d bytes", len(got))
		}
	}
}

// A client that sends writes without end and reads nothing takes its part of the memory
// only: others read and write large values meanwhile.
func TestDeafWriter(t *testing.T) {
	s, addr := run(t, Options{Sync: SyncNone, MemoryBytes: 128 << 20})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s")) // it holds less than TCP
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, deaf := dial(t, addr), &client{t: t, nc: nc, r: bufio.NewReader(nc)}
	big := strings.Repeat("x", 8<<20-100)
	c.want("k", "SET", "k", big[:1<<20])
	var in bytes.Buffer
	in.Write(resp.AppendBulk(resp.AppendBulk(resp.AppendArray(nil, 2), "GET"), "k"))
	for i := range 40 {
		b := resp.AppendBulk(resp.AppendBulk(resp.AppendArray(nil, 3), "SET"), fmt.Sprint(i))
		in.Write(resp.AppendBulk(b, big[:4<<20]))
	}
	go deaf.nc.Write(in.Bytes()) // as much of it as the server takes
	start := time.Now()
	for i := range 5 {
		c.want(fmt.Sprint("mine", i), "SET", fmt.Sprint("mine", i), big)
		if got := c.do("GET", fmt.Sprint("mine", i)); got != big {
			t.Fatalf("got %d bytes", len(got))
		}
	}
	if d := time.Since(start); d > 20*time.Second { // the deaf one is cut after 30 to 60 s
		t.Fatalf("others waited %v", d)
	}
	if got := deaf.reply(); got != big[:1<<20] {
		t.Fatalf("deaf got %d bytes", len(got))
	}
	for i := range 40 {
		if got := deaf.reply(); got != fmt.Sprint(i) {
			t.Fatalf("deaf: got %.50q, want %d", got, i)
		}
	}
}

// What a client had sent wholly is answered when the server closes.
func TestCloseAnswers(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir})
	c := dial(t, addr)
	c.want("+PONG", "PING")
	for i := range 50 {
		c.send("SET", fmt.Sprint(i), "v")
	}
	if got := c.reply(); got != "0" {
		t.Fatal(got)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	answered := 1
	for ; ; answered++ {
		if got := c.reply(); got == "closed" {
			break
		}
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	for i := range answered {
		c.want("v", "GET", fmt.Sprint(i))
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	run(t, Options{DataDir: dir})
	if _, err := Open(Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), zdb.ErrLocked.Error()) {
		t.Fatal(err)
	}
	if _, err := Open(Options{DataDir: t.TempDir(), Protect: true}); err == nil {
		t.Fatal("protected without a password")
	}
}

// A unix socket serves as TCP does; rot is an error, CHECK tells it, and a new SET heals it.
func TestRotOverUnixSocket(t *testing.T) {
	dir := t.TempDir()
	s, _ := run(t, Options{DataDir: dir})
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &client{t: t, nc: nc, r: bufio.NewReader(nc)}
	c.want("k", "SET", "k", "some value to rot")
	files, _ := filepath.Glob(filepath.Join(dir, "namespaces", "n-default", "store", "*.qzd"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[len(b)-1] ^ 1}, int64(len(b)-1)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c.want("-Internal Error", "GET", "k")
	c.want("[-Internal Error nil]", "MGET", "k", "nope")
	c.want(":0", "CHECK", "k")
	c.want(":17", "LENGTH", "k")
	c.want("k", "SET", "k", "some value to rot")
	c.want("some value to rot", "GET", "k")
}
