package fs

import (
	"context"
	"sync"
	"time"
)

// interruptGrace is for how long a request goes on after the kernel interrupted
// it. Any signal interrupts, also those by which Go programs preempt their own
// threads, and few programs expect EINTR from a disk; but what hangs on a dead
// node must give way to a kill.
const interruptGrace = time.Second

// request is the context of one request of the kernel. It costs nothing until
// somebody waits on it. finish must be called when the request is answered.
type request struct {
	context.Context
	cancel <-chan struct{} // closed by an interrupt

	once     sync.Once
	ended    chan struct{} // what Done returns
	answered chan struct{}
}

func newRequest(cancel <-chan struct{}) *request {
	return &request{Context: context.Background(), cancel: cancel, ended: make(chan struct{}), answered: make(chan struct{})}
}

// Done begins to watch for an interrupt.
func (r *request) Done() <-chan struct{} {
	r.once.Do(func() { go r.watch() })
	return r.ended
}

func (r *request) watch() {
	select {
	case <-r.answered:
		return
	case <-r.cancel:
	}
	grace := time.NewTimer(interruptGrace)
	defer grace.Stop()
	select {
	case <-r.answered:
	case <-grace.C:
		close(r.ended)
	}
}

// Err is context.Canceled once the grace after an interrupt is over.
func (r *request) Err() error {
	select {
	case <-r.ended:
		return context.Canceled
	default:
		return nil
	}
}

func (r *request) finish() { close(r.answered) }
