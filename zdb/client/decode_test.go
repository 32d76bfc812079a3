package client

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/zdb"
)

// reply is the one in a golden file.
func reply(t testing.TB, name string) any {
	t.Helper()
	replies, err := receive(bytes.NewReader(golden(t, name)))
	if err != io.EOF || len(replies) != 1 {
		t.Fatalf("%s: %d replies, %v", name, len(replies), err)
	}
	return replies[0]
}

// Replies of a 0-db 2.0.7, and of ours where its release build has none, are understood.
func TestDecodeGolden(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	alpha := Entry{Key: []byte("alpha"), SizeBytes: 3, Time: at(1795472898)}
	beta := Entry{Key: []byte("beta"), Time: at(1795472899)}
	binary := Entry{Key: []byte("\x00\r\n\xff"), SizeBytes: 10, Time: at(1795472900)}

	for name, want := range map[string][]Entry{"scan.resp": {alpha, beta, binary}, "rscan.resp": {binary, beta, alpha}} {
		entries, next, ok := decodePage(reply(t, name))
		if diff := cmp.Diff(want, entries); !ok || len(next) != 17 || diff != "" {
			t.Errorf("%s: %v, a cursor of %d bytes: %s", name, ok, len(next), diff)
		}
	}
	for name, want := range map[string]Version{
		"history.resp":       {Value: []byte("two"), Time: at(1795472898), Older: []byte("\x00\x00\x00\x00\x1d\x00\x00\x00")},
		"history-first.resp": {Value: []byte("one"), Time: at(1795472897)},
	} {
		v, ok := decodeVersion(reply(t, name))
		if diff := cmp.Diff(want, v); !ok || diff != "" {
			t.Errorf("%s: %v: %s", name, ok, diff)
		}
	}
	for name, want := range map[string]RawRecord{
		"data-raw.resp":         {Key: []byte("alpha"), Value: []byte("one"), Time: at(1795472897), ValueCRC: 0x4af01193},
		"data-raw-deleted.resp": {Key: []byte("k"), Deleted: true, Time: at(1234567890), Previous: 28},
	} {
		r, ok := decodeRaw(reply(t, name))
		if diff := cmp.Diff(want, r); !ok || diff != "" {
			t.Errorf("%s: %v: %s", name, ok, diff)
		}
	}
	files, ok := decodeFiles(reply(t, "index-dirty.resp"))
	if diff := cmp.Diff([]uint32{0}, files); !ok || diff != "" {
		t.Errorf("index dirty: %v: %s", ok, diff)
	}
	keys, all, ok := decodeKeys(reply(t, "kscan.resp"))
	if diff := cmp.Diff([][]byte{[]byte("ab1"), []byte("ab2")}, keys); !ok || !all || diff != "" {
		t.Errorf("kscan: %v, all %v: %s", ok, all, diff)
	}
	runs, ok := decodeHooks(reply(t, "hooks.resp"))
	want := []HookRun{
		{Name: "namespaces-init", Args: []string{"i", "d"}, PID: 21055, Started: at(1796088348), Finished: at(1796088348)},
		{Name: "ready", Args: []string{}, PID: 21071, Started: at(1796088348), Finished: at(1796088348)},
		{Name: "namespace-created", Args: []string{"made"}, PID: 21147, Started: at(1796088349)},
	}
	if diff := cmp.Diff(want, runs); !ok || diff != "" {
		t.Errorf("hooks: %v: %s", ok, diff)
	}
}

// decoders says whether a reply is one of each kind, and checks what it made of it.
var decoders = map[string]func(t *testing.T, reply any) bool{
	"page": func(t *testing.T, reply any) bool {
		entries, next, ok := decodePage(reply)
		if ok && len(next) == 0 {
			t.Fatal("no cursor")
		}
		for _, e := range entries {
			if checkKey(e.Key) != nil || e.SizeBytes < 0 || e.SizeBytes > zdb.MaxValueBytes {
				t.Fatalf("bad entry %+v", e)
			}
		}
		return ok
	},
	"keys": func(t *testing.T, reply any) bool {
		keys, _, ok := decodeKeys(reply)
		for _, key := range keys {
			if checkKey(key) != nil {
				t.Fatalf("bad key %q", key)
			}
		}
		return ok
	},
	"version": func(t *testing.T, reply any) bool {
		v, ok := decodeVersion(reply)
		if ok && (v.Value == nil || v.Older != nil && len(v.Older) != historyCursorBytes) {
			t.Fatalf("bad version %+v", v)
		}
		return ok
	},
	"raw": func(t *testing.T, reply any) bool {
		r, ok := decodeRaw(reply)
		if ok && (checkKey(r.Key) != nil || r.Deleted != (r.Value == nil) || r.Previous < 0) {
			t.Fatalf("bad record %+v", r)
		}
		return ok
	},
	"files": func(t *testing.T, reply any) bool { _, ok := decodeFiles(reply); return ok },
	"hooks": func(t *testing.T, reply any) bool { _, ok := decodeHooks(reply); return ok },
}

// What is not quite a reply is none.
func TestDecodeRefuses(t *testing.T) {
	key := bulk("k")
	for kind, texts := range map[string][]string{
		"page": {
			":1\r\n", "*0\r\n", "*2\r\n$0\r\n\r\n*0\r\n", "*2\r\n:1\r\n*0\r\n", "*2\r\n" + key + key,
			"*2\r\n" + key + "*1\r\n" + key, "*2\r\n" + key + "*1\r\n*2\r\n" + key + ":1\r\n",
			"*2\r\n" + key + "*1\r\n*3\r\n" + key + ":-1\r\n:1\r\n", "*2\r\n" + key + "*1\r\n*3\r\n" + key + ":8388609\r\n:1\r\n",
			"*2\r\n" + key + "*1\r\n*3\r\n$0\r\n\r\n:1\r\n:1\r\n", "*2\r\n" + key + "*1\r\n*3\r\n" + bulk(strings.Repeat("k", 256)) + ":1\r\n:1\r\n",
		},
		"keys":    {":1\r\n", "*2\r\n$1\r\n2\r\n*0\r\n", "*2\r\n$1\r\n0\r\n:1\r\n", "*2\r\n$1\r\n0\r\n*1\r\n$0\r\n\r\n", "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n"},
		"version": {"*2\r\n$-1\r\n$1\r\n1\r\n", "*3\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\nv\r\n", "*3\r\n:1\r\n$1\r\n1\r\n$1\r\nv\r\n", "*3\r\n$-1\r\n$1\r\nx\r\n$1\r\nv\r\n", "*3\r\n$-1\r\n$1\r\n1\r\n$-1\r\n", "*3\r\n$-1\r\n:1\r\n$1\r\nv\r\n"},
		"raw": {
			"*5\r\n" + key + ":0\r\n$10\r\n0x00000000\r\n:0\r\n:1\r\n", "*6\r\n" + key + ":-1\r\n$10\r\n0x00000000\r\n:0\r\n:1\r\n" + key,
			"*6\r\n" + key + ":0\r\n$10\r\n0x0000000g\r\n:0\r\n:1\r\n" + key, "*6\r\n" + key + ":0\r\n$8\r\n00000000\r\n:0\r\n:1\r\n" + key,
			"*6\r\n" + key + ":0\r\n$10\r\n0x00000000\r\n:4\r\n:1\r\n" + key, "*6\r\n" + key + ":0\r\n$10\r\n0x00000000\r\n:1\r\n:1\r\n" + key,
			"*6\r\n" + key + ":0\r\n$10\r\n0x00000000\r\n:0\r\n:1\r\n$-1\r\n", "*6\r\n$0\r\n\r\n:0\r\n$10\r\n0x00000000\r\n:0\r\n:1\r\n" + key,
		},
		"files": {":1\r\n", "*1\r\n:-1\r\n", "*1\r\n:4294967296\r\n", "*1\r\n" + key},
		"hooks": {":1\r\n", "*1\r\n*5\r\n" + key + "*0\r\n:1\r\n:1\r\n:1\r\n", "*1\r\n*6\r\n" + key + key + ":1\r\n:1\r\n:1\r\n:1\r\n", "*1\r\n*6\r\n" + key + "*1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "*1\r\n*6\r\n" + key + "*0\r\n:1\r\n:1\r\n:1\r\n$1\r\n1\r\n"},
	} {
		for _, text := range texts {
			replies, err := receive(strings.NewReader(text))
			if err != io.EOF || len(replies) != 1 {
				t.Fatalf("%s: %q: %d replies, %v", kind, text, len(replies), err)
			}
			if decoders[kind](t, replies[0]) {
				t.Errorf("%s: takes %q", kind, text)
			}
		}
	}
}

func fuzzDecoder(f *testing.F, kind string, files ...string) {
	for _, name := range files {
		f.Add(golden(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		replies, err := receive(bytes.NewReader(b))
		if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, zdb.ErrNotZDB) {
			t.Fatalf("not our error: %v", err)
		}
		for _, r := range replies {
			decoders[kind](t, r)
		}
	})
}

func FuzzScanPage(f *testing.F) { fuzzDecoder(f, "page", "scan.resp", "rscan.resp") }
func FuzzHistory(f *testing.F)  { fuzzDecoder(f, "version", "history.resp", "history-first.resp") }
func FuzzDataRaw(f *testing.F)  { fuzzDecoder(f, "raw", "data-raw.resp", "data-raw-deleted.resp") }
func FuzzKeys(f *testing.F)     { fuzzDecoder(f, "keys", "kscan.resp") }
func FuzzHooks(f *testing.F)    { fuzzDecoder(f, "hooks", "hooks.resp") }
func FuzzFiles(f *testing.F)    { fuzzDecoder(f, "files", "index-dirty.resp") }
