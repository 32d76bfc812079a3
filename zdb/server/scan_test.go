package server

import (
	"fmt"
	"strings"
	"testing"
)

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

// KSCAN gives the keys that begin with a prefix, says when they are too many, and its
// reply is bounded.
func TestKeyScan(t *testing.T) {
	_, addr := run(t, Options{Sync: SyncNone})
	c := dial(t, addr)
	c.steps([]step{
		{"-No keys match", args("KSCAN", "a")},
		{"ab", args("SET", "ab", "1")},
		{"aa", args("SET", "aa", "2")},
		{"b", args("SET", "b", "3")},
		{"a", args("SET", "a", "4")},
		{"gone", args("SET", "gone", "5")},
		{"+OK", args("DEL", "gone")},
		{"ab", args("SET", "ab", "6")},
		{"[0 [a aa ab]]", args("KSCAN", "a")},
		{"[0 [ab]]", args("KSCAN", "ab")},
		{"[0 [b]]", args("KSCAN", "b")},
		{"-No keys match", args("KSCAN", "abc")},
		{"-No keys match", args("KSCAN", "go")},
		{"-No keys match", args("KSCAN", "\xff")},
		{"\xff\xff", args("SET", "\xff\xff", "7")},
		{"[0 [\xff\xff]]", args("KSCAN", "\xff")},
		{"-Unexpected arguments", args("KSCAN")},
		{"-Unexpected arguments", args("KSCAN", "a", "b")},
		{"-Invalid argument", args("KSCAN", "")},
	})
	const n = 5000
	long := strings.Repeat("l", 240)
	for i := range n {
		c.send("SET", fmt.Sprintf("%s%06d", long, i), "v")
	}
	for range n {
		c.reply()
	}
	got := c.do("KSCAN", "l")
	keys := strings.Fields(strings.Trim(got[3:], "[]"))
	if got[:3] != "[1 " || len(got) > maxKeysBytes || len(got) < maxKeysBytes*9/10 || keys[0] != long+"000000" {
		t.Fatalf("%.300q: %d bytes", got, len(got))
	}
	if got := c.do("KSCAN", long+"00000"); strings.Count(got, "l"+"00000") != 10 || got[:3] != "[0 " {
		t.Fatal(got)
	}
	c.want("+OK", "NSSET", "default", "freeze", "1")
	c.want("[0 [b]]", "KSCAN", "b") // as upstream, of keys only
}

// SCAN goes on behind the cursor that KEYCUR gives; cursors that were made up are refused.
func TestCursors(t *testing.T) {
	_, addr := run(t, Options{})
	c := dial(t, addr)
	for _, key := range []string{"a", "b", "c"} {
		c.want(key, "SET", key, "v", "1000")
	}
	c.steps([]step{
		{"-Key not found", args("KEYCUR", "nope")},
		{"-Key not found", args("KEYCUR", strings.Repeat("k", 256))},
		{"-Unexpected arguments", args("KEYCUR")},
		{"-Invalid argument", args("KEYCUR", "")},
	})
	b := c.do("KEYCUR", "b")
	if len(b) != 17 {
		t.Fatalf("%q", b)
	}
	for verb, want := range map[string]string{"SCAN": "c", "RSCAN": "a"} {
		c.send(verb, b)
		c.line("*2")
		c.reply()
		if got := c.reply(); got != "[["+want+" :1 :1000]]" {
			t.Fatal(got)
		}
	}
	for i := range len(b) {
		bad := []byte(b)
		bad[i] ^= 1
		c.want("-Invalid key format", "SCAN", string(bad))
		c.want("-Invalid key format", "RSCAN", string(bad))
	}
	c.want("-Invalid key format", "SCAN", strings.Repeat("\x00", 17))
	c.want("-Invalid key format", "SCAN", b+"x")
	c.want("+OK", "DEL", "b") // it stays good
	c.send("SCAN", b)
	c.line("*2")
	c.reply()
	if got := c.reply(); got != "[[c :1 :1000]]" {
		t.Fatal(got)
	}
}
