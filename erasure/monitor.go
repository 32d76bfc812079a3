package erasure

import (
	"context"
	"errors"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

const (
	heartbeat  = 30 * time.Second // between checks of a node that is up
	minBackoff = time.Second      // between probes of one that is down, doubling up to
	maxBackoff = 10 * time.Second
	kickRest   = time.Second // a probe younger than this is not repeated on demand
)

// monitor checks the node now and then until ctx ends: a node that is up for its
// space, one that is down for signs of life.
func (n *node) monitor(ctx context.Context) {
	for ctx.Err() == nil {
		if due := n.dueIn(); due > 0 {
			fired, stop := n.pool.clock.NewTimer(due)
			select {
			case <-ctx.Done():
				stop()
				return
			case <-n.wake:
				stop()
			case <-fired:
			}
			continue // what woke us may have changed the time
		}
		n.check(ctx)
	}
}

// dueIn returns the time until the next check.
func (n *node) dueIn() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.pool.clock.Now()
	switch {
	case !n.checked || n.kicked:
		return 0
	case !n.up:
		return n.lastCheck.Add(n.backoff).Sub(now)
	case now.Before(n.refusedUntil):
		return n.lastCheck.Add(heartbeat / 6).Sub(now) // it may have space again soon
	default:
		return n.lastCheck.Add(heartbeat).Sub(now)
	}
}

// check probes the node and asks for its space.
func (n *node) check(ctx context.Context) {
	rctx, cancel := n.pool.clock.WithTimeout(ctx, n.pool.timeout)
	defer cancel()
	err := n.ping(rctx)
	if !answered(err) && !final(err) && rctx.Err() == nil {
		err = n.ping(rctx) // the connection may have been broken since long before
	}
	if ctx.Err() == nil {
		n.observe(err, true)
	}
	var space zdb.Space
	spacer, hasSpace := n.Node.(Spacer)
	if hasSpace = hasSpace && err == nil; hasSpace {
		var err error
		if space, err = spacer.Space(rctx); err != nil {
			hasSpace = false // an older figure is better than none
			n.pool.log.Debug("node does not tell its space", "node", n.ID, "error", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if hasSpace {
		n.space, n.spaceKnown = space, true
	}
	if n.checked && !n.up {
		n.backoff = min(max(2*n.backoff, minBackoff), maxBackoff)
	}
	n.checked, n.kicked, n.lastCheck = true, false, n.pool.clock.Now()
	close(n.probed)
	n.probed = make(chan struct{})
}

func (n *node) ping(ctx context.Context) error {
	if p, ok := n.Node.(Pinger); ok {
		return p.Ping(ctx)
	}
	_, err := n.Node.Get(ctx, n.pool.probeKey)
	if errors.Is(err, zdb.ErrNotFound) {
		return nil
	}
	return err
}

// poke wakes the monitor.
func (n *node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// await waits until a node that is down has been probed once more, and returns
// whether it is up. Callers share a probe, and do not repeat one just made.
func (n *node) await(ctx context.Context) bool {
	n.mu.Lock()
	if n.up {
		n.mu.Unlock()
		return true
	}
	if n.checked && !n.kicked && n.pool.clock.Now().Sub(n.lastCheck) < kickRest {
		n.mu.Unlock()
		return false
	}
	n.kicked = true
	probed := n.probed
	n.mu.Unlock()
	n.poke()
	select {
	case <-probed:
		return n.isUp()
	case <-ctx.Done():
		return false
	case <-n.pool.ctx.Done():
		return false
	}
}
