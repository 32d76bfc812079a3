package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
)

// compare measures and reports; what it made on disk it takes away.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	work, err := os.MkdirTemp(o.dir, "qsfs-bench-nodes-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	programs, err := o.programs(ctx, work, stderr)
	if err != nil {
		return err
	}
	cells := o.choices.cells()
	r := newReport(ctx, o, programs, cells)
	// A connection is a thread that mostly waits in the kernel, and no thread waits for another.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(slices.Max(o.choices.conns) + 2))
	roundsErr := rounds(ctx, work, o, programs, cells, r, stderr)
	r.Completed = roundsErr == nil
	r.Sum()
	return errors.Join(roundsErr, o.print(r, stdout))
}

// programs are the original, if it is there, and ours.
func (o *options) programs(ctx context.Context, work string, stderr io.Writer) (programs []daemon.Program, err error) {
	if o.original != "" {
		p, err := daemon.Original(o.original, o.originalArgs...)
		if err != nil {
			return nil, err
		}
		programs = append(programs, p)
	} else {
		fmt.Fprintf(stderr, "neither --original nor %s is set: only ours is measured\n", daemon.OriginalVariable)
	}
	p, err := daemon.Ours(ctx, o.zdbd, work, o.zdbdArgs...)
	return append(programs, p), err
}

func newReport(ctx context.Context, o options, programs []daemon.Program, cells []cell) *report.Report {
	r := &report.Report{
		Started: time.Now(),
		Host:    report.ThisHost(),
		Settings: report.Settings{
			Rounds: o.rounds, Data: "random", Seed: o.limits.seed, LoadBytes: o.limits.bytes, LoadSeconds: o.limits.duration.Seconds(),
		},
	}
	for _, p := range programs {
		r.Targets = append(r.Targets, report.Target{Name: p.Name, Details: p.Version(ctx)})
	}
	for _, c := range cells {
		r.Workloads = append(r.Workloads, c.workload())
	}
	return r
}

// rounds gives an error only when the run ends early; a measurement that fails is in the report.
func rounds(ctx context.Context, work string, o options, programs []daemon.Program, cells []cell, r *report.Report, stderr io.Writer) error {
	for round := range o.rounds {
		for _, c := range cells {
			// Each round another program is first, so that none always comes after the same one.
			for i := range programs {
				p := programs[(i+round)%len(programs)]
				debug.FreeOSMemory() // of the cell before; while one is measured nothing is allocated
				s, err := measure(ctx, work, p, c, o.limits)
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil:
					fmt.Fprintf(stderr, "round %d  %-28s %-9s failed: %v\n", round+1, c.name(), p.Name, err)
					r.AddError(c.workload(), p.Name, err)
				default:
					fmt.Fprintf(stderr, "round %d  %-28s %-9s %9.0f/s\n", round+1, c.name(), p.Name, s.PerSecond())
					r.AddSample(c.workload(), p.Name, s)
				}
			}
		}
	}
	return nil
}

func (o *options) print(r *report.Report, stdout io.Writer) error {
	if o.markdown != "" {
		f, err := os.Create(o.markdown)
		if err != nil {
			return err
		}
		if err := errors.Join(r.WriteMarkdown(f), f.Close()); err != nil {
			return err
		}
	}
	show := r.WriteTable
	if o.json {
		show = r.WriteJSON
	}
	if err := show(stdout); err != nil {
		return err
	}
	if n := r.Failed(); n > 0 {
		return fmt.Errorf("%w: %d", command.ErrFailed, n)
	}
	return nil
}
