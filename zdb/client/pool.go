package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

const (
	// growLoad is how many requests the least busy connection has when another one
	// is opened.
	growLoad = 4
	// maxStrikes is how many connections in a row may end without an answer before
	// the circuit opens although the server still takes connections.
	maxStrikes = 3
)

// circuit is what the client knows of a node that is down. While it is open no call
// waits for the node; the prober alone tries it.
type circuit struct {
	open    error // why; nil when closed
	since   time.Time
	backoff time.Duration // the next pause; 0 after a connection that was of use
	strikes int           // connections in a row that stalled or ended without a reply
	probing bool          // the prober runs
}

// role says which requests a connection carries while there is another for the rest.
// Replies come in the order of the requests, so a read behind a write would wait for
// the node's fdatasync. It is true for requests that change something.
type role bool

func roleOf(command string) role { return command == "SET" || command == "DEL" || command == "FLUSH" }

// pick returns the least busy connection of a role, or of the other for want of one,
// and opens more when they pay. It waits only when there is none yet.
func (c *base) pick(ctx context.Context, want role) (*link, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, zdb.ErrClosed
		}
		if err := c.circuit.open; err != nil {
			c.mu.Unlock()
			return nil, fmt.Errorf("%w (not asked while it is down): %w", zdb.ErrUnavailable, err)
		}
		var best *link
		for _, l := range c.links {
			switch {
			case best == nil, best.role != want && l.role == want:
				best = l
			case l.role == best.role && l.load.Load() < best.load.Load():
				best = l
			}
		}
		mayGrow := len(c.links)+c.dialing < c.options.MaxConns && !time.Now().Before(c.growAt)
		switch {
		case best == nil && c.dialing == 0,
			best != nil && best.role != want && c.dialing == 0 && mayGrow,
			best != nil && best.load.Load() >= growLoad && mayGrow:
			c.dial(want)
		}
		changed := c.changed
		c.mu.Unlock()
		if best != nil {
			return best, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// dial opens a connection in the background, so that no caller's context ends it.
// Called with mu held.
func (c *base) dial(want role) {
	c.dialing++
	c.wg.Go(func() {
		l, err := c.connect(c.ctx)
		c.mu.Lock()
		c.dialing--
		switch {
		case err == nil:
			l.role = want
			c.add(l)
		case len(c.links) > 0:
			c.growAt = time.Now().Add(c.options.MaxBackoff)
			c.log.Debug("no further connection", "error", err)
			c.broadcast()
		default:
			c.trip(err)
		}
		c.mu.Unlock()
	})
}

// add puts a fresh link to use and closes the circuit. Called with mu held.
func (c *base) add(l *link) {
	if c.closed {
		l.raw.Close()
		return
	}
	if c.circuit.open != nil {
		c.log.Info("node up", "down_for", time.Since(c.circuit.since).Round(time.Millisecond))
		c.circuit.open = nil
	}
	c.selected = true
	c.links = append(c.links, l)
	l.onReply = c.useful
	l.onDone = func() { <-c.slots }
	l.onDead = c.lose
	l.start()
	c.broadcast()
}

// trip opens the circuit and starts the prober. Called with mu held.
func (c *base) trip(cause error) {
	defer c.broadcast()
	if c.closed || c.circuit.open != nil {
		return
	}
	c.circuit.open, c.circuit.since = cause, time.Now()
	c.log.Warn("node down", "error", cause)
	if !c.circuit.probing {
		c.circuit.probing = true
		c.wg.Go(c.probe)
	}
}

// probe tries the node, with growing pauses, until the circuit is closed.
func (c *base) probe() {
	for {
		timer := time.NewTimer(c.pause())
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
		l, err := c.connect(c.ctx)
		c.mu.Lock()
		if err == nil {
			c.add(l)
		}
		if c.circuit.open == nil || c.closed {
			c.circuit.probing = false
			c.mu.Unlock()
			return
		}
		c.circuit.open = err
		c.mu.Unlock()
		c.log.Debug("node still down", "error", err)
	}
}

// pause returns the next pause, half of it by chance, and doubles the one after.
func (c *base) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := max(c.circuit.backoff, c.options.MinBackoff)
	c.circuit.backoff = min(2*d, c.options.MaxBackoff)
	return d/2 + time.Duration(c.options.Jitter()*float64(d/2))
}

// useful notes that the node answers requests.
func (c *base) useful() {
	c.mu.Lock()
	c.circuit.strikes, c.circuit.backoff = 0, 0
	c.mu.Unlock()
}

// lose takes a dead link out. After a stall idle links go too: what swallowed one
// connection (a restarted gateway, say) often swallowed all, and new ones are cheap.
func (c *base) lose(dead *link, cause error) {
	c.mu.Lock()
	c.links = slices.DeleteFunc(c.links, func(l *link) bool { return l == dead })
	stalled := errors.Is(cause, errStalled) || errors.Is(cause, errWriteStalls)
	ours := errors.Is(cause, zdb.ErrClosed) || errors.Is(cause, errGivenUp) || errors.Is(cause, errIdle)
	if !ours && (stalled || dead.fruitless() && dead.load.Load() > 0) {
		if c.circuit.strikes++; c.circuit.strikes >= maxStrikes {
			c.trip(fmt.Errorf("%w: %w", zdb.ErrUnavailable, cause))
		}
	}
	var idle []*link
	if stalled {
		for _, l := range c.links {
			if l.load.Load() == 0 {
				idle = append(idle, l)
			}
		}
	}
	c.broadcast()
	c.mu.Unlock()
	if !ours {
		c.log.Debug("connection lost", "error", cause)
	}
	for _, l := range idle {
		l.fail(errIdle)
	}
}

var errIdle = errors.New("closed because another connection to the node stalled")

// broadcast wakes the callers in pick. Called with mu held.
func (c *base) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// isHangUp reports that the peer, or the path to it, ended the connection.
func isHangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
