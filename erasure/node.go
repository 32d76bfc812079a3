package erasure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

const (
	readDepth   = 8 // requests in flight to one node
	writeDepth  = 4
	failsToDown = 3 // consecutive transport failures
	strikesOut  = 3 // slow or wrong answers in a row after which a node is not waited for

	refusedFor = 30 * time.Second // how long a node that refused a write comes last for new objects
)

// node is a member and what the pool knows of its health.
//
// A node is up or down. It goes down when a request times out, when it says that it
// is unavailable, when a probe fails, or after failsToDown other transport failures in a row; then it
// is asked nothing until a probe succeeds. A node that answers is up, whatever it
// answers.
type node struct {
	Member
	pool *Pool // for clock, timeout, log and keys; never its lock

	reads, writes chan struct{} // a slot for each request in flight
	wake          chan struct{} // tells the monitor that there is something new

	p95     atomic.Int64 // of reads, nanoseconds; 0 means not known
	strikes atomic.Int32

	// mu guards what follows. It is never held across a call to the node.
	mu           sync.Mutex
	up           bool
	gone         chan struct{} // closed when the node goes down
	fails        int
	lastErr      error
	lastErrAt    time.Time
	refusedUntil time.Time
	corrupt      uint64 // shards that did not verify
	readBytes    int64
	writeBytes   int64
	space        zdb.Space
	spaceKnown   bool
	latency      latencies

	// For the monitor.
	checked   bool
	lastCheck time.Time
	backoff   time.Duration
	kicked    bool          // somebody waits for a probe
	probed    chan struct{} // closed when a probe ends
}

func newNode(p *Pool, m Member) *node {
	return &node{
		Member: m,
		pool:   p,
		reads:  make(chan struct{}, readDepth),
		writes: make(chan struct{}, writeDepth),
		wake:   make(chan struct{}, 1),
		up:     true, // until it proves otherwise
		gone:   make(chan struct{}),
		probed: make(chan struct{}),
	}
}

func (n *node) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up
}

// downErr says that the node is not asked, and why.
func (n *node) downErr() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lastErr != nil {
		return fmt.Errorf("node %d: %w: %w", n.ID, ErrNodeDown, n.lastErr)
	}
	return fmt.Errorf("node %d: %w", n.ID, ErrNodeDown)
}

// call makes one request once a slot is free. It fails at once when the node is
// down, or goes down while it waits for the slot.
func (n *node) call(ctx context.Context, slots chan struct{}, request func(context.Context) error) error {
	n.mu.Lock()
	up, gone := n.up, n.gone
	n.mu.Unlock()
	if !up {
		return n.downErr()
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-gone:
		return n.downErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !n.isUp() {
		return n.downErr()
	}
	rctx, cancel := n.pool.clock.WithTimeout(ctx, n.pool.timeout)
	defer cancel()
	err := request(rctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // the caller's doing: says nothing about the node
	}
	n.observe(err, errors.Is(rctx.Err(), context.DeadlineExceeded))
	if err != nil {
		return fmt.Errorf("node %d: %w", n.ID, err)
	}
	return nil
}

func (n *node) get(ctx context.Context, key []byte) (value []byte, err error) {
	var took time.Duration
	err = n.call(ctx, n.reads, func(ctx context.Context) error {
		start := n.pool.clock.Now()
		var err error
		value, err = n.Node.Get(ctx, key)
		took = n.pool.clock.Now().Sub(start)
		return err
	})
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.readBytes += int64(len(value))
	n.backoff = 0
	n.latency.add(took)
	n.p95.Store(int64(n.latency.p95))
	n.mu.Unlock()
	return value, nil
}

// set writes a value. A broken connection is tried again, once: it may have been
// broken since long before.
func (n *node) set(ctx context.Context, key, value []byte) error {
	write := func(ctx context.Context) error { return n.Node.Set(ctx, key, value) }
	err := n.call(ctx, n.writes, write)
	if err != nil && !answered(err) && ctx.Err() == nil && n.isUp() {
		err = n.call(ctx, n.writes, write)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		n.writeBytes += int64(len(value))
		n.backoff, n.refusedUntil = 0, time.Time{}
	case refused(err):
		n.refusedUntil = n.pool.clock.Now().Add(refusedFor)
	}
	return err
}

func (n *node) del(ctx context.Context, key []byte) error {
	return n.call(ctx, n.writes, func(ctx context.Context) error { return n.Node.Del(ctx, key) })
}

// answered says whether err is an answer of a node that works. No error is one.
func answered(err error) bool {
	if err == nil {
		return true
	}
	for _, answer := range []error{
		zdb.ErrNotFound, zdb.ErrNoSpace, zdb.ErrReadOnly, zdb.ErrFrozen, zdb.ErrWorm, zdb.ErrCorrupt, zdb.ErrDisk,
		zdb.ErrKeyTooLarge, zdb.ErrKeyEmpty, zdb.ErrValueTooLarge, zdb.ErrNotSupported,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// refused says whether err means that the node takes no writes for now.
func refused(err error) bool {
	for _, answer := range []error{zdb.ErrNoSpace, zdb.ErrReadOnly, zdb.ErrFrozen, zdb.ErrWorm, zdb.ErrDisk, zdb.ErrAccessDenied} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// final says whether err means that the node is not there, so that trying again at
// once is of no use.
func final(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, zdb.ErrUnavailable) ||
		errors.Is(err, zdb.ErrClosed) || errors.As(err, &netErr) && netErr.Timeout()
}

// observe notes how a request went. One that fails for good, as by a timeout, takes
// the node down at once.
func (n *node) observe(err error, forGood bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil && !errors.Is(err, zdb.ErrNotFound) {
		n.lastErr, n.lastErrAt = err, n.pool.clock.Now()
	}
	if answered(err) {
		n.fails = 0
		if !n.up {
			n.up, n.gone = true, make(chan struct{})
			n.pool.log.Info("node is up", "node", n.ID, "url", n.Name)
		}
		return
	}
	n.fails++
	if n.up && (forGood || final(err) || n.fails >= failsToDown) {
		n.up = false
		n.backoff = max(n.backoff, minBackoff)
		n.lastCheck = n.pool.clock.Now()
		close(n.gone)
		n.pool.log.Warn("node is down", "node", n.ID, "url", n.Name, "error", err)
		n.poke()
	}
}

// strike notes an answer that came late or wrong, good one in time that verified.
func (n *node) strike() {
	if n.strikes.Load() < strikesOut {
		n.strikes.Add(1)
	}
}

func (n *node) good() { n.strikes.Store(0) }

// suspect says whether the node is not worth waiting for.
func (n *node) suspect() bool { return n.strikes.Load() >= strikesOut }

// jammed says whether it is not worth asking either: it would only be queued for.
func (n *node) jammed() bool { return n.suspect() && len(n.reads) == cap(n.reads) }

func (n *node) sawCorrupt(err error) {
	n.strike()
	n.mu.Lock()
	n.corrupt++
	n.lastErr, n.lastErrAt = err, n.pool.clock.Now()
	first := n.corrupt == 1
	n.mu.Unlock()
	level := slog.LevelDebug // the count is in Status; a lying node must not fill the log
	if first {
		level = slog.LevelWarn
	}
	n.pool.log.Log(n.pool.ctx, level, "node gave a corrupt shard", "node", n.ID, "url", n.Name, "error", err)
}

// latencies keeps the last reads of a node.
type latencies struct {
	ring  [64]time.Duration
	count int // ever added
	p95   time.Duration
}

// add notes one read. The percentile is worked out anew every few reads.
func (l *latencies) add(d time.Duration) {
	l.ring[l.count%len(l.ring)] = d
	l.count++
	if l.count%8 != 0 && l.count > 8 {
		return
	}
	n := min(l.count, len(l.ring))
	sorted := l.ring
	slices.Sort(sorted[:n])
	l.p95 = sorted[n*95/100]
}
