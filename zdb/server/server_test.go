package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
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

	"github.com/google/go-cmp/cmp"
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

// Each command with each of its replies, over a raw connection.
func TestConformance(t *testing.T) {
	_, addr := run(t, Options{})
	c := dial(t, addr)
	long := strings.Repeat("k", 256)
	key255 := long[:255]
	longName := strings.Repeat("n", 129)
	for _, step := range []struct {
		want string
		args []string
	}{
		{"+PONG", []string{"PING"}},
		{"+PONG", []string{"ping"}},
		{"-Command not supported", []string{"HELLO", "3"}},
		{"-Command not supported", []string{"PIN"}},
		{"-Command not supported", []string{""}},
		{"-Command not supported", []string{"HISTORYX", "k"}},
		{"-This is not a valid command", []string{"*"}},
		{"-Replication is not supported by this server", []string{"MIRROR"}},
		{"-Replication is not supported by this server", []string{"MASTER"}},
		{"-Unauthorized", []string{"STOP"}},

		{"hello", []string{"SET", "hello", "world"}},
		{"nil", []string{"SET", "hello", "world"}},
		{"hello", []string{"SETX", "hello", "world2"}},
		{"world2", []string{"GET", "hello"}},
		{"[world2 nil world2]", []string{"MGET", "hello", "nope", "hello"}},
		{"[nil]", []string{"MGET", ""}},
		{"-Invalid arguments", []string{"MGET"}},
		{"-Invalid key", []string{"MGET", "a", long}},
		{"nil", []string{"GET", "nope"}},
		{"-Unexpected arguments", []string{"GET"}},
		{"-Unexpected arguments", []string{"GET", "a", "b"}},
		{"-Invalid argument", []string{"GET", ""}},
		{"-Invalid key", []string{"GET", long}},
		{"e", []string{"SET", "e", ""}},
		{"", []string{"GET", "e"}},
		{":0", []string{"LENGTH", "e"}},
		{":6", []string{"LENGTH", "hello"}},
		{"nil", []string{"LENGTH", "nope"}},
		{"-Invalid key", []string{"LENGTH", long}},
		{key255, []string{"SET", key255, "x"}},
		{"-Key too large", []string{"SET", long, "x"}},
		{"-Invalid argument, key needed", []string{"SET", "", "v"}},
		{"-Unexpected arguments", []string{"SET", "a"}},
		{"-Unexpected arguments", []string{"SET", "a", "b", "1", "2"}},
		{"ts", []string{"SET", "ts", "v", "1234567890"}},
		{":1234567890", []string{"KEYTIME", "ts"}},
		{"nil", []string{"KEYTIME", "nope"}},
		{"-Invalid argument", []string{"SET", "ts", "v", "soon"}},
		{":1", []string{"EXISTS", "ts"}},
		{":0", []string{"EXISTS", "nope"}},
		{"-Invalid key", []string{"EXISTS", long}},
		{":1", []string{"CHECK", "ts"}},
		{"nil", []string{"CHECK", "nope"}},
		{"-Invalid key", []string{"CHECK", long}},
		{":4", []string{"DBSIZE"}},
		{"+OK", []string{"DEL", "ts"}},
		{"-Key not found", []string{"DEL", "ts"}},
		{"+OK", []string{"DEL", key255, "77"}},
		{"-Invalid argument", []string{"DEL", ""}},
		{"-Invalid key", []string{"DEL", long}},
		{"-Unexpected arguments", []string{"DEL"}},
		{":2", []string{"DBSIZE"}},
		{"-Invalid key format", []string{"SCAN", "short"}},
		{"-Invalid key format", []string{"SCANX", "12345678901234567"}},
		{"-Invalid key format", []string{"SCAN", ""}},

		{"+OK", []string{"NSNEW", "ns"}},
		{"-This namespace is not available", []string{"NSNEW", "ns"}},
		{"-This name is not allowed", []string{"NSNEW", "default"}},
		{"-This name is not allowed", []string{"NSNEW", "."}},
		{"-This name is not allowed", []string{"NSNEW", ".."}},
		{"-This name is not allowed", []string{"NSNEW", "a/b"}},
		{"-Namespace too long", []string{"NSNEW", longName}},
		{"-Invalid argument", []string{"NSNEW", ""}},
		{"-Unexpected arguments", []string{"NSNEW"}},
		{"+OK", []string{"NSNEW", "w \xff:ü"}},
		{"[default ns w \xff:ü]", []string{"NSLIST"}},
		{"-Namespace not found", []string{"SELECT", "nope"}},
		{"-Namespace too long", []string{"SELECT", longName}},
		{"-Invalid argument", []string{"SELECT"}},
		{"+OK", []string{"SELECT", "ns"}},
		{"-No more data", []string{"SCAN"}},
		{"-No more data", []string{"RSCAN"}},
		{":0", []string{"DBSIZE"}},
		{"-Cannot remove namespace you're currently using.", []string{"NSDEL", "ns"}},
		{"-Cannot remove default namespace", []string{"NSDEL", "default"}},
		{"-This namespace doesn't exists", []string{"NSDEL", "nope"}},
		{"-Namespace too long", []string{"NSDEL", longName}},
		{"+OK", []string{"NSDEL", "w \xff:ü"}},
		{"[default ns]", []string{"NSLIST"}},

		{"+OK", []string{"NSSET", "ns", "mode", "user"}},
		{"-Invalid property value (expected: user, seq)", []string{"NSSET", "ns", "mode", "both"}},
		{"+OK", []string{"NSSET", "ns", "maxsize", "10"}},
		{"a", []string{"SET", "a", "12345"}},
		{"-Cannot change mode of used namespace", []string{"NSSET", "ns", "mode", "user"}},
		{"b", []string{"SET", "b", "12345"}},
		{"-No space left on this namespace", []string{"SET", "c", "1"}},
		{"a", []string{"SET", "a", "54321"}},
		{"-Invalid argument", []string{"NSSET", "ns", "maxsize", "lots"}},
		{"-Invalid argument", []string{"NSSET", "ns", "maxsize", "-1"}},
		{"+OK", []string{"NSSET", "ns", "maxsize", "0"}},
		{"+OK", []string{"NSSET", "ns", "worm", "1"}},
		{"-Namespace is protected by worm mode", []string{"SET", "a", "x"}},
		{"-Namespace is protected by worm mode", []string{"SET", "a", "54321"}},
		{"-Cannot delete a key when namespace is in worm mode", []string{"DEL", "a"}},
		{"-Key not found", []string{"DEL", "nope"}},
		{"d", []string{"SET", "d", "new"}},
		{"-Invalid argument", []string{"NSSET", "ns", "worm", "yes"}},
		{"+OK", []string{"NSSET", "ns", "worm", "0"}},
		{"+OK", []string{"NSSET", "ns", "lock", "1"}},
		{"-Namespace is temporarily locked (read-only)", []string{"SET", "a", "x"}},
		{"-Namespace is temporarily locked (read-only)", []string{"DEL", "a"}},
		{"54321", []string{"GET", "a"}},
		{"+OK", []string{"NSSET", "ns", "freeze", "1"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"SET", "a", "x"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"DEL", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"GET", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"MGET", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"EXISTS", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"CHECK", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"LENGTH", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"KEYTIME", "a"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"SCAN"}},
		{"-Namespace is temporarily frozen (read-write disabled)", []string{"RSCAN"}},
		{":3", []string{"DBSIZE"}},
		{"+OK", []string{"NSSET", "ns", "lock", "0"}},
		{"54321", []string{"GET", "a"}},
		{"-Invalid property", []string{"NSSET", "ns", "colour", "1"}},
		{"-Namespace not found", []string{"NSSET", "nope", "lock", "1"}},
		{"-Cannot update default namespace", []string{"NSSET", "default", "maxsize", "1"}},
		{"-Cannot update default namespace", []string{"NSSET", "default", "password", "x"}},
		{"-Cannot update default namespace", []string{"NSSET", "default", "colour", "x"}},
		{"+OK", []string{"NSSET", "default", "lock", "1"}},
		{"+OK", []string{"NSSET", "default", "lock", "0"}},
		{"-Argument too long", []string{"NSSET", "ns", "password", strings.Repeat("p", 64)}},
		{"-Argument too long", []string{"NSSET", "ns", strings.Repeat("p", 300), "1"}},
		{"-Namespace too long", []string{"NSSET", longName, "lock", "1"}},
		{"-Unexpected arguments", []string{"NSSET", "ns", "lock"}},
		{"-Invalid argument", []string{"NSSET", "ns", "lock", ""}},
		{"-Invalid argument", []string{"NSSET", "ns", "lock", "maybe"}},
		{"-Namespace not found", []string{"NSINFO", "nope"}},
		{"-Namespace too long", []string{"NSINFO", longName}},
		{"-Unexpected arguments", []string{"NSINFO"}},

		{"-Authentication disabled", []string{"AUTH", "x"}},
		{"-Authentication disabled", []string{"AUTH", "SECURE", strings.Repeat("0", 40)}},
		{"-Unexpected arguments", []string{"AUTH"}},
		{"-Unexpected arguments", []string{"AUTH", "a", "b", "c"}},
		{"-Only SECURE extra method supported", []string{"AUTH", "PLAIN", "x"}},
	} {
		c.want(step.want, step.args...)
	}
	if got := c.do("TIME"); !strings.HasPrefix(got, "["+strconv.FormatInt(time.Now().Unix(), 10)[:6]) {
		t.Fatal(got)
	}
	if got := c.do("AUTH", "SECURE", "CHALLENGE"); len(got) != 17 || got[0] != '+' {
		t.Fatal(got)
	}
}

func hash(challenge, password string) string {
	sum := sha1.Sum([]byte(strings.TrimPrefix(challenge, "+") + ":" + password))
	return hex.EncodeToString(sum[:])
}

// Who may do what, with an admin password, protected mode and namespace passwords.
func TestAccess(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir, AdminPassword: "root", Protect: true})
	c := dial(t, addr)
	for _, args := range [][]string{{"NSNEW", "x"}, {"NSDEL", "x"}, {"NSSET", "x", "lock", "1"}, {"SET", "a", "b", "1"}, {"DEL", "a", "1"}} {
		c.want("-Permission denied", args...)
	}
	c.want("-Namespace is in read-only mode", "SET", "a", "1")
	c.want("-Namespace is in read-only mode", "DEL", "a")
	c.want("nil", "GET", "a")
	c.want("-Access denied", "AUTH", "wrong")
	c.want("-Invalid argument", "AUTH", "")
	c.want("-Password too long", "AUTH", strings.Repeat("p", 129))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash("", "root"))
	ch := c.do("AUTH", "SECURE", "CHALLENGE")
	c.want("-Invalid hash length", "AUTH", "SECURE", "abc")
	c.want("-Access denied", "AUTH", "SECURE", hash(ch, "wrong"))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash(ch, "root"))
	ch = c.do("AUTH", "SECURE", "CHALLENGE")
	c.want("+OK", "AUTH", "secure", hash(ch, "root"))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash(ch, "root"))
	c.want("+OK", "NSNEW", "x")
	c.want("-Namespace is in read-only mode", "SET", "a", "1")
	c.want("-Access denied", "SELECT", "default", "wrong")
	c.want("+OK", "SELECT", "default", "root")
	c.want("a", "SET", "a", "1")
	c.want("+OK", "NSSET", "x", "password", "secret")

	// With a password, a namespace that stays public is read without it.
	u := dial(t, addr)
	u.want("+OK", "SELECT", "x")
	u.want("-Namespace is in read-only mode", "SET", "k", "w")
	c.want("+OK", "NSSET", "x", "public", "0")
	u.want("nil", "GET", "k") // who is in stays in
	u.want("-Namespace protected and private", "SELECT", "x")
	u.want("-Access denied", "SELECT", "x", "wrong")
	u.want("-Access denied", "SELECT", "x", "")
	u.want("-Password too long", "SELECT", "x", strings.Repeat("p", 300))
	u.want("-Too many arguments", "SELECT", "x", "SECURE", "a", "b")
	u.want("-Only SECURE extra method supported", "SELECT", "x", "PLAIN", "secret")
	u.want("-No CHALLENGE requested, secure authentication not available", "SELECT", "x", "SECURE", hash("", "secret"))
	ch = u.do("AUTH", "SECURE", "CHALLENGE")
	u.want("-Invalid hash length", "SELECT", "x", "SECURE", "abc")
	u.want("-Access denied", "SELECT", "x", "SECURE", hash(ch, "wrong"))
	u.want("+OK", "SELECT", "x", "SECURE", hash(ch, "secret"))
	u.want("+OK", "SELECT", "x", "SECURE", hash(ch, "secret"))
	u.want("k", "SET", "k", "v")
	c.want("+OK", "NSSET", "x", "public", "1")
	u.want("+OK", "SELECT", "x")
	u.want("v", "GET", "k")
	u.want("-Namespace is in read-only mode", "SET", "k", "w")
	u.want("+OK", "SELECT", "x", "secret")
	u.want("k", "SET", "k", "w")
	c.want("+OK", "NSSET", "x", "password", "*")
	u.want("+OK", "SELECT", "x", "whatever")
	c.want("+OK", "NSSET", "x", "password", "secret")
	c.want("+OK", "NSSET", "x", "maxsize", "12345")
	c.want("+OK", "NSSET", "x", "freeze", "1")

	// The settings outlive the server; the file is its owner's only.
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "namespaces", "n-x", "descriptor"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("1", "GET", "a")
	c.want("b", "SET", "b", "1")
	c.want("-Access denied", "SELECT", "x", "wrong")
	c.want("+OK", "SELECT", "x", "secret")
	c.want("-Namespace is temporarily frozen (read-write disabled)", "GET", "k")
	c.want("+OK", "NSSET", "x", "freeze", "0")
	c.want("w", "GET", "k")
	if got := c.do("NSINFO", "x"); !strings.Contains(got, "data_limits_bytes: 12345\n") || !strings.Contains(got, "public: yes\n") {
		t.Fatal(got)
	}
}

// fields gives the names of an INFO text in order.
func fields(text string) (names []string) {
	for l := range strings.Lines(text) {
		if name, _, ok := strings.Cut(l, ": "); ok {
			names = append(names, name)
		}
	}
	return names
}

// INFO and NSINFO have all the lines that clients parse.
func TestInfo(t *testing.T) {
	_, addr := run(t, Options{AdminPassword: "root", Version: "v1"})
	c := dial(t, addr)
	c.want("k", "SET", "k", "value")
	base := []string{"name", "entries", "public", "worm", "locked", "password", "data_size_bytes", "data_size_mb", "data_limits_bytes",
		"index_size_bytes", "index_size_kb", "next_internal_id", "mode", "stats_index_io_errors", "stats_index_io_error_last", "stats_index_faults",
		"stats_data_io_errors", "stats_data_io_error_last", "stats_data_faults", "index_disk_freespace_bytes", "index_disk_freespace_mb",
		"data_disk_freespace_bytes", "data_disk_freespace_mb"}
	text := c.do("NSINFO", "default")
	if diff := cmp.Diff(fields(text), base); diff != "" {
		t.Fatal(diff)
	}
	for _, line := range []string{"# namespace", "name: default", "entries: 1", "public: yes", "password: no", "data_size_bytes: 5", "mode: userkey", "next_internal_id: 0x100000000000000"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in %s", line, text)
		}
	}
	c.want("+OK", "AUTH", "root")
	admin := append(base, "data_path", "data_active", "index_path", "index_active", "data_current_id", "data_current_offset")
	if diff := cmp.Diff(fields(c.do("NSINFO", "default")), admin); diff != "" {
		t.Fatal(diff)
	}
	c.want("+OK", "NSNEW", "limited")
	c.want("+OK", "NSSET", "limited", "maxsize", "100")
	if text := c.do("NSINFO", "limited"); !strings.Contains(text, "space_available: 100\n") {
		t.Fatal(text)
	}
	c.do("NOPE")
	text = c.do("INFO")
	for _, want := range []string{"# server\nserver_name: 0-db (zdb)\nserver_revision: v1\n", "\n# clients\nclients_lifetime: 1\n",
		"sequential_key_size: 8\n", "data_version: 3\n", "index_version: 4\n", "commands_failed: 1\n", "network_rx_bytes: ", "data_disk_write_mb: 0.00\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
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

// A scan in pages gives each key once, in both directions.
func TestScanPages(t *testing.T) {
	_, addr := run(t, Options{Sync: SyncNone})
	c := dial(t, addr)
	const n = 2*maxPageEntries + 10
	for i := range n {
		c.send("SET", fmt.Sprintf("key%05d", i), "v", "1000")
	}
	for range n {
		c.reply()
	}
	for _, verb := range []string{"SCAN", "RSCAN"} {
		var keys []string
		pages := 0
		for args := []string{verb}; ; pages++ {
			c.send(args...)
			line, _ := c.r.ReadString('\n')
			if line == "-No more data\r\n" {
				break
			}
			if line != "*2\r\n" {
				t.Fatal(line)
			}
			args = []string{verb, c.reply()}
			page := strings.Fields(strings.Trim(c.reply(), "[]"))
			for i := 0; i+2 < len(page); i += 3 {
				keys = append(keys, strings.Trim(page[i], "[]"))
				if page[i+1] != ":1" || strings.Trim(page[i+2], "[]") != ":1000" {
					t.Fatal(page[i : i+3])
				}
			}
		}
		if len(keys) != n || pages != 3 {
			t.Fatalf("%s: %d keys in %d pages", verb, len(keys), pages)
		}
		first := map[string]string{"SCAN": "key00000", "RSCAN": fmt.Sprintf("key%05d", n-1)}[verb]
		if keys[0] != first {
			t.Fatalf("%s begins with %s", verb, keys[0])
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
