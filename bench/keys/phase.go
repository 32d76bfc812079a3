package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
)

const (
	sampleEvery = time.Second
	tellEvery   = 10 // samples
)

// phase does something, and looks at the server's memory meanwhile.
func (run *runner) phase(ctx context.Context, name string, requests uint64, do func(ctx context.Context) error) error {
	before, err := run.d.Usage()
	if err != nil {
		return err
	}
	own, err := daemon.OwnCPU()
	if err != nil {
		return err
	}
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case err = <-done:
			elapsed := time.Since(start)
			if err != nil {
				return fmt.Errorf("%s: %w", name, errors.Join(err, run.d.Err()))
			}
			u, err := run.sample(name, true)
			if err != nil {
				return err
			}
			ownAfter, err := daemon.OwnCPU()
			if err != nil {
				return err
			}
			p := phase{Name: name, Load: report.Load{
				Requests: int64(requests), Seconds: elapsed.Seconds(), ServerCPU: (u.CPU - before.CPU).Seconds(),
				ClientCPU: (ownAfter - own).Seconds(), PeakBytes: u.PeakBytes,
			}}
			p.PerSecond = float64(requests) / p.Seconds
			run.r.Phases = append(run.r.Phases, p)
			fmt.Fprintf(run.stderr, "%s: %d in %.1f s, %.0f/s\n", name, requests, p.Seconds, p.PerSecond)
			return nil
		case <-tick.C:
			// An error means that the server has ended, which ends do as well.
			_, _ = run.sample(name, n%tellEvery == 0)
		}
	}
}

// sample takes the server's memory.
func (run *runner) sample(name string, tell bool) (daemon.Usage, error) {
	u, err := run.d.Usage()
	if err != nil {
		return u, err
	}
	at := time.Since(run.start).Seconds()
	run.r.Memory = append(run.r.Memory, memory{Phase: name, Seconds: at, ResidentBytes: u.MemoryBytes, OwnBytes: u.OwnBytes})
	run.r.PeakBytes = max(run.r.PeakBytes, u.PeakBytes)
	if tell {
		fmt.Fprintf(run.stderr, "%4.0f s  %-36s server %4d MiB resident, %4d of them its own, %4d at most\n",
			at, name, u.MemoryBytes>>20, u.OwnBytes>>20, u.PeakBytes>>20)
	}
	return u, nil
}

// measureDisk counts the keys and what is stored for each.
func (run *runner) measureDisk(ctx context.Context, after string) error {
	if err := run.count(ctx); err != nil {
		return fmt.Errorf("after %s: %w", after, err)
	}
	k := disk{After: after, Keys: int64(run.live())}
	err := filepath.WalkDir(run.d.DataDir(), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes files as it works
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == "index" {
			k.IndexBytes += info.Size()
		} else if filepath.Ext(path) == ".qzd" {
			k.DataBytes += info.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	run.r.Disk = append(run.r.Disk, k)
	fmt.Fprintf(run.stderr, "after %s: %.1f bytes of index and %.1f of data a key\n", after, k.perKey(k.IndexBytes), k.perKey(k.DataBytes))
	return nil
}
