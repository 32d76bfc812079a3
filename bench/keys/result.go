package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/report"
)

// result is what is reported. The JSON object has "version" 1; fields are added without a
// new version, never changed or removed.
type result struct {
	Version     int              `json:"version"`
	Started     time.Time        `json:"started"`
	Host        report.Host      `json:"host"`
	Program     string           `json:"program"`
	Keys        uint64           `json:"keys"`
	ValueBytes  int              `json:"value_bytes"`
	MemoryBytes int64            `json:"memory_limit_bytes"` // --memory
	Sync        string           `json:"sync"`
	Seed        uint64           `json:"seed"`
	Connections int              `json:"connections"`
	Depth       int              `json:"depth"` // requests in flight on each
	Phases      []phase          `json:"phases"`
	Latencies   []report.Latency `json:"latencies"`
	Disk        []disk           `json:"disk"`
	Restarts    []restart        `json:"restarts"`
	Memory      []memory         `json:"memory"`            // each second
	PeakBytes   int64            `json:"peak_memory_bytes"` // of all processes of the server
	Completed   bool             `json:"completed"`
	Errors      []string         `json:"errors,omitempty"`
}

// phase is one kind of request over many keys.
type phase struct {
	Name string `json:"name"`
	report.Load
	PerSecond float64 `json:"per_second"`
}

// disk is what is stored after a phase.
type disk struct {
	After      string `json:"after"`
	Keys       int64  `json:"keys"` // live
	IndexBytes int64  `json:"index_bytes"`
	DataBytes  int64  `json:"data_bytes"`
}

func (d *disk) perKey(n int64) float64 { return float64(n) / float64(d.Keys) }

// restart is one end and start of the server.
type restart struct {
	How           string  `json:"how"`
	EndSeconds    float64 `json:"end_seconds"`
	ReadySeconds  float64 `json:"ready_seconds"`  // from the start of the process to its first connection
	AnswerSeconds float64 `json:"answer_seconds"` // from the start of the process to its first answer
	ServerCPU     float64 `json:"server_cpu_seconds"`
	PeakBytes     int64   `json:"peak_memory_bytes"` // until then
}

// memory is the server's at a moment.
type memory struct {
	Phase         string  `json:"phase"`
	Seconds       float64 `json:"seconds"` // since the start of the run
	ResidentBytes int64   `json:"resident_bytes"`
	OwnBytes      int64   `json:"own_bytes"` // without pages of files
}

const mib = 1 << 20

// print writes the report for people, as markdown.
func (r *result) print(w io.Writer) error {
	fmt.Fprintf(w, "%s; %s, %d CPUs, %.1f GiB memory\n\n", r.Host.System, r.Host.Processor, r.Host.CPUs, float64(r.Host.MemoryBytes)/(1<<30))
	fmt.Fprintf(w, "%s --memory %dMiB --sync %s; %d keys with values of %d bytes; %d connections with %d requests in flight; seed %d; started %s\n",
		r.Program, r.MemoryBytes/mib, r.Sync, r.Keys, r.ValueBytes, r.Connections, r.Depth, r.Seed, r.Started.UTC().Format(time.RFC3339))
	table := func(head string, rows int, row func(i int)) {
		if rows == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s\n", head)
		for i := range rows {
			row(i)
		}
	}
	table("| phase | requests | seconds | /s | server µs | client µs | peak MiB |\n|---|---:|---:|---:|---:|---:|---:|", len(r.Phases), func(i int) {
		p := r.Phases[i]
		perRequest := 1e6 / float64(p.Requests)
		fmt.Fprintf(w, "| %s | %d | %.1f | %.0f | %.1f | %.1f | %d |\n", p.Name, p.Requests, p.Seconds, p.PerSecond,
			p.ServerCPU*perRequest, p.ClientCPU*perRequest, p.PeakBytes/mib)
	})
	table("| latency | requests | p50 ms | p99 ms | p99.9 ms | max ms |\n|---|---:|---:|---:|---:|---:|", len(r.Latencies), func(i int) {
		l := r.Latencies[i]
		fmt.Fprintf(w, "| %s | %d | %.3f | %.3f | %.3f | %.3f |\n", l.Verb, l.Count, l.P50, l.P99, l.P999, l.Max)
	})
	table("| on disk after | keys | index MiB | index bytes/key | data MiB | data bytes/key |\n|---|---:|---:|---:|---:|---:|", len(r.Disk), func(i int) {
		d := r.Disk[i]
		fmt.Fprintf(w, "| %s | %d | %d | %.1f | %d | %.1f |\n", d.After, d.Keys, d.IndexBytes/mib, d.perKey(d.IndexBytes), d.DataBytes/mib, d.perKey(d.DataBytes))
	})
	table("| restart after | ended s | ready s | first answer s | server CPU s | peak MiB |\n|---|---:|---:|---:|---:|---:|", len(r.Restarts), func(i int) {
		t := r.Restarts[i]
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %.2f | %d |\n", t.How, t.EndSeconds, t.ReadySeconds, t.AnswerSeconds, t.ServerCPU, t.PeakBytes/mib)
	})
	percent := float64(r.PeakBytes) / float64(r.MemoryBytes) * 100
	fmt.Fprintf(w, "\nmemory: %d MiB resident at most, %.0f%% of --memory\n", r.PeakBytes/mib, percent)
	if !r.Completed {
		fmt.Fprintln(w, "ENDED before its end")
	}
	for _, e := range r.Errors {
		fmt.Fprintf(w, "FAILED: %s\n", e)
	}
	return nil
}

// report prints the result and says whether it is good.
func (o *options) report(r *result, w io.Writer) error {
	if limit := int64(o.memoryMiB) * mib * int64(o.maxMemoryPercent) / 100; limit > 0 && r.PeakBytes > limit {
		r.Errors = append(r.Errors, fmt.Sprintf("the server took %d MiB of memory, more than %d%% of --memory", r.PeakBytes/mib, o.maxMemoryPercent))
	}
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else if err := r.print(w); err != nil {
		return err
	}
	if len(r.Errors) > 0 {
		return fmt.Errorf("%w: %s", command.ErrFailed, r.Errors[0])
	}
	return nil
}
