package report

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files anew")

func sample() *Report {
	write := Workload{"write", "MiB/s", "write much"}
	fsync := Workload{"fsync", "ops/s", "write little and fsync"}
	r := &Report{
		Started:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Host:      Host{"Linux 6.1", "A CPU", 2, 8 << 30},
		Settings:  Settings{Rounds: 3, SizeMiB: 1024, Files: 10000, Fsyncs: 500, Data: "random", Seed: 7, CachesDropped: true},
		Targets:   []Target{{"plain", "ext4"}, {"gocryptfs", "gocryptfs 2.3"}, {"qsfs", ""}},
		Workloads: []Workload{write, fsync},
		Completed: true,
	}
	for round := range 3 { // added in another order than printed
		r.Add(fsync, "qsfs", float64(300+round))
		r.AddSettle(fsync, "qsfs", time.Duration(round+1)*time.Second)
		for i, target := range []string{"gocryptfs", "plain"} {
			r.Add(write, target, float64(1000*(i+1)+10*round))
			r.Add(fsync, target, float64(100*(i+1)-round))
		}
	}
	r.AddError(write, "qsfs", errors.New("input/output error"))
	r.Sum()
	return r
}

// The three forms stay as they are.
func TestGolden(t *testing.T) { golden(t, "report", sample()) }

func golden(t *testing.T, base string, r *Report) {
	for name, write := range map[string]func(*bytes.Buffer) error{
		base + ".json": func(b *bytes.Buffer) error { return r.WriteJSON(b) },
		base + ".txt":  func(b *bytes.Buffer) error { return r.WriteTable(b) },
		base + ".md":   func(b *bytes.Buffer) error { return r.WriteMarkdown(b) },
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "v1", name)
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, got.Bytes(), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		samples []float64
		want    float64
	}{{[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{9, 1, 2}, 2}} {
		if got := median(test.samples); got != test.want {
			t.Errorf("%v: %v", test.samples, got)
		}
	}
}

func TestFailed(t *testing.T) {
	if n := sample().Failed(); n != 1 {
		t.Errorf("%d failed", n)
	}
}

func TestThisHost(t *testing.T) {
	if h := ThisHost(); h.CPUs < 1 || h.MemoryBytes < 1 || h.System == "" || h.Processor == "" {
		t.Errorf("%+v", h)
	}
}
