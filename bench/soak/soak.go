package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
	"github.com/qsfs/qsfs/bench/session"
)

// result is what is reported. The JSON object has "version" 1; fields are added without a
// new version, never changed or removed.
type result struct {
	Version     int              `json:"version"`
	Started     time.Time        `json:"started"`
	Host        report.Host      `json:"host"`
	Program     string           `json:"program"`
	Clients     int              `json:"clients"`
	Seed        uint64           `json:"seed"`
	Seconds     float64          `json:"seconds"`
	Requests    int64            `json:"requests"`
	Written     int64            `json:"written_bytes"`
	ServerCPU   float64          `json:"server_cpu_seconds"`
	MemoryBytes []int64          `json:"memory_bytes"` // resident, each second
	PeakBytes   int64            `json:"peak_memory_bytes"`
	Latencies   []report.Latency `json:"latencies"`
	Errors      []string         `json:"errors,omitempty"`
}

const (
	sampleEvery = time.Second
	maxErrors   = 20 // told; one is enough to fail
)

// soak runs the server and all clients, and takes the server away.
func soak(ctx context.Context, o options, stderr io.Writer) (r *result, err error) {
	work, err := os.MkdirTemp(o.dir, "qsfs-bench-soak-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	program, err := daemon.Ours(ctx, o.zdbd, work, o.zdbdArgs...)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, program, daemon.Options{Base: work, Network: o.network, Sync: o.sync})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r = &result{
		Version: 1, Started: time.Now(), Host: report.ThisHost(), Program: program.Version(ctx), Clients: o.clients, Seed: o.seed,
	}
	sh := &shared{
		network: d.Network, address: d.Address, pool: newPool(o.seed), maxValueBytes: o.maxValueBytes, keys: o.keys, latency: make([]report.Latencies, len(verbs)),
	}
	sh.left.Store(int64(o.writeMiB) << 20)
	spaces, err := makeSpaces(sh, o)
	if err != nil {
		return nil, err
	}
	var clients []*client
	for i := range o.clients {
		clients = append(clients, newClient(sh, i, spaces[i%len(spaces)], o.seed))
	}
	errs := r.watch(ctx, d, sh, clients, o.duration, stderr)
	if len(errs) == 0 {
		for _, sp := range spaces {
			if err := compareListing(sh, sp, clients); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, err := range errs[:min(len(errs), maxErrors)] {
		r.Errors = append(r.Errors, err.Error())
	}
	if len(errs) > 0 {
		fmt.Fprintf(stderr, "the server's log:\n%s\n", d.Log())
	}
	r.Written = sh.written.Load()
	for i := range verbs {
		if s := sh.latency[i].Summary(verbs[i].name); s.Count > 0 {
			r.Latencies = append(r.Latencies, s)
			r.Requests += s.Count
		}
	}
	return r, ctx.Err()
}

// makeSpaces makes the namespaces; the last o.sequential of them number their keys.
func makeSpaces(sh *shared, o options) (spaces []space, err error) {
	s, err := session.Open(sh.network, sh.address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ask := func(args ...string) error {
		var raw [][]byte
		for _, a := range args {
			raw = append(raw, []byte(a))
		}
		if err := s.Send(raw...); err != nil {
			return err
		}
		_, err := s.Expect('+')
		return err
	}
	for i := range o.namespaces {
		sp := space{fmt.Sprintf("soak%d", i), i >= o.namespaces-o.sequential}
		if err := ask("NSNEW", sp.name); err != nil {
			return nil, fmt.Errorf("NSNEW: %w", err)
		}
		if sp.sequential {
			if err := ask("NSSET", sp.name, "mode", "seq"); err != nil {
				return nil, fmt.Errorf("NSSET mode: %w", err)
			}
		}
		spaces = append(spaces, sp)
	}
	return spaces, nil
}

// watch runs the clients for d and looks at the server meanwhile.
func (r *result) watch(ctx context.Context, d *daemon.Daemon, sh *shared, clients []*client, duration time.Duration, stderr io.Writer) (errs []error) {
	before, err := d.Usage()
	if err != nil {
		return []error{err}
	}
	start := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		sh.stop.Store(true)
	}
	for _, c := range clients {
		wg.Go(func() {
			if err := c.run(ctx); err != nil {
				failed(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	end := time.NewTimer(duration)
	defer end.Stop()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-end.C:
			sh.stop.Store(true)
			r.Seconds = time.Since(start).Seconds()
		case <-tick.C:
		}
		u, err := d.Usage()
		if err != nil {
			failed(err)
			<-ended
			return errs
		}
		r.PeakBytes, r.ServerCPU = u.PeakBytes, (u.CPU - before.CPU).Seconds()
		r.MemoryBytes = append(r.MemoryBytes, u.MemoryBytes)
		fmt.Fprintf(stderr, "%4.0f s  %6d MiB written  server %4d MiB resident, %4d at most, %5.1f s CPU\n",
			time.Since(start).Seconds(), sh.written.Load()>>20, u.MemoryBytes>>20, u.PeakBytes>>20, r.ServerCPU)
	}
	if r.Seconds == 0 {
		r.Seconds = time.Since(start).Seconds()
	}
	return errs
}

// print writes the report for people.
func (r *result) print(w io.Writer) error {
	fmt.Fprintf(w, "%s; %s, %d CPUs, %.1f GiB memory\n", r.Host.System, r.Host.Processor, r.Host.CPUs, float64(r.Host.MemoryBytes)/(1<<30))
	fmt.Fprintf(w, "%s; %d clients, %.0f s, seed %d\n\n", r.Program, r.Clients, r.Seconds, r.Seed)
	fmt.Fprintf(w, "| verb | requests | p50 ms | p99 ms | p99.9 ms | max ms |\n|---|---:|---:|---:|---:|---:|\n")
	for _, s := range r.Latencies {
		fmt.Fprintf(w, "| %s | %d | %.2f | %.2f | %.2f | %.2f |\n", s.Verb, s.Count, s.P50, s.P99, s.P999, s.Max)
	}
	fmt.Fprintf(w, "\n%d requests, %d MiB written, server: %.1f s CPU, %d MiB resident at most\n", r.Requests, r.Written>>20, r.ServerCPU, r.PeakBytes>>20)
	for _, e := range r.Errors {
		fmt.Fprintf(w, "FAILED: %s\n", e)
	}
	return nil
}
