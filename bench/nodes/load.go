package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
)

// limits bound a measurement.
type limits struct {
	bytes    int64         // of values, written by SET or stored for GET
	duration time.Duration // of what is measured
	timeout  time.Duration // of a measurement with all that belongs to it
	seed     uint64
}

const (
	// warmUpShare of a measurement goes ahead of it.
	warmUpShare = 5
	// maxKeys bounds what a GET cell stores.
	maxKeys = 1 << 14
	// prepareDepth is how many requests are in flight while a GET cell is prepared.
	prepareDepth = 64
)

// measure takes one sample of a cell on a program that it starts and takes away.
func measure(ctx context.Context, base string, p daemon.Program, c cell, l limits) (s report.Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout) // a server that hangs ends its measurement, not the run
	defer cancel()
	// What GET reads is stored without sync, or it would take long where each SET has its own.
	start := c.sync
	if c.verb == verbGet {
		start = daemon.SyncNone
	}
	d, err := daemon.Start(ctx, p, daemon.Options{Base: base, Network: c.network, Sync: start})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	k := &keys{}
	requests := max(l.bytes/int64(c.valueBytes), int64(c.conns*c.depth))
	if c.verb == verbGet {
		if k.count, err = prepare(ctx, d, c, l); err != nil {
			return s, fmt.Errorf("prepare: %w", err)
		}
		requests = math.MaxInt64 // bounded by time only: nothing is stored
	}
	cs, err := connect(d, c, l.seed)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, cs.close()) }()
	if _, _, err := cs.run(ctx, k, max(requests/warmUpShare, 1), l.duration/warmUpShare); err != nil {
		return s, fmt.Errorf("warm-up: %w", err)
	}
	before, own, err := usage(d)
	if err != nil {
		return s, err
	}
	answered, elapsed, err := cs.run(ctx, k, requests, l.duration)
	if err != nil {
		return s, err
	}
	after, ownAfter, err := usage(d)
	return report.Sample{
		Requests: answered, Elapsed: elapsed, ServerCPU: after.CPU - before.CPU, ClientCPU: ownAfter - own, PeakBytes: after.PeakBytes,
	}, err
}

// prepare stores the values of a GET cell, reads each once, and tells how many there are.
func prepare(ctx context.Context, d *daemon.Daemon, c cell, l limits) (count uint64, err error) {
	count = uint64(max(min(l.bytes/int64(c.valueBytes), maxKeys), 1))
	count = 1 << (bits.Len64(count) - 1)
	sync := c.sync
	c.conns, c.depth = 1, max(1, min(prepareDepth, sendBytes/c.valueBytes))
	for _, verb := range []string{verbSet, verbGet} {
		if verb == verbGet && sync != daemon.SyncNone {
			if err := d.Restart(ctx, sync); err != nil {
				return 0, err
			}
		}
		c.verb = verb
		cs, err := connect(d, c, l.seed)
		if err != nil {
			return 0, err
		}
		_, _, err = cs.run(ctx, &keys{}, int64(count), time.Hour)
		if err = errors.Join(err, cs.close()); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// usage is what the server and this process have taken so far.
func usage(d *daemon.Daemon) (daemon.Usage, time.Duration, error) {
	u, err := d.Usage()
	if err != nil {
		return u, 0, err
	}
	own, err := daemon.OwnCPU()
	return u, own, err
}

// clients are the connections of a cell.
type clients []*client

func connect(d *daemon.Daemon, c cell, seed uint64) (cs clients, err error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for range c.conns {
		s, err := dial(d.Network, d.Address)
		if err != nil {
			return nil, errors.Join(err, cs.close())
		}
		cs = append(cs, newClient(s, c, rng))
	}
	return cs, nil
}

func (cs clients) close() (err error) {
	for _, c := range cs {
		err = errors.Join(err, c.sock.close())
	}
	return err
}

func (cs clients) hangUp() {
	for _, c := range cs {
		c.sock.hangUp()
	}
}

// run sends requests over all connections, so many or so long, and waits for all replies.
func (cs clients) run(ctx context.Context, k *keys, requests int64, d time.Duration) (answered int64, elapsed time.Duration, err error) {
	k.left.Store(requests)
	k.stop.Store(false)
	defer context.AfterFunc(ctx, cs.hangUp)()
	start := time.Now()
	defer time.AfterFunc(d, func() { k.stop.Store(true) }).Stop()
	counts, errs := make([]int64, len(cs)), make([]error, len(cs))
	var wg sync.WaitGroup
	for i, c := range cs {
		wg.Go(func() {
			if counts[i], errs[i] = c.run(k); errs[i] != nil {
				k.stop.Store(true)
			}
		})
	}
	wg.Wait()
	elapsed = time.Since(start)
	for _, n := range counts {
		answered += n
	}
	if ctx.Err() != nil {
		return answered, elapsed, ctx.Err()
	}
	return answered, elapsed, errors.Join(errs...)
}
