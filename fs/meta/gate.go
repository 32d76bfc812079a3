package meta

import (
	"sync"
	"sync/atomic"
)

// gate lets operations in until it is closed, and close waits for those inside. Unlike a RWMutex it may be entered
// again by who is inside already: after close has begun that gives ErrClosed instead of a deadlock.
type gate struct {
	inside  atomic.Int64 // operations, plus closing once closed
	once    sync.Once
	drained chan struct{}
}

const closing = 1 << 62

func newGate() *gate { return &gate{drained: make(chan struct{})} }

func (g *gate) enter() error {
	if g.inside.Add(1) >= closing {
		g.leave()
		return ErrClosed
	}
	return nil
}

func (g *gate) leave() {
	if g.inside.Add(-1) == closing {
		g.once.Do(func() { close(g.drained) })
	}
}

// close shuts the gate and waits until nobody is inside. It is called once.
func (g *gate) close() {
	if g.inside.Add(closing) == closing {
		g.once.Do(func() { close(g.drained) })
	}
	<-g.drained
}
