package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
)

// program is our zdbd, built once.
var program string

// muteVariable makes this test's own program a server that answers nothing.
const muteVariable = "QSFS_BENCH_TEST_MUTE"

func TestMain(m *testing.M) {
	if os.Getenv(muteVariable) != "" {
		if os.Args[1] == "version" {
			os.Exit(0)
		}
		l, err := net.Listen("unix", os.Args[len(os.Args)-1]) // the value of --socket
		for err == nil {
			_, err = l.Accept()
		}
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "nodes-test-")
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
	code = run(ctx, append([]string{"--zdbd", program, "--original", ""}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v %v", entries, err)
	}
}

// Every verb, network and durability is measured on our server, in values shorter and
// longer than what is sent at once; nothing stays on disk.
func TestMeasures(t *testing.T) {
	dir := t.TempDir()
	markdown := filepath.Join(t.TempDir(), "nodes.md")
	code, stdout, stderr := call(context.Background(), "--dir", dir, "--sizes", "8,4096,600000", "--conns", "3", "--depth", "16",
		"--rounds", "1", "--duration", "20ms", "--mib", "2", "--json", "--markdown", markdown)
	if code != command.ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if want := 2 * 3 * 2 * 2; len(r.Results) != want || !r.Completed {
		t.Errorf("%d results, want %d; %v", len(r.Results), want, r.Completed)
	}
	for _, res := range r.Results {
		if res.Median <= 0 || res.Load == nil || res.Load.Requests < 1 || res.Load.PeakBytes < 1<<20 || res.Load.ClientCPU <= 0 || res.Load.Seconds > 30 {
			t.Errorf("%+v %+v", res, res.Load)
		}
	}
	if page, err := os.ReadFile(markdown); err != nil || !strings.Contains(string(page), "| GET 4KiB 3x16 unix group |") {
		t.Errorf("markdown: %v\n%s", err, page)
	}
	empty(t, dir)
}

// A program that does not come up is in the report, not the end of the run.
func TestFailedMeasurement(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := call(context.Background(), "--dir", dir, "--sizes", "100", "--rounds", "1", "--duration", "10ms", "--conns", "1", "--depth", "1",
		"--network", "unix", "--sync", "none", "--zdbd-arg", "--nosuch")
	if code != command.ExitFailed || !strings.Contains(stdout, "unknown flag") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	empty(t, dir)
}

// A server that hangs is in the report too.
func TestMuteServer(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(muteVariable, "1")
	dir := t.TempDir()
	code, stdout, stderr := call(context.Background(), "--zdbd", self, "--dir", dir, "--sizes", "100", "--rounds", "1", "--duration", "10ms",
		"--timeout", "200ms", "--conns", "2", "--depth", "2", "--network", "unix", "--sync", "none")
	if code != command.ExitFailed || strings.Count(stdout, context.DeadlineExceeded.Error()) != 2 {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	empty(t, dir)
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	code, _, stderr := call(ctx, "--dir", dir, "--sizes", "100", "--duration", "1h", "--mib", "1000000", "--conns", "2", "--sync", "none")
	if code == command.ExitOK || !strings.Contains(stderr, context.DeadlineExceeded.Error()) {
		t.Errorf("exit %d: %s", code, stderr)
	}
	empty(t, dir)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--verbs", "DEL"}, {"--sizes", "4"}, {"--sizes", "9000000"}, {"--conns", "0"}, {"--depth", "1001"}, {"--network", "udp"}, {"--sync", "always"},
		{"--rounds", "0"}, {"--duration", "0s"}, {"--mib", "0"}, {"--timeout", "0s"}, {"--verbs", ""}, {"--nosuch"}, {"extra"},
	} {
		code, _, stderr := call(context.Background(), args...)
		if code != command.ExitUsage || !strings.Contains(stderr, "hint") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if code, stdout, _ := call(context.Background(), "--help"); code != command.ExitOK || !strings.Contains(stdout, "EXIT STATUS") {
		t.Errorf("help: exit %d", code)
	}
}

// answer runs a client against a peer that reads one request and answers with a text.
func answer(t *testing.T, c cell, text string) (int64, error) {
	t.Helper()
	at := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		nc.Read(make([]byte, 1<<16))
		io.WriteString(nc, text)
		nc.(*net.UnixConn).CloseWrite()
		io.Copy(io.Discard, nc)
		nc.Close()
	}()
	s, err := dial("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{}
	k.left.Store(1)
	cs := clients{newClient(s, c, rand.New(rand.NewPCG(1, 1)))}
	defer cs.close()
	return cs[0].run(k)
}

// What is no good reply ends a measurement: it is never counted.
func TestReplies(t *testing.T) {
	set := cell{verb: verbSet, valueBytes: 20, depth: 1}
	get := cell{verb: verbGet, valueBytes: 20, depth: 1}
	const key0 = "0000000000000000"
	for _, c := range []struct {
		cell cell
		text string
		good bool
	}{
		{set, "$16\r\n" + key0 + "\r\n", true},
		{set, "$16\r\n0000000000000001\r\n", false},
		{set, "$-1\r\n", false},
		{set, "-No space left on this namespace\r\n", false},
		{set, "$16\r\n0000", false},
		{set, "", false},
		{get, "$20\r\n" + strings.Repeat("\x00", 20) + "\r\n", true},
		{get, "$20\r\n\x01" + strings.Repeat("\x00", 19) + "\r\n", false},
		{get, "$20\r\n" + strings.Repeat("\x00", 19), false},
		{get, "$21\r\n" + strings.Repeat("\x00", 21) + "\r\n", false},
		{get, "$-1\r\n", false},
		{get, "-Internal Error\r\n", false},
	} {
		n, err := answer(t, c.cell, c.text)
		if good := err == nil && n == 1; good != c.good || (!good && n != 0) {
			t.Errorf("%s answered %q: %d, %v", c.cell.verb, c.text, n, err)
		}
	}
}

// GET asks for each key once before it asks for any again.
func TestKeyOrder(t *testing.T) {
	k := &keys{count: 64}
	for range 3 {
		k.left.Store(64)
		var got []uint64
		for {
			first, n := k.take(5)
			if n == 0 {
				break
			}
			for i := range n {
				got = append(got, k.number(first+uint64(i)))
			}
		}
		slices.Sort(got)
		for i, n := range got {
			if n != uint64(i) || len(got) != 64 {
				t.Fatalf("%v", got)
			}
		}
	}
}
