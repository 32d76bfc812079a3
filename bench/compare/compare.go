package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/report"
	"github.com/qsfs/qsfs/bench/target"
	"github.com/qsfs/qsfs/bench/workload"
)

const (
	dropCachesFile = "/proc/sys/vm/drop_caches"

	// letGo is how long an interrupted measurement may take to notice; then its daemon is stopped under it.
	letGo = 3 * time.Second
)

// compare measures and reports. Whatever happens, the targets are taken away.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	canDrop, err := o.dropCaches(stderr)
	if err != nil {
		return err
	}
	if canDrop {
		o.settings.DropCaches = func() error { return os.WriteFile(dropCachesFile, []byte("3"), 0) }
	}
	workloads, err := workload.All(o.settings)
	if err != nil {
		return err
	}
	if len(o.only) > 0 {
		workloads = slices.DeleteFunc(workloads, func(w workload.Workload) bool { return !slices.Contains(o.only, w.Name) })
	}
	var targets []*target.Target
	defer func() {
		fmt.Fprintln(stderr, "taking the targets away")
		for _, t := range slices.Backward(targets) {
			err = errors.Join(err, t.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := o.makeTargets(ctx, &targets, stderr); err != nil {
		return err
	}
	r := newReport(o, canDrop, workloads, targets)
	m := &measuring{o: o, report: r, stderr: stderr}
	measureErr := m.rounds(ctx, workloads, targets)
	r.Completed = measureErr == nil
	r.Sum()
	return errors.Join(measureErr, o.print(r, stdout))
}

func (o *options) dropCaches(stderr io.Writer) (bool, error) {
	if o.cachesOpt == "no" {
		return false, nil
	}
	if err := unix.Access(dropCachesFile, unix.W_OK); err != nil {
		if o.cachesOpt == "yes" {
			return false, fmt.Errorf("drop caches: %s: %w", dropCachesFile, err)
		}
		fmt.Fprintln(stderr, "not allowed to drop the page cache: reads may come from memory")
		return false, nil
	}
	return true, nil
}

// makeTargets adds to targets as it goes, so that those made can be taken away when one fails.
func (o *options) makeTargets(ctx context.Context, targets *[]*target.Target, stderr io.Writer) error {
	byDefault := !o.plain && !o.gocryptfs && o.qsfs == "" && len(o.targets) == 0
	add := func(t *target.Target, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "target %s: %s\n", t.Name, t.Details)
		*targets = append(*targets, t)
		return nil
	}
	if o.plain || byDefault {
		if err := add(target.Plain(o.dir)); err != nil {
			return err
		}
	}
	for _, t := range o.targets {
		name, dir, _ := strings.Cut(t, "=")
		if err := add(target.Existing(name, dir)); err != nil {
			return err
		}
	}
	if o.gocryptfs || byDefault {
		err := add(target.Gocryptfs(ctx, o.dir))
		if byDefault && errors.Is(err, target.ErrNotInstalled) {
			fmt.Fprintln(stderr, "gocryptfs is not installed: left out")
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if o.qsfs != "" {
		return add(target.Qsfs(ctx, o.dir, target.QsfsOptions{Program: o.qsfs, Args: o.qsfsArgs}))
	}
	return nil
}

func newReport(o options, canDrop bool, workloads []workload.Workload, targets []*target.Target) *report.Report {
	r := &report.Report{
		Started: time.Now(),
		Host:    report.ThisHost(),
		Settings: report.Settings{
			Rounds: o.rounds, SizeMiB: o.settings.SizeMiB, Files: o.settings.Files, Fsyncs: o.settings.Fsyncs,
			Data: o.data, Seed: o.settings.Seed, CachesDropped: canDrop,
		},
	}
	for _, t := range targets {
		r.Targets = append(r.Targets, report.Target{Name: t.Name, Details: t.Details})
	}
	for _, w := range workloads {
		r.Workloads = append(r.Workloads, report.Workload{Name: w.Name, Unit: w.Unit, Text: w.Text})
	}
	return r
}

// measuring is one run of rounds.
type measuring struct {
	o      options
	report *report.Report
	stderr io.Writer
}

// outcome is what a measurement found out. It is handed over, not written to the report:
// a measurement that was left behind must not touch it any more.
type outcome struct {
	sample  workload.Sample
	settled time.Duration
	err     error
}

// rounds gives an error only when the run ends early; a measurement that fails is in the report.
func (m *measuring) rounds(ctx context.Context, workloads []workload.Workload, targets []*target.Target) error {
	for round := range m.o.rounds {
		for _, w := range workloads {
			// Each round another target is first, so that none always comes after the same one.
			for i := range targets {
				t := targets[(i+round)%len(targets)]
				found, err := interruptible(ctx, func() outcome { return m.measure(ctx, w, t) })
				if err != nil {
					return err
				}
				m.note(round, w, t, found)
			}
		}
	}
	return ctx.Err()
}

func (m *measuring) measure(ctx context.Context, w workload.Workload, t *target.Target) (found outcome) {
	found.err = w.Prepare(ctx, t.Dir)
	if found.err == nil {
		found.err = m.settle(ctx, t)
	}
	if found.err == nil {
		found.sample, found.err = w.Run(ctx, t.Dir)
	}
	if found.err == nil {
		start := time.Now()
		found.err = m.settle(ctx, t)
		found.settled = time.Since(start)
	}
	return found
}

func (m *measuring) note(round int, w workload.Workload, t *target.Target, found outcome) {
	as := report.Workload{Name: w.Name, Unit: w.Unit, Text: w.Text}
	if found.err != nil {
		fmt.Fprintf(m.stderr, "round %d  %-12s %-12s failed: %v\n", round+1, w.Name, t.Name, found.err)
		m.report.AddError(as, t.Name, found.err)
		return
	}
	rate := found.sample.PerSecond()
	fmt.Fprintf(m.stderr, "round %d  %-12s %-12s %8.1f %s\n", round+1, w.Name, t.Name, rate, w.Unit)
	m.report.Add(as, t.Name, rate)
	if t.Settle != nil && m.o.settle {
		m.report.AddSettle(as, t.Name, found.settled)
	}
}

// settle waits until nothing that was written before is still on its way.
func (m *measuring) settle(ctx context.Context, t *target.Target) error {
	if t.Settle != nil && m.o.settle {
		if err := t.Settle(ctx); err != nil {
			return err
		}
	}
	unix.Sync()
	return nil
}

// interruptible runs f and leaves it behind when ctx ends and f does not notice: a file
// system that hangs holds its callers until its daemon is gone.
func interruptible(ctx context.Context, f func() outcome) (outcome, error) {
	done := make(chan outcome, 1)
	go func() { done <- f() }()
	select {
	case found := <-done:
		return found, ctx.Err()
	case <-ctx.Done():
	}
	timer := time.NewTimer(letGo)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return outcome{}, ctx.Err()
}

func (o *options) print(r *report.Report, stdout io.Writer) error {
	if o.markdown != "" {
		if err := writeTo(o.markdown, r.WriteMarkdown); err != nil {
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

func writeTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
