package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/session"
)

func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v %v", entries, err)
	}
}

// Sixty clients find nothing wrong in three seconds, and the server keeps to its memory.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := call(context.Background(), "--dir", dir, "--clients", "60", "--for", "3s", "--write-mib", "300", "--namespaces", "3",
		"--zdbd-arg", "--memory=128MiB", "--max-memory-mib", "300", "--json")
	if code != command.ExitOK {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	var r result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Version != 1 || r.Requests < 1000 || r.Written < 1<<20 || r.PeakBytes < 1<<20 || len(r.MemoryBytes) == 0 || r.Seconds < 2.9 {
		t.Errorf("%+v", r)
	}
	if len(r.Latencies) != len(verbs) {
		t.Errorf("%d of %d verbs: %+v", len(r.Latencies), len(verbs), r.Latencies)
	}
	for _, s := range r.Latencies {
		if s.Count < 1 || s.P50 <= 0 || s.P99 < s.P50 || s.P999 < s.P99 || s.Max < s.P999 {
			t.Errorf("%+v", s)
		}
	}
	empty(t, dir)
}

// Errors of the server end the run and are told.
func TestFails(t *testing.T) {
	dir := t.TempDir()
	code, stdout, _ := call(context.Background(), "--dir", dir, "--clients", "3", "--for", "20s", "--network", "unix", "--sync", "none",
		"--zdbd-arg", "--maxsize=200KB")
	if code != command.ExitFailed || !strings.Contains(stdout, "FAILED: client") || !strings.Contains(stdout, "No space left") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	empty(t, dir)
}

func TestMemoryLimit(t *testing.T) {
	o := options{maxMemoryMiB: 10}
	var out bytes.Buffer
	if err := o.report(&result{PeakBytes: 10 << 20}, &out); err != nil {
		t.Error(err)
	}
	if err := o.report(&result{PeakBytes: 10<<20 + 1}, &out); !errors.Is(err, command.ErrFailed) {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	code, _, stderr := call(ctx, "--dir", dir, "--clients", "5", "--for", "1h")
	if code == command.ExitOK || !strings.Contains(stderr, context.DeadlineExceeded.Error()) && !strings.Contains(stderr, "signal: killed") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	empty(t, dir)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--network", "udp"}, {"--sync", "always"}, {"--clients", "0"}, {"--for", "0s"}, {"--sequential", "5"}, {"--namespaces", "1", "--sequential", "2"}, {"--max-value", "99"},
		{"--max-value", "4000000"}, {"--nosuch"}, {"extra"},
	} {
		if code, _, stderr := call(context.Background(), args...); code != command.ExitUsage || !strings.Contains(stderr, "hint") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if code, stdout, _ := call(context.Background(), "--help"); code != command.ExitOK || !strings.Contains(stdout, "EXIT STATUS") {
		t.Errorf("help: exit %d", code)
	}
}

// peer answers whatever is sent with a text, and hangs up.
func peer(t *testing.T, text string) *session.Session {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go io.Copy(io.Discard, theirs)
	go func() {
		io.WriteString(theirs, text)
		theirs.Close()
	}()
	return session.New(ours)
}

// Any byte that is not the one stored is found, wherever it is.
func TestWrongValues(t *testing.T) {
	p := newPool(1)
	v := value{client: 3, version: 7, sizeBytes: 50000}
	stamp, body := p.parts(v)
	good := string(stamp[:]) + string(body)
	if err := readValue(peer(t, "$50000\r\n"+good+"\r\n"), p, v); err != nil {
		t.Error(err)
	}
	if err := readValue(peer(t, "$-1\r\n"), p, value{}); err != nil {
		t.Error(err)
	}
	flip := func(at int) string { return good[:at] + string(good[at]^1) + good[at+1:] }
	other, otherBody := p.parts(value{client: 3, version: 6, sizeBytes: 50000})
	for name, c := range map[string]struct {
		text string
		v    value
	}{
		"first byte":      {"$50000\r\n" + flip(0) + "\r\n", v},
		"behind stamp":    {"$50000\r\n" + flip(8) + "\r\n", v},
		"last byte":       {"$50000\r\n" + flip(49999) + "\r\n", v},
		"version before":  {"$50000\r\n" + string(other[:]) + string(otherBody) + "\r\n", v},
		"too short":       {"$49999\r\n" + good[:49999] + "\r\n", v},
		"nil":             {"$-1\r\n", v},
		"error":           {"-Internal Error\r\n", v},
		"number":          {":1\r\n", v},
		"cut":             {"$50000\r\n" + good[:100], v},
		"nothing":         {"", v},
		"no reply":        {"hello\r\n", v},
		"there though no": {"$50000\r\n" + good + "\r\n", value{}},
	} {
		if err := readValue(peer(t, c.text), p, c.v); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A page that lists a key twice, or is none, is not taken.
func TestWrongPages(t *testing.T) {
	const item = "*3\r\n$1\r\nk\r\n:5\r\n:1\r\n"
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"good":        {"*2\r\n$3\r\nabc\r\n*1\r\n" + item, true},
		"twice":       {"*2\r\n$3\r\nabc\r\n*2\r\n" + item + item, false},
		"empty":       {"*2\r\n$3\r\nabc\r\n*0\r\n", false},
		"huge":        {"*2\r\n$3\r\nabc\r\n*99999999\r\n", false},
		"status":      {"+OK\r\n", false},
		"two fields":  {"*2\r\n$3\r\nabc\r\n*1\r\n*2\r\n$1\r\nk\r\n:5\r\n", false},
		"cursor long": {"*2\r\n$65\r\n", false},
		"error":       {"-Internal Error\r\n", false},
	} {
		lister := &client{s: peer(t, c.text)}
		if _, items, err := lister.page(nil); (err == nil) != c.good || errors.Is(err, session.ErrNoMore) || (c.good && items["k"] != 5) {
			t.Errorf("%s: %v, %v", name, items, err)
		}
	}
	if _, _, err := (&client{s: peer(t, "-No more data\r\n")}).page(nil); !errors.Is(err, session.ErrNoMore) {
		t.Error(err)
	}
}

// Sizes of all orders of magnitude come up, none outside of the bounds.
func TestSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	small, large := 0, 0
	for range 10000 {
		n := randomSize(rng, 1<<20)
		if n < minValueBytes || n > 1<<20 {
			t.Fatal(n)
		}
		if n < 1000 {
			small++
		}
		if n > 100<<10 {
			large++
		}
	}
	if small < 1500 || large < 1500 {
		t.Errorf("%d small, %d large", small, large)
	}
}
