package report

import (
	"fmt"
	"slices"
	"time"
)

// Sample is one measurement of a server under a load: requests that were answered, and what
// both ends took for them.
type Sample struct {
	Requests             int64
	Elapsed              time.Duration
	ServerCPU, ClientCPU time.Duration
	PeakBytes            int64 // resident memory of the server at most, since its start
}

// PerSecond is the rate.
func (s Sample) PerSecond() float64 { return float64(s.Requests) / s.Elapsed.Seconds() }

// Load is what the samples of a result took. Where the CPU time of both ends together nears
// the processors there are, it is the machine that is measured.
type Load struct {
	Requests  int64   `json:"requests"` // of all samples, as the seconds are
	Seconds   float64 `json:"seconds"`
	ServerCPU float64 `json:"server_cpu_seconds"`
	ClientCPU float64 `json:"client_cpu_seconds"`
	PeakBytes int64   `json:"peak_memory_bytes"` // of the server, the most of all samples
}

// AddSample takes a measurement of a server under a load.
func (r *Report) AddSample(workload Workload, target string, s Sample) {
	r.Add(workload, target, s.PerSecond())
	result := r.result(workload, target)
	if result.Load == nil {
		result.Load = &Load{}
	}
	l := result.Load
	l.Requests += s.Requests
	l.Seconds += s.Elapsed.Seconds()
	l.ServerCPU += s.ServerCPU.Seconds()
	l.ClientCPU += s.ClientCPU.Seconds()
	l.PeakBytes = max(l.PeakBytes, s.PeakBytes)
}

// loadRows has a row a workload, because there are many: all targets next to each other.
func (r *Report) loadRows() [][]string {
	head := []string{"workload"}
	for i, t := range r.Targets {
		head = append(head, t.Name+"/s", "spread", "server µs", "client µs", "peak MiB")
		if i > 0 {
			head = append(head, "to "+r.Targets[0].Name)
		}
	}
	rows := [][]string{head}
	for _, w := range r.Workloads {
		row := []string{w.Name}
		for i, t := range r.Targets {
			n := slices.IndexFunc(r.Results, func(res Result) bool { return res.Workload == w.Name && res.Target == t.Name })
			cells := []string{"-", "-", "-", "-", "-", "-"}
			if n >= 0 && r.Results[n].Load != nil {
				cells = r.Results[n].loadCells()
			}
			if i == 0 {
				cells = cells[:5]
			}
			row = append(row, cells...)
		}
		rows = append(rows, row)
	}
	return rows
}

func (res *Result) loadCells() []string {
	perRequest := func(seconds float64) string { return number(seconds * 1e6 / float64(res.Load.Requests)) }
	return []string{
		number(res.Median),
		fmt.Sprintf("%.0f%%", (res.Max-res.Min)/res.Median*100),
		perRequest(res.Load.ServerCPU),
		perRequest(res.Load.ClientCPU),
		number(float64(res.Load.PeakBytes) / (1 << 20)),
		ratio(res.ToFirst),
	}
}
