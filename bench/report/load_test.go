package report

import (
	"errors"
	"testing"
	"time"
)

func loadSample() *Report {
	set := Workload{"SET 4KiB", "requests/s", "store"}
	get := Workload{"GET 4KiB", "requests/s", "read"}
	r := &Report{
		Started:   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Host:      Host{"Linux 6.1", "A CPU", 2, 8 << 30},
		Settings:  Settings{Rounds: 2, Data: "random", Seed: 7, LoadBytes: 256 << 20, LoadSeconds: 1},
		Targets:   []Target{{"original", "0-db v2"}, {"zdbd", "zdbd 1"}},
		Workloads: []Workload{set, get},
		Completed: true,
	}
	for i := range int64(2) {
		r.AddSample(get, "zdbd", Sample{Requests: 50000 * (i + 1), Elapsed: time.Second, ServerCPU: time.Second / 2, ClientCPU: time.Second / 4, PeakBytes: (30 - i) << 20})
		r.AddSample(get, "original", Sample{Requests: 25000, Elapsed: time.Second / 2, ServerCPU: time.Second / 4, ClientCPU: time.Second / 5, PeakBytes: 5 << 20})
	}
	r.AddSample(set, "original", Sample{Requests: 1000, Elapsed: time.Second, ServerCPU: time.Second, ClientCPU: time.Second, PeakBytes: 1 << 20})
	r.AddError(set, "zdbd", errors.New("ended"))
	r.Sum()
	return r
}

// The three forms of a report of servers under a load stay as they are.
func TestLoadGolden(t *testing.T) { golden(t, "load", loadSample()) }
