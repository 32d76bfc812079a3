package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
	"github.com/qsfs/qsfs/bench/session"
)

// request is one of a load: what is asked for the i-th number, and what the answer must be.
type request struct {
	verb    string
	number  uint64
	version int // of the value that is stored, or must be found
}

// load is so many requests, over so many connections with so many in flight on each.
type load struct {
	count        uint64
	conns, depth int
	request      func(i uint64) request
	latencies    *report.Latencies // nil: not of interest
}

// run sends all requests and checks all replies. It ends early when ctx does.
func (l load) run(ctx context.Context, d *daemon.Daemon, m maker) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range l.conns {
		wg.Go(func() {
			if err := l.drive(ctx, d, m, &next); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// drive works on one connection.
func (l load) drive(ctx context.Context, d *daemon.Daemon, m maker, next *atomic.Uint64) (err error) {
	s, err := session.Open(d.Network, d.Address)
	if err != nil {
		return err
	}
	closed := context.AfterFunc(ctx, func() { s.Close() })
	defer func() {
		if closed() {
			err = errors.Join(err, s.Close())
		}
	}()
	c := &checker{s: s, maker: m}
	requests := make([]request, 0, l.depth)
	for {
		first := next.Add(uint64(l.depth)) - uint64(l.depth)
		requests = requests[:0]
		for i := first; i < min(first+uint64(l.depth), l.count); i++ {
			requests = append(requests, l.request(i))
		}
		if len(requests) == 0 {
			return nil
		}
		start := time.Now()
		for _, r := range requests {
			c.queue(r)
		}
		if err := s.Flush(); err != nil {
			return err
		}
		for _, r := range requests {
			if err := c.check(r); err != nil {
				return fmt.Errorf("%s of key number %d: %w", r.verb, r.number, err)
			}
		}
		if l.latencies != nil {
			l.latencies.Add(time.Since(start))
		}
	}
}

// checker sends requests and compares replies.
type checker struct {
	s *session.Session
	maker

	keyBuf, valueBuf, gotBuf []byte
}

func (c *checker) queue(r request) {
	c.keyBuf = c.key(c.keyBuf[:0], r.number)
	if r.verb == verbSet {
		c.valueBuf = c.value(c.valueBuf[:0], r.number, r.version)
		c.s.Queue([]byte(verbSet), c.keyBuf, c.valueBuf)
		return
	}
	c.s.Queue([]byte(r.verb), c.keyBuf)
}

const (
	verbSet = "SET"
	verbGet = "GET"
	verbDel = "DEL"
)

func (c *checker) check(r request) error {
	re, err := c.s.Reply()
	if err != nil {
		return err
	}
	var want []byte
	switch {
	case r.verb == verbDel:
		if re.Kind != '+' {
			return fmt.Errorf("%w: %c%s", session.ErrWrong, re.Kind, re.Text)
		}
		return nil
	case re.Kind != '$':
		return fmt.Errorf("%w: %c%s", session.ErrWrong, re.Kind, re.Text)
	case r.verb == verbSet:
		c.keyBuf = c.key(c.keyBuf[:0], r.number)
		want = c.keyBuf
	case r.version == 0:
		if re.N != -1 {
			return fmt.Errorf("%w: %d bytes of a key that is not there", session.ErrWrong, re.N)
		}
		return nil
	default:
		c.valueBuf = c.value(c.valueBuf[:0], r.number, r.version)
		want = c.valueBuf
	}
	if c.gotBuf, err = c.s.Rest(c.gotBuf[:0], re, int64(len(want))); err != nil {
		return err
	}
	if !bytes.Equal(c.gotBuf, want) {
		return fmt.Errorf("%w: %d bytes, not those of version %d", session.ErrWrong, len(c.gotBuf), r.version)
	}
	return nil
}
