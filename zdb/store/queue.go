package store

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/qsfs/qsfs/zdb"
)

// Write is one change of the store. The caller fills the upper fields, hands it
// to Submit and leaves key and value alone until Wait returned.
//
// In a sequential store an empty key makes a new one, which is in Key after Wait; any other
// key has to be there (zdb.ErrUpdateOnly).
type Write struct {
	Key, Value []byte
	Delete     bool  // remove the key; zdb.ErrNotFound when it is not there
	UnixTime   int64 // stored time; 0 means now
	WriteOnce  bool  // zdb.ErrWorm when the key is there already

	// Changed is false when the key had this very value already. Valid after Wait.
	Changed bool

	newID bool         // the store makes the key
	run   func() error // in place of a write: something for the committer to do, alone

	state atomic.Int32
	err   error
	done  chan struct{}
}

const (
	writeQueued = iota
	writeTaken  // the committer works on it
	writeCancelled
)

func (w *Write) sizeBytes() int64 { return recordHeaderBytes + int64(len(w.Key)) + int64(len(w.Value)) }

func (w *Write) finish(err error) {
	w.err = err
	close(w.done)
}

// Done says whether Wait would return at once.
func (w *Write) Done() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// Wait returns when the change is durable, or will never be made. When ctx ends
// first the change is withdrawn if the disk has not begun with it; otherwise its
// end is waited for.
func (w *Write) Wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		if w.state.CompareAndSwap(writeQueued, writeCancelled) {
			return ctx.Err()
		}
		<-w.done
		return w.err
	}
}

// queue holds the writes that wait for the committer, maxQueuedWrites at most.
type queue struct {
	slots chan struct{} // a send takes a place in the queue

	mu     sync.Mutex
	wait   []*Write
	closed bool
	wake   chan struct{} // capacity 1: there is something to do
}

func (q *queue) init() {
	q.slots = make(chan struct{}, maxQueuedWrites)
	q.wake = make(chan struct{}, 1)
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) push(ctx context.Context, w *Write) error {
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		<-q.slots
		return zdb.ErrClosed
	}
	q.wait = append(q.wait, w)
	q.poke()
	return nil
}

// close takes no more writes; false when that was so already.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.closed
	q.closed = true
	q.poke()
	return first
}

// take gives the writes of the next batch; more is false when the queue is closed
// and empty.
func (q *queue) take(dst []*Write, maxWrites int) (batch []*Write, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, sizeBytes := 0, int64(0)
	for _, w := range q.wait {
		if len(dst) > 0 && (w.run != nil || dst[0].run != nil) {
			break
		}
		if n > 0 && (len(dst) >= maxWrites || sizeBytes+w.sizeBytes() > maxBatchBytes) {
			break
		}
		n++
		if !w.state.CompareAndSwap(writeQueued, writeTaken) {
			continue
		}
		sizeBytes += w.sizeBytes()
		dst = append(dst, w)
	}
	for range n {
		<-q.slots
	}
	rest := copy(q.wait, q.wait[n:])
	clear(q.wait[rest:])
	q.wait = q.wait[:rest]
	if rest > 0 {
		q.poke()
	}
	return dst, !q.closed || rest > 0 || len(dst) > 0
}

// Submit queues a change; it may wait for a place in the queue. The order of two
// changes is the order of their Submit calls.
func (s *Store) Submit(ctx context.Context, w *Write) error {
	switch {
	case w.run != nil:
	case len(w.Key) == 0 && s.opts.Sequential && !w.Delete:
		w.newID = true
	case len(w.Key) == 0:
		return zdb.ErrKeyEmpty
	case len(w.Key) > zdb.MaxKeyBytes:
		return zdb.ErrKeyTooLarge
	case len(w.Value) > zdb.MaxValueBytes:
		return zdb.ErrValueTooLarge
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.done = make(chan struct{})
	return s.queue.push(ctx, w)
}

func (s *Store) do(ctx context.Context, w *Write) error {
	if err := s.Submit(ctx, w); err != nil {
		return err
	}
	return w.Wait(ctx)
}

// Set stores a value under a key and returns when that is durable. A value that
// is there already is not written again.
func (s *Store) Set(ctx context.Context, key, value []byte) error {
	return s.do(ctx, &Write{Key: key, Value: value})
}

// Del removes a key; zdb.ErrNotFound when it is not there.
func (s *Store) Del(ctx context.Context, key []byte) error {
	return s.do(ctx, &Write{Key: key, Delete: true})
}

// Sync makes all durable that was acknowledged; only a store with NoSync needs it.
func (s *Store) Sync(ctx context.Context) error {
	return s.do(ctx, &Write{run: s.syncActive})
}
