package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/session"
)

// program is our zdbd, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keys-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p, err := daemon.Ours(context.Background(), "", dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = p.Path
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"--zdbd", program}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v %v", entries, err)
	}
}

// The server holds 50,000 keys in both durabilities, gives each as it must be, and keeps
// to its memory.
func TestHolds(t *testing.T) {
	for _, sync := range []string{daemon.SyncNone, daemon.SyncGroup} {
		t.Run(sync, func(t *testing.T) {
			dir := t.TempDir()
			code, stdout, stderr := call(context.Background(), "--dir", dir, "--keys", "50000", "--gets", "20000", "--sync", sync,
				"--memory-mib", "128", "--max-memory-percent", "100", "--json")
			if code != command.ExitOK {
				t.Fatalf("exit %d: %s%s", code, stdout, stderr)
			}
			var r result
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatal(err)
			}
			if r.Version != 1 || !r.Completed || len(r.Phases) != 11 || len(r.Latencies) != 2 || len(r.Disk) != 3 || len(r.Restarts) != 2 || len(r.Memory) < 11 {
				t.Errorf("%+v", r)
			}
			for _, p := range r.Phases {
				if p.PerSecond < 100 || p.Seconds <= 0 || p.Requests < 1000 || p.PeakBytes < 1<<20 || p.ClientCPU < 0 || p.ServerCPU < 0 {
					t.Errorf("%+v", p)
				}
			}
			for _, l := range r.Latencies {
				if l.Count != 2000 || l.P50 <= 0 || l.P99 < l.P50 || l.Max < l.P99 {
					t.Errorf("%+v", l)
				}
			}
			for _, d := range r.Disk {
				// A record has a header of 40 bytes, a key of 20 on average and a value of 16.
				if d.Keys < 45000 || d.perKey(d.DataBytes) < 70 || d.perKey(d.DataBytes) > 1000 {
					t.Errorf("%+v", d)
				}
			}
			for _, re := range r.Restarts {
				if re.ReadySeconds <= 0 || re.AnswerSeconds < re.ReadySeconds || re.EndSeconds <= 0 || re.PeakBytes < 1<<20 {
					t.Errorf("%+v", re)
				}
			}
			var page bytes.Buffer
			if err := r.print(&page); err != nil || !strings.Contains(page.String(), "| load | 50000 |") || !strings.Contains(page.String(), "| kill -9 | 45000 |") {
				t.Errorf("%v\n%s", err, &page)
			}
			empty(t, dir)
		})
	}
}

// A server that fails ends the run, which says so and what was measured before.
func TestFails(t *testing.T) {
	dir := t.TempDir()
	code, stdout, _ := call(context.Background(), "--dir", dir, "--keys", "50000", "--sync", "none", "--zdbd-arg", "--maxsize=200KB")
	if code != command.ExitFailed || !strings.Contains(stdout, "FAILED: load: SET of key number") || !strings.Contains(stdout, "No space left") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	empty(t, dir)
	r := &result{PeakBytes: 129 * mib}
	o := options{memoryMiB: 128, maxMemoryPercent: 100}
	if err := o.report(r, io.Discard); err == nil {
		t.Error("more memory than allowed was taken, and nothing is said")
	}
}

// canceller ends a run when it tells something for the first time.
type canceller struct {
	bytes.Buffer
	cancel func()
}

func (c *canceller) Write(p []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(p)
}

// Ctrl-C ends a load, and nothing stays.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stderr := &canceller{cancel: cancel}
	var stdout bytes.Buffer
	code := run(ctx, []string{"--zdbd", program, "--dir", dir, "--keys", "1000000000"}, &stdout, stderr)
	if code != command.ExitInterrupted || !strings.Contains(stdout.String(), "ENDED before its end") {
		t.Errorf("exit %d: %s%s", code, &stdout, &stderr.Buffer)
	}
	if strings.Contains(stderr.String(), "was killed") {
		t.Errorf("the server did not end by itself: %s", &stderr.Buffer)
	}
	empty(t, dir)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--sync", "always"}, {"--keys", "9"}, {"--keys", "-1"}, {"--gets", "0"}, {"--value", "7"}, {"--value", "2000000"}, {"--conns", "0"},
		{"--depth", "0"}, {"--memory-mib", "0"}, {"--nosuch"}, {"extra"},
	} {
		if code, _, stderr := call(context.Background(), args...); code != command.ExitUsage || !strings.Contains(stderr, "hint") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if code, stdout, _ := call(context.Background(), "--help"); code != command.ExitOK || !strings.Contains(stdout, "EXIT STATUS") {
		t.Errorf("help: exit %d", code)
	}
}

// Numbers and keys are told from each other both ways; keys have all lengths, values differ.
func TestKeys(t *testing.T) {
	m := maker{seed: mix(7), valueBytes: 20}
	lengths, values := map[int]int{}, map[string]bool{}
	for n := range uint64(10000) {
		key := m.key(nil, n)
		if got, ours := m.number(key); got != n || !ours {
			t.Fatalf("%x of %d is %d, %v", key, n, got, ours)
		}
		lengths[len(key)]++
		if _, ours := m.number(append(bytes.Clone(key[:len(key)-1]), key[len(key)-1]^1)); ours {
			t.Errorf("%x with another end is taken for a key", key)
		}
		for version := 1; version <= 2; version++ {
			v := m.value(nil, n, version)
			if len(v) != 20 || values[string(v[:8])] {
				t.Fatalf("value %x of %d, version %d", v, n, version)
			}
			values[string(v[:8])] = true
		}
	}
	for n := minKeyBytes; n <= maxKeyBytes; n++ {
		if lengths[n] < 900 {
			t.Errorf("%d keys of %d bytes", lengths[n], n)
		}
	}
	if len(lengths) != maxKeyBytes-minKeyBytes+1 {
		t.Error(lengths)
	}
}

// What must be stored agrees with the counts, and orders that look random leave nothing out.
func TestState(t *testing.T) {
	for _, keys := range []uint64{10, 13, 14, 16, 17, 18, 1000, 99991} {
		s := state{keys: keys, overwritten: true, deleted: true, late: true}
		var live, second, late uint64
		for n := range keys + 100 {
			switch s.version(n) {
			case 1:
				live++
			case 2:
				live++
				if second++; n%groupKeys == lateUpdate {
					late++
				}
			}
		}
		if live != s.live() || late != s.lates() || second-late != s.in(overwrite) {
			t.Errorf("%d keys: %d live, want %d; %d late, want %d; %d overwritten, want %d", keys, live, s.live(), late, s.lates(), second-late, s.in(overwrite))
		}
		seen := make([]bool, keys)
		for i := range keys {
			if n := shuffled(i, keys); n >= keys || seen[n] {
				t.Fatalf("%d of %d comes twice, or is none", n, keys)
			} else {
				seen[n] = true
			}
			if n := s.present(i); s.version(n) == 0 {
				t.Fatalf("%d is not present", n)
			}
			if n := s.absent(i); s.version(n) != 0 {
				t.Fatalf("%d is not absent", n)
			}
		}
	}
}

// Every answer that is not the right one is found.
func TestWrongAnswers(t *testing.T) {
	m := maker{seed: 1, valueBytes: 16}
	key, value := string(m.key(nil, 5)), string(m.value(nil, 5, 1))
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	set, get, gone, del := request{verbSet, 5, 1}, request{verbGet, 5, 1}, request{verb: verbGet, number: 5}, request{verb: verbDel, number: 5}
	for name, c := range map[string]struct {
		r    request
		text string
		good bool
	}{
		"set":                {set, bulk(key), true},
		"set nil":            {set, "$-1\r\n", false},
		"set other key":      {set, bulk(string(m.key(nil, 6))), false},
		"set error":          {set, "-No space left on this namespace\r\n", false},
		"get":                {get, bulk(value), true},
		"get nil":            {get, "$-1\r\n", false},
		"get other version":  {get, bulk(string(m.value(nil, 5, 2))), false},
		"get of other key":   {get, bulk(string(m.value(nil, 6, 1))), false},
		"get last byte":      {get, bulk(value[:15] + string(value[15]^1)), false},
		"get short":          {get, bulk(value[:15]), false},
		"get long":           {get, bulk(value + "x"), false},
		"get cut":            {get, bulk(value)[:12], false},
		"get number":         {get, ":5\r\n", false},
		"get gone":           {gone, "$-1\r\n", true},
		"get gone but there": {gone, bulk(value), false},
		"get gone, empty":    {gone, bulk(""), false},
		"del":                {del, "+OK\r\n", true},
		"del not there":      {del, "-Key not found\r\n", false},
		"del bulk":           {del, bulk(key), false},
		"nothing":            {get, "", false},
	} {
		ours, theirs := net.Pipe()
		go func() {
			io.WriteString(theirs, c.text)
			theirs.Close()
		}()
		checker := &checker{s: session.New(ours), maker: m}
		if err := checker.check(c.r); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
		ours.Close()
	}
}
