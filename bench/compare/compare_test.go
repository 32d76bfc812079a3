package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/report"
)

var small = []string{"--size-mib", "1", "--files", "5", "--fsyncs", "2", "--drop-caches", "no"}

func call(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(ctx, append(append([]string{}, small...), args...), &out, &errs)
	return code, out.String(), errs.String()
}

// Two plain directories are measured in all workloads and rounds, and left as they were.
func TestCompareDirectories(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	markdown := filepath.Join(t.TempDir(), "report.md")
	code, stdout, stderr := call(t, context.Background(), "--target", "a="+a, "--target", "b="+b, "--rounds", "2", "--json", "--markdown", markdown)
	if code != command.ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 10 || !r.Completed || r.Version != report.Version || r.Settings.CachesDropped {
		t.Errorf("%+v", r)
	}
	for _, result := range r.Results {
		if len(result.Samples) != 2 || result.Min <= 0 || result.Median < result.Min || result.Max < result.Median || result.ToFirst == nil || result.ToGocryptfs != nil {
			t.Errorf("%+v", result)
		}
	}
	if page, err := os.ReadFile(markdown); err != nil || !strings.Contains(string(page), "| write-fsync | b |") {
		t.Errorf("markdown: %v\n%s", err, page)
	}
	for _, dir := range []string{a, b} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("left %v %v", entries, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--target", "x"}, {"--target", "=x"}, {"--target", "plain=/x", "--plain"}, {"--target", "a=/x", "--target", "a=/y"},
		{"--rounds", "0"}, {"--only", "sleep"}, {"--data", "mp3"}, {"--size-mib", "0"}, {"--drop-caches", "perhaps"}, {"--nosuch"}, {"extra"},
	} {
		code, _, stderr := call(t, context.Background(), args...)
		if code != command.ExitUsage || !strings.Contains(stderr, "hint") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	code, stdout, _ := call(t, context.Background(), "--help")
	if code != command.ExitOK || !strings.Contains(stdout, "EXIT STATUS") {
		t.Errorf("help: exit %d", code)
	}
}

// A target that cannot be made ends the run, and those made before it go.
func TestTargetFails(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := call(t, context.Background(), "--dir", dir, "--plain", "--qsfs", filepath.Join(dir, "none"))
	if code != command.ExitError || !strings.Contains(stderr, "not installed") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v %v", entries, err)
	}
}

// stopAfter cancels when a text has been written to it.
type stopAfter struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (s *stopAfter) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), s.text) {
		s.cancel()
	}
	return n, err
}

// After an interrupt the report so far is printed, the targets are gone and the exit code says so.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stderr := &stopAfter{text: "round 1  write ", cancel: cancel}
	var stdout bytes.Buffer
	code := run(ctx, append([]string{"--dir", dir, "--plain", "--json"}, small...), &stdout, stderr)
	if code != command.ExitInterrupted {
		t.Errorf("exit %d: %s", code, stderr)
	}
	var r report.Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Completed || len(r.Results) == 0 {
		t.Errorf("%v: %+v", err, r)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v %v", entries, err)
	}
}
