package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// run feeds 200 MiB in steps of 100 ms at 1 MiB each, and gives what was written.
func run(style Style) string {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := New(&out, style, func() time.Time { return now })
	for step := range int64(201) {
		m.Update("uploading", step<<20, 200<<20)
		now = now.Add(100 * time.Millisecond)
	}
	m.Clear()
	return out.String()
}

func TestTerminalWritesOverOneLine(t *testing.T) {
	out := run(Terminal)
	if strings.Contains(out, "\n") {
		t.Error("more than one line")
	}
	lines := strings.Split(out, "\r")
	if len(lines) < 90 || len(lines) > 110 {
		t.Errorf("%d lines in 20 seconds, want 5 a second", len(lines))
	}
	for _, want := range []string{"uploading  0 B of 200 MiB  0%", "uploading  100 MiB of 200 MiB  50%  10 MiB/s  10s left", "uploading  200 MiB of 200 MiB  100%  10 MiB/s"} {
		found := false
		for _, line := range lines {
			found = found || strings.TrimRight(line, " ") == want
		}
		if !found {
			t.Errorf("no line %q in %q", want, lines)
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		t.Errorf("Clear left %q", last)
	}
}

func TestPipeWritesALineAMinute(t *testing.T) {
	if out := run(Pipe); out != "" {
		t.Errorf("20 seconds of work wrote %q", out)
	}
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := New(&out, Pipe, func() time.Time { return now })
	for second := range int64(181) {
		m.Update("uploading", second<<20, 400<<20)
		now = now.Add(time.Second)
	}
	want := "uploading  60 MiB of 400 MiB  15%  1 MiB/s  5m40s left\nuploading  120 MiB of 400 MiB  30%  1 MiB/s  4m40s left\nuploading  180 MiB of 400 MiB  45%  1 MiB/s  3m40s left\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestEvents(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(run(Events)), "\n")
	if len(lines) < 19 || len(lines) > 22 {
		t.Errorf("%d events in 20 seconds", len(lines))
	}
	if want := `{"type":"progress","stage":"uploading","done_bytes":0,"total_bytes":209715200}`; lines[0] != want {
		t.Errorf("got %s", lines[0])
	}
}

func TestSilent(t *testing.T) {
	if out := run(Silent); out != "" {
		t.Errorf("wrote %q", out)
	}
}

// TestStagesAndUnknownTotals proves that a new stage shows at once, with a rate of its own, and that no total is no percentage.
func TestStagesAndUnknownTotals(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := New(&out, Terminal, func() time.Time { return now })
	m.Update("asking the nodes", 0, 0)
	m.Update("metadata", 5, -1)
	want := "\rasking the nodes  0 B\rmetadata  5 B" + strings.Repeat(" ", len("asking the nodes  0 B")-len("metadata  5 B"))
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestSamplesAreBounded proves that memory does not grow with the length of the work.
func TestSamplesAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	m := New(new(bytes.Buffer), Terminal, func() time.Time { return now })
	for i := range int64(100000) {
		m.Update("s", i, 1<<40)
		now = now.Add(10 * time.Millisecond)
	}
	if len(m.samples) > 60 {
		t.Errorf("%d samples kept", len(m.samples))
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "1s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3*time.Hour + 2*time.Minute: "3h02m", 100000 * time.Hour: "more than 99h",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
