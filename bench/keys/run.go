package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
	"github.com/qsfs/qsfs/bench/session"
)

// runner is a run under way.
type runner struct {
	o options
	state
	d      *daemon.Daemon
	r      *result
	stderr io.Writer
	start  time.Time
}

// hold does everything. A server that fails is in the result; an error is of another kind,
// and where the result is given with it, it is what was reached.
func hold(ctx context.Context, o options, stderr io.Writer) (r *result, err error) {
	work, err := os.MkdirTemp(o.dir, "qsfs-bench-keys-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	args := append([]string{"--memory", fmt.Sprintf("%dMiB", o.memoryMiB)}, o.zdbdArgs...)
	program, err := daemon.Ours(ctx, o.zdbd, work, args...)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, program, daemon.Options{Base: work, Network: daemon.Unix, Sync: o.sync})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	run := &runner{
		o: o, state: state{maker: maker{mix(o.seed), o.valueBytes}, keys: o.keys}, d: d, stderr: stderr, start: time.Now(),
		r: &result{
			Version: 1, Started: time.Now(), Host: report.ThisHost(), Program: program.Version(ctx), Keys: o.keys, ValueBytes: o.valueBytes,
			MemoryBytes: int64(o.memoryMiB) * mib, Sync: o.sync, Seed: o.seed, Connections: o.conns, Depth: o.depth,
		},
	}
	if err := run.all(ctx); err != nil {
		if ctx.Err() != nil {
			return run.r, ctx.Err()
		}
		run.r.Errors = append(run.r.Errors, err.Error())
		fmt.Fprintf(stderr, "the server's log:\n%s\n", d.Log())
		return run.r, nil
	}
	run.r.Completed = true
	return run.r, nil
}

func (run *runner) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		run.write, run.read, run.stopAndStart, run.killAndStart,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (run *runner) write(ctx context.Context) error {
	if err := run.load(ctx, "load", run.keys, func(i uint64) request { return request{verbSet, i, 1} }); err != nil {
		return err
	}
	if err := run.measureDisk(ctx, "load"); err != nil {
		return err
	}
	in := run.in(overwrite)
	if err := run.load(ctx, "overwrite", in, func(i uint64) request {
		return request{verbSet, shuffled(i, in)*groupKeys + overwrite, 2}
	}); err != nil {
		return err
	}
	run.overwritten = true
	out := run.in(remove)
	if err := run.load(ctx, "delete", out, func(i uint64) request {
		return request{verb: verbDel, number: shuffled(i, out)*groupKeys + remove}
	}); err != nil {
		return err
	}
	run.deleted = true
	return run.measureDisk(ctx, "delete")
}

func (run *runner) getPresent(i uint64) request {
	number := run.present(i)
	return request{verbGet, number, run.version(number)}
}

func (run *runner) getAbsent(i uint64) request { return request{verb: verbGet, number: run.absent(i)} }

func (run *runner) read(ctx context.Context) error {
	if err := run.load(ctx, "get present", run.o.gets, run.getPresent); err != nil {
		return err
	}
	if err := run.load(ctx, "get absent", run.o.gets, run.getAbsent); err != nil {
		return err
	}
	for _, single := range []struct {
		name    string
		request func(i uint64) request
	}{{"get present, one at a time", run.getPresent}, {"get absent, one at a time", run.getAbsent}} {
		count := max(run.o.gets/10, 1)
		l := load{count: count, conns: 1, depth: 1, latencies: &report.Latencies{}, request: func(i uint64) request {
			return single.request(i + run.o.gets) // not those that were read just now
		}}
		if err := run.phase(ctx, single.name, count, func(ctx context.Context) error { return l.run(ctx, run.d, run.maker) }); err != nil {
			return err
		}
		run.r.Latencies = append(run.r.Latencies, l.latencies.Summary(single.name))
	}
	return run.phase(ctx, "scan", run.live(), run.scan)
}

// stopAndStart ends the server in order and starts it again.
func (run *runner) stopAndStart(ctx context.Context) error {
	return run.restart(ctx, "SIGTERM", run.d.Stop)
}

// killAndStart kills the server behind its last write and starts it again.
func (run *runner) killAndStart(ctx context.Context) error {
	count := run.lates()
	late := func(i uint64) uint64 { return shuffled(i, count)*groupKeys + lateUpdate }
	if err := run.load(ctx, "overwrite, then kill -9", count, func(i uint64) request { return request{verbSet, late(i), 2} }); err != nil {
		return err
	}
	run.late = true
	if err := run.restart(ctx, "kill -9", run.d.Kill); err != nil {
		return err
	}
	if err := run.load(ctx, "get what was written before kill -9", count, func(i uint64) request { return request{verbGet, late(i), 2} }); err != nil {
		return err
	}
	if err := run.load(ctx, "get present, after kill -9", run.o.gets, run.getPresent); err != nil {
		return err
	}
	return run.measureDisk(ctx, "kill -9")
}

// load sends requests over all connections and counts the keys afterwards.
func (run *runner) load(ctx context.Context, name string, count uint64, request func(i uint64) request) error {
	l := load{count: count, conns: run.o.conns, depth: run.o.depth, request: request}
	return run.phase(ctx, name, count, func(ctx context.Context) error { return l.run(ctx, run.d, run.maker) })
}

// restart ends the server and measures how long it takes to be there again. A store is
// opened when it is first asked for, so the first answer includes that.
func (run *runner) restart(ctx context.Context, how string, end func() error) error {
	re := restart{How: how}
	begin := time.Now()
	if err := end(); err != nil {
		return err
	}
	re.EndSeconds = time.Since(begin).Seconds()
	begin = time.Now()
	if err := run.d.Resume(ctx); err != nil {
		return err
	}
	re.ReadySeconds = time.Since(begin).Seconds()
	first := load{count: 1, conns: 1, depth: 1, request: run.getPresent}
	if err := first.run(ctx, run.d, run.maker); err != nil {
		return fmt.Errorf("first GET after %s: %w", how, err)
	}
	re.AnswerSeconds = time.Since(begin).Seconds()
	u, err := run.d.Usage()
	if err != nil {
		return err
	}
	re.ServerCPU, re.PeakBytes = u.CPU.Seconds(), u.PeakBytes
	run.r.Restarts = append(run.r.Restarts, re)
	run.r.PeakBytes = max(run.r.PeakBytes, u.PeakBytes)
	fmt.Fprintf(run.stderr, "%s: ended in %.2f s, ready after %.2f s, first answer after %.2f s\n", how, re.EndSeconds, re.ReadySeconds, re.AnswerSeconds)
	return run.count(ctx)
}

// ask does something on a connection of its own.
func (run *runner) ask(ctx context.Context, do func(s *session.Session) error) (err error) {
	s, err := session.Open(run.d.Network, run.d.Address)
	if err != nil {
		return err
	}
	closed := context.AfterFunc(ctx, func() { s.Close() })
	defer func() {
		if closed() {
			err = errors.Join(err, s.Close())
		}
	}()
	return do(s)
}

// count compares the number of keys with what it must be.
func (run *runner) count(ctx context.Context) error {
	return run.ask(ctx, func(s *session.Session) error {
		if err := s.Send([]byte("DBSIZE")); err != nil {
			return err
		}
		re, err := s.Expect(':')
		if err == nil && re.N != int64(run.live()) {
			err = fmt.Errorf("DBSIZE: %w: %d keys instead of %d", session.ErrWrong, re.N, run.live())
		}
		return err
	})
}

// scan lists all keys: each that is there, once.
func (run *runner) scan(ctx context.Context) error {
	return run.ask(ctx, func(s *session.Session) error {
		seen, listed := make([]uint64, run.keys/64+1), uint64(0)
		each := func(key []byte, valueBytes int64) error {
			number, ours := run.number(key)
			if !ours || run.version(number) == 0 || valueBytes != int64(run.valueBytes) {
				return fmt.Errorf("scan: %w: %x with %d bytes is listed", session.ErrWrong, key, valueBytes)
			}
			if seen[number/64]>>(number%64)&1 != 0 {
				return fmt.Errorf("scan: %w: key number %d is listed twice", session.ErrWrong, number)
			}
			seen[number/64] |= 1 << (number % 64)
			listed++
			return nil
		}
		for after := []byte(nil); ; {
			next, err := s.Page(after, each)
			if errors.Is(err, session.ErrNoMore) {
				break
			}
			if err != nil {
				return err
			}
			after = next
		}
		if listed != run.live() {
			return fmt.Errorf("scan: %w: %d keys are listed, %d are stored", session.ErrWrong, listed, run.live())
		}
		return nil
	})
}
