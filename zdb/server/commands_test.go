package server

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Each command of a namespace in user-key mode with each of its replies.
func TestCommands(t *testing.T) {
	_, addr := run(t, Options{})
	c := dial(t, addr)
	long := strings.Repeat("k", 256)
	key255 := long[:255]
	longName := strings.Repeat("n", 129)
	c.steps([]step{
		{"+PONG", args("PING")},
		{"+PONG", args("ping")},
		{"-Command not supported", args("HELLO", "3")},
		{"-Command not supported", args("PIN")},
		{"-Command not supported", args("")},
		{"-Command not supported", args("HISTORYX", "k")},
		{"-This is not a valid command", args("*")},
		{"-Replication is not supported by this server", args("MIRROR")},
		{"-Replication is not supported by this server", args("MASTER")},
		{"-Unauthorized", args("STOP")},

		{"hello", args("SET", "hello", "world")},
		{"nil", args("SET", "hello", "world")},
		{"hello", args("SETX", "hello", "world2")},
		{"world2", args("GET", "hello")},
		{"[world2 nil world2]", args("MGET", "hello", "nope", "hello")},
		{"[nil]", args("MGET", "")},
		{"-Invalid arguments", args("MGET")},
		{"-Invalid key", args("MGET", "a", long)},
		{"nil", args("GET", "nope")},
		{"-Unexpected arguments", args("GET")},
		{"-Unexpected arguments", args("GET", "a", "b")},
		{"-Invalid argument", args("GET", "")},
		{"-Invalid key", args("GET", long)},
		{"e", args("SET", "e", "")},
		{"", args("GET", "e")},
		{":0", args("LENGTH", "e")},
		{":6", args("LENGTH", "hello")},
		{"nil", args("LENGTH", "nope")},
		{"-Invalid key", args("LENGTH", long)},
		{key255, args("SET", key255, "x")},
		{"-Key too large", args("SET", long, "x")},
		{"-Invalid argument, key needed", args("SET", "", "v")},
		{"-Unexpected arguments", args("SET", "a")},
		{"-Unexpected arguments", args("SET", "a", "b", "1", "2")},
		{"ts", args("SET", "ts", "v", "1234567890")},
		{":1234567890", args("KEYTIME", "ts")},
		{"nil", args("KEYTIME", "nope")},
		{"-Invalid argument", args("SET", "ts", "v", "soon")},
		{":1", args("EXISTS", "ts")},
		{":0", args("EXISTS", "nope")},
		{"-Invalid key", args("EXISTS", long)},
		{":1", args("CHECK", "ts")},
		{"nil", args("CHECK", "nope")},
		{"-Invalid key", args("CHECK", long)},
		{":4", args("DBSIZE")},
		{"+OK", args("DEL", "ts")},
		{"-Key not found", args("DEL", "ts")},
		{"+OK", args("DEL", key255, "77")},
		{"-Invalid argument", args("DEL", "")},
		{"-Invalid key", args("DEL", long)},
		{"-Unexpected arguments", args("DEL")},
		{":2", args("DBSIZE")},
		{"-Invalid key format", args("SCAN", "short")},
		{"-Invalid key format", args("SCANX", "12345678901234567")},
		{"-Invalid key format", args("SCAN", "")},

		{"+OK", args("NSNEW", "ns")},
		{"-This namespace is not available", args("NSNEW", "ns")},
		{"-This name is not allowed", args("NSNEW", "default")},
		{"-This name is not allowed", args("NSNEW", ".")},
		{"-This name is not allowed", args("NSNEW", "..")},
		{"-This name is not allowed", args("NSNEW", "a/b")},
		{"-Namespace too long", args("NSNEW", longName)},
		{"-Invalid argument", args("NSNEW", "")},
		{"-Unexpected arguments", args("NSNEW")},
		{"+OK", args("NSNEW", "w \xff:ü")},
		{"[default ns w \xff:ü]", args("NSLIST")},
		{"-Namespace not found", args("SELECT", "nope")},
		{"-Namespace too long", args("SELECT", longName)},
		{"-Invalid argument", args("SELECT")},
		{"+OK", args("SELECT", "ns")},
		{"-No more data", args("SCAN")},
		{"-No more data", args("RSCAN")},
		{":0", args("DBSIZE")},
		{"-Cannot remove namespace you're currently using.", args("NSDEL", "ns")},
		{"-Cannot remove default namespace", args("NSDEL", "default")},
		{"-This namespace doesn't exists", args("NSDEL", "nope")},
		{"-Namespace too long", args("NSDEL", longName)},
		{"+OK", args("NSDEL", "w \xff:ü")},
		{"[default ns]", args("NSLIST")},

		{"+OK", args("NSSET", "ns", "mode", "user")},
		{"-Invalid property value (expected: user, seq)", args("NSSET", "ns", "mode", "both")},
		{"+OK", args("NSSET", "ns", "maxsize", "10")},
		{"a", args("SET", "a", "12345")},
		{"-Cannot change mode of used namespace", args("NSSET", "ns", "mode", "user")},
		{"b", args("SET", "b", "12345")},
		{"-No space left on this namespace", args("SET", "c", "1")},
		{"a", args("SET", "a", "54321")},
		{"-Invalid argument", args("NSSET", "ns", "maxsize", "lots")},
		{"-Invalid argument", args("NSSET", "ns", "maxsize", "-1")},
		{"+OK", args("NSSET", "ns", "maxsize", "0")},
		{"+OK", args("NSSET", "ns", "worm", "1")},
		{"-Namespace is protected by worm mode", args("SET", "a", "x")},
		{"-Namespace is protected by worm mode", args("SET", "a", "54321")},
		{"-Cannot delete a key when namespace is in worm mode", args("DEL", "a")},
		{"-Key not found", args("DEL", "nope")},
		{"d", args("SET", "d", "new")},
		{"-Invalid argument", args("NSSET", "ns", "worm", "yes")},
		{"+OK", args("NSSET", "ns", "worm", "0")},
		{"+OK", args("NSSET", "ns", "lock", "1")},
		{"-Namespace is temporarily locked (read-only)", args("SET", "a", "x")},
		{"-Namespace is temporarily locked (read-only)", args("DEL", "a")},
		{"54321", args("GET", "a")},
		{"+OK", args("NSSET", "ns", "freeze", "1")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("SET", "a", "x")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("DEL", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("GET", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("MGET", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("EXISTS", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("CHECK", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("LENGTH", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("KEYTIME", "a")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("SCAN")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("RSCAN")},
		{":3", args("DBSIZE")},
		{"+OK", args("NSSET", "ns", "lock", "0")},
		{"54321", args("GET", "a")},
		{"-Invalid property", args("NSSET", "ns", "colour", "1")},
		{"-Namespace not found", args("NSSET", "nope", "lock", "1")},
		{"-Cannot update default namespace", args("NSSET", "default", "maxsize", "1")},
		{"-Cannot update default namespace", args("NSSET", "default", "password", "x")},
		{"-Cannot update default namespace", args("NSSET", "default", "colour", "x")},
		{"+OK", args("NSSET", "default", "lock", "1")},
		{"+OK", args("NSSET", "default", "lock", "0")},
		{"-Argument too long", args("NSSET", "ns", "password", strings.Repeat("p", 64))},
		{"-Argument too long", args("NSSET", "ns", strings.Repeat("p", 300), "1")},
		{"-Namespace too long", args("NSSET", longName, "lock", "1")},
		{"-Unexpected arguments", args("NSSET", "ns", "lock")},
		{"-Invalid argument", args("NSSET", "ns", "lock", "")},
		{"-Invalid argument", args("NSSET", "ns", "lock", "maybe")},
		{"-Namespace not found", args("NSINFO", "nope")},
		{"-Namespace too long", args("NSINFO", longName)},
		{"-Unexpected arguments", args("NSINFO")},

		{"-Authentication disabled", args("AUTH", "x")},
		{"-Authentication disabled", args("AUTH", "SECURE", strings.Repeat("0", 40))},
		{"-Unexpected arguments", args("AUTH")},
		{"-Unexpected arguments", args("AUTH", "a", "b", "c")},
		{"-Only SECURE extra method supported", args("AUTH", "PLAIN", "x")},
	})
	if got := c.do("TIME"); !strings.HasPrefix(got, "["+strconv.FormatInt(time.Now().Unix(), 10)[:6]) {
		t.Fatal(got)
	}
	if got := c.do("AUTH", "SECURE", "CHALLENGE"); len(got) != 17 || got[0] != '+' {
		t.Fatal(got)
	}
}

// id is the key that a sequential namespace gives.
func id(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

// Each command whose replies differ in sequential mode, and those that do not: pinned by
// the server, and set for one namespace of a mixed one.
func TestCommandsInSequentialMode(t *testing.T) {
	for _, mode := range []Mode{ModeSequential, ModeMixed} {
		_, addr := run(t, Options{Mode: mode})
		c := dial(t, addr)
		if mode == ModeMixed {
			c.want("+OK", "NSSET", "default", "mode", "seq")
		}
		c.steps([]step{
			{id(0), args("SET", "", "zero")},
			{id(1), args("SET", "", "one", "1234567890")},
			{id(0), args("SET", id(0), "zero!")},
			{"nil", args("SET", id(0), "zero!")},
			{id(3), args("SETX", "", "three")}, // an update takes an id too
			{"zero!", args("GET", id(0))},
			{"nil", args("GET", id(2))},
			{"nil", args("GET", "word")},
			{"nil", args("GET", id(0)[:4])},
			{"-Invalid argument", args("GET", "")},
			{"-Invalid key", args("GET", strings.Repeat("k", 256))},
			{"[zero! nil one]", args("MGET", id(0), id(99), id(1))},
			{"-Invalid key, only update authorized", args("SET", id(2), "v")},
			{"-Invalid key, only update authorized", args("SET", id(99), "v")},
			{"-Invalid key, only update authorized", args("SET", "word", "v")},
			{"-Invalid key, only update authorized", args("SET", id(0)[:4], "v")},
			{"-Key too large", args("SET", strings.Repeat("k", 256), "v")},
			{":1234567890", args("KEYTIME", id(1))},
			{":5", args("LENGTH", id(0))},
			{"nil", args("LENGTH", "word")},
			{":1", args("EXISTS", id(3))},
			{":0", args("EXISTS", id(4))},
			{":1", args("CHECK", id(0))},
			{"nil", args("CHECK", "word")},
			{":3", args("DBSIZE")},
			{"+OK", args("DEL", id(1))},
			{"-Key not found", args("DEL", id(1))},
			{"-Key not found", args("DEL", "word")},
			{"-Invalid argument", args("DEL", "")},
			{"-Invalid key, only update authorized", args("SET", id(1), "v")}, // gone is gone
			{"-Index running mode doesn't support this feature", args("KSCAN", "w")},
			{"-Index running mode doesn't support this feature", args("KSCAN")},
			{"-Key not found", args("KEYCUR", "word")},
			{"-Key not found", args("HISTORY", "word")},
		})
		if mode == ModeMixed {
			c.want("-Cannot change mode of used namespace", "NSSET", "default", "mode", "user")
		} else {
			c.want("-This server instance is configured to use a single runtime mode", "NSSET", "default", "mode", "user")
			c.want("+OK", "NSNEW", "n") // it is sequential too
			c.want("+OK", "SELECT", "n")
			c.want(id(0), "SET", "", "v")
			c.want("+OK", "SELECT", "default")
		}
		info := c.do("NSINFO", "default")
		for _, line := range []string{"mode: sequential\n", "next_internal_id: 0x400000000000000\n", "entries: 2\n"} {
			if !strings.Contains(info, line) {
				t.Errorf("no %q in %s", line, info)
			}
		}
		// An overwrite keeps its place in the order.
		for verb, want := range map[string]string{"SCAN": id(0) + " " + id(3), "RSCAN": id(3) + " " + id(0)} {
			c.send(verb)
			c.line("*2")
			cursor := c.reply()
			if got := keysOf(c.reply()); got != want {
				t.Errorf("%s: got %q, want %q", verb, got, want)
			}
			c.want("-No more data", verb, cursor)
		}
		c.send("SCAN", c.do("KEYCUR", id(0)))
		c.line("*2")
		c.reply()
		if got := keysOf(c.reply()); got != id(3) {
			t.Errorf("behind the first key: %q", got)
		}
	}
}

// keysOf gives the keys of a page of SCAN as client.reply shows it.
func keysOf(page string) string {
	var keys []string
	for _, item := range strings.Split(strings.Trim(page, "[]"), "] [") {
		key, _, _ := strings.Cut(item, " :")
		keys = append(keys, key)
	}
	return strings.Join(keys, " ")
}

// HISTORY goes back from version to version, and refuses cursors that it did not give.
func TestHistory(t *testing.T) {
	for name, key := range map[string]string{"user": "key", "sequential": ""} {
		t.Run(name, func(t *testing.T) {
			_, addr := run(t, Options{})
			c := dial(t, addr)
			other := "other"
			if key == "" {
				c.want("+OK", "NSSET", "default", "mode", "seq")
				other = ""
			}
			other = c.do("SET", other, "of another key")
			key := c.do("SET", key, "first", "1000")
			c.want(key, "SET", key, "", "2000")
			c.want(key, "SET", key, "third", "3000")
			var at []string
			for _, want := range []string{"3000 third", "2000 ", "1000 first"} {
				c.send(append(args("HISTORY", key), at...)...)
				c.line("*3")
				next := c.reply()
				if got := c.reply() + " " + c.reply(); got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
				if next == "nil" != (want == "1000 first") || (next != "nil" && len(next) != 8) {
					t.Fatalf("at %q: cursor %q", want, next)
				}
				if next != "nil" {
					at = args(next)
				}
			}
			c.steps([]step{
				{"-Invalid arguments", args("HISTORY")},
				{"-Invalid arguments", args("HISTORY", key, at[0], "x")},
				{"-Invalid arguments", args("HISTORY", key, "short")},
				{"-Invalid arguments", args("HISTORY", key, "")},
				{"-Key not found", args("HISTORY", "nope")},
				{"-Key not found", args("HISTORY", "")},
				{"-Key not found", args("HISTORY", strings.Repeat("k", 256))},
				{"-No more history", args("HISTORY", key, strings.Repeat("\x00", 8))},
				{"-Invalid arguments (index query)", args("HISTORY", key, at[0][:4]+"\xff\xff\xff\x7f")},
				{"-Invalid arguments (index query)", args("HISTORY", key, "\x09"+at[0][1:])},
				{"-Invalid arguments (index query)", args("HISTORY", key, at[0][:4]+string([]byte{at[0][4] + 1})+at[0][5:])},
				{"-Invalid arguments (invalid key)", args("HISTORY", other, at[0])},
				{"+OK", args("DEL", key)},
				{"-Key not found", args("HISTORY", key)},
			})
			if name == "user" { // set again, its history goes on
				c.want(key, "SET", key, "again")
				c.send("HISTORY", key)
				c.line("*3")
				older := c.reply()
				c.reply()
				if got := c.reply(); got != "again" {
					t.Fatal(got)
				}
				c.send("HISTORY", key, older)
				c.line("*3")
				c.reply()
				if got := c.reply() + " " + c.reply(); got != "3000 third" {
					t.Fatal(got)
				}
			}
			c.steps([]step{
				{"+OK", args("NSSET", "default", "freeze", "1")},
				{"-Namespace is temporarily frozen (read-write disabled)", args("HISTORY", key)},
				{"-Namespace is temporarily frozen (read-write disabled)", args("KEYCUR", key)},
			})
		})
	}
}

// INDEX DIRTY, NSJUMP and DATA RAW count files and offsets as the C server does.
func TestFiles(t *testing.T) {
	_, addr := run(t, Options{MaxOpenStores: 1})
	c := dial(t, addr)
	c.steps([]step{
		{"[]", args("INDEX", "DIRTY")},
		{"rawk", args("SET", "rawk", "rawv", "1795460278")},
		{"[rawk :0 0x3bed9e44 :0 :1795460278 rawv]", args("DATA", "RAW", "0", "28")},
		{"[:0]", args("INDEX", "DIRTY")},
		{"+OK", args("NSJUMP")},
		{"e", args("SET", "e", "", "7")},
		{"[e :0 0x00000000 :0 :7 ]", args("data", "raw", "1", "28")},
		{"[:0 :1]", args("index", "dirty")},
		{"+OK", args("NSNEW", "n")},
		{"+OK", args("SELECT", "n")}, // which closes the other store
		{"[]", args("INDEX", "DIRTY")},
		{"k", args("SET", "k", "v")},
		{"+OK", args("SELECT", "default")},
		{"[:0 :1]", args("INDEX", "DIRTY")},
		{"+OK", args("INDEX", "DIRTY", "RESET")},
		{"[]", args("INDEX", "DIRTY")},
		{"+OK", args("DEL", "e", "8")},
		{"[:1]", args("INDEX", "DIRTY")},
		{"[:1]", args("INDEX", "DIRTY", "RESET", "X")}, // as upstream
		{"-EOF", args("DATA", "RAW", "1", "5000")},
		{"-Invalid Request", args("DATA", "RAW", "9", "28")},
		{"-Invalid Request", args("DATA", "RAW", "x", "28")},
		{"-Invalid Request", args("DATA", "RAW", "0", "y")},
		{"-Invalid Request", args("DATA", "RAW", "0", "0")},
		{"-Invalid Request", args("DATA", "RAW", "-1", "28")},
		{"-Invalid Request", args("DATA", "RAW", "4294967295", "28")},
		{"-Unexpected Internal Error", args("DATA", "RAW", "0", "29")},
		{"-Missing arguments", args("DATA", "RAW", "0")},
		{"-Invalid argument", args("DATA", "RAW", "", "28")},
		{"-Unknown DATA subcommand", args("DATA", "COOKED")},
		{"-Missing arguments", args("DATA")},
		{"-Argument too long", args("DATA", strings.Repeat("x", 257))},
		{"-Missing arguments", args("INDEX")},
		{"-Invalid argument", args("INDEX", "")},
		{"-Unknown INDEX subcommand", args("INDEX", "CLEAN")},
		{"-Unknown INDEX DIRTY subcommand", args("INDEX", "DIRTY", "CLEAN")},
		{"-Argument too long", args("INDEX", strings.Repeat("x", 257))},
		{"-Argument too long", args("INDEX", "DIRTY", strings.Repeat("x", 257))},
	})
	// The offset of the next record, from the one of a delete marker behind an empty value.
	next := strconv.Itoa(28 + 40 + len("e") + 0)
	c.want("[e :28 0x00000000 :1 :8 nil]", "DATA", "RAW", "1", next)
	if got := c.do("NSINFO", "default"); !strings.Contains(got, "data_current_id: 1\n") {
		t.Fatal(got)
	}
}

// FLUSH needs the password of a private namespace; it empties and frees, others in the
// namespace go on, and ids begin anew.
func TestFlush(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir})
	c, other := dial(t, addr), dial(t, addr)
	c.steps([]step{
		{"-Flushing public namespace denied", args("FLUSH")},
		{"+OK", args("NSNEW", "x")},
		{"+OK", args("SELECT", "x")},
		{"-Flushing public namespace denied", args("FLUSH")},
		{"+OK", args("NSSET", "x", "mode", "seq")},
		{"+OK", args("NSSET", "x", "password", "secret")},
		{"+OK", args("SELECT", "x", "secret")},
		{"-Flushing public namespace denied", args("FLUSH")}, // it still is public
		{"+OK", args("SELECT", "x")},
		{"-Flushing public namespace denied", args("FLUSH")},
		{"+OK", args("NSSET", "x", "public", "0")},
		{"-Flushing public namespace denied", args("FLUSH")}, // a session without the password
		{"+OK", args("SELECT", "x", "secret")},
		{id(0), args("SET", "", strings.Repeat("v", 1<<20))},
		{id(1), args("SET", "", "old")},
	})
	other.want("+OK", "SELECT", "x", "secret")
	other.want("old", "GET", id(1))
	files := filepath.Join(dir, "namespaces", "n-x", "store", "*.qzd")
	before := sizeOf(t, files)
	c.steps([]step{
		{"+OK", args("NSSET", "x", "worm", "1")},
		{"-Cannot delete a key when namespace is in worm mode", args("FLUSH")},
		{"+OK", args("NSSET", "x", "worm", "0")},
		{"+OK", args("NSSET", "x", "lock", "1")},
		{"-Namespace is temporarily locked (read-only)", args("FLUSH")},
		{"+OK", args("NSSET", "x", "freeze", "1")},
		{"-Namespace is temporarily frozen (read-write disabled)", args("FLUSH")},
		{"+OK", args("NSSET", "x", "freeze", "0")},
		{":2", args("DBSIZE")},
		{"+OK", args("FLUSH")},
		{":0", args("DBSIZE")},
	})
	if after := sizeOf(t, files); before < 1<<20 || after > 4096 {
		t.Fatalf("data files take %d bytes, before %d", after, before)
	}
	other.want("nil", "GET", id(1))
	other.want("-No more data", "SCAN")
	other.want(id(0), "SET", "", "new")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("+OK", "SELECT", "x", "secret")
	c.want("new", "GET", id(0))
	c.want(":1", "DBSIZE")
}

func sizeOf(t *testing.T, pattern string) (total int64) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	return total
}

// RELOAD closes and opens the store under sessions that go on, whatever they are at: a
// client that does not read its replies delays it no more than others.
func TestReload(t *testing.T) {
	_, addr := run(t, Options{MemoryBytes: 1})
	c, deaf := dial(t, addr), dial(t, addr)
	c.steps([]step{
		{"-Unexpected arguments", args("RELOAD")},
		{"-Invalid argument", args("RELOAD", "")},
		{"-Namespace not found", args("RELOAD", "nope")},
		{"-Namespace too long", args("RELOAD", strings.Repeat("n", 129))},
		{"k", args("SET", "k", strings.Repeat("v", 1<<20))},
	})
	for range 30 {
		deaf.send("GET", "k")
		deaf.send("SET", "k2", "v")
	}
	var wg sync.WaitGroup
	for i := range 4 {
		other := dial(t, addr)
		wg.Go(func() {
			for j := range 50 {
				key := fmt.Sprint(i, ",", j)
				if got := other.do("SET", key, key); got != key {
					t.Errorf("SET: %q", got)
				}
				if got := other.do("GET", key); got != key {
					t.Errorf("GET: %q", got)
				}
			}
		})
	}
	for range 10 {
		c.want("+OK", "RELOAD", "default")
	}
	wg.Wait()
	c.want(":202", "DBSIZE")
}
