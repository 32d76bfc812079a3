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
// It can be used again once Wait has returned nil or an error that is not the context's.
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
	run   func() error // in place of a write: something to do between two batches, alone

	store *Store
	state atomic.Int32
	err   error
	done  chan struct{} // capacity 1: something is in it when the write is finished
}

const (
	writeQueued = iota
	writeTaken  // whoever commits works on it
	writeFinished
	writeCancelled
)

func (w *Write) sizeBytes() int64 { return recordHeaderBytes + int64(len(w.Key)) + int64(len(w.Value)) }

func (w *Write) finish(err error) {
	w.err = err
	w.state.Store(writeFinished)
	w.done <- struct{}{}
}

// Done says whether Wait would return at once.
func (w *Write) Done() bool { return w.state.Load() == writeFinished }

// Wait returns when the change is durable, or will never be made. When ctx ends
// first the change is withdrawn if the disk has not begun with it; otherwise its
// end is waited for. Every Write that was submitted has to be waited for: those who
// wait do the committing.
func (w *Write) Wait(ctx context.Context) error {
	q := &w.store.queue
	for {
		if w.Done() {
			<-w.done
			return w.err
		}
		select {
		case <-w.done:
			return w.err
		case <-q.lead:
			w.store.commitUntil(w)
			q.lead <- struct{}{}
		case <-ctx.Done():
			if w.state.CompareAndSwap(writeQueued, writeCancelled) {
				return ctx.Err()
			}
			<-w.done
			return w.err
		}
	}
}

// queue holds the writes that wait to be committed, maxQueuedWrites at most. There is no
// goroutine that commits: of those who wait, the one that has lead commits for all, up to and
// with its own, and hands it on. So a lone writer pays for no switch, and what comes while the
// disk is busy shares the next fdatasync.
type queue struct {
	lead  chan struct{} // capacity 1; who takes what is in it is the committer until it puts it back
	slots chan struct{} // a send takes a place in the queue

	mu     sync.Mutex
	wait   []*Write
	closed bool
}

func (q *queue) init() {
	q.lead = make(chan struct{}, 1)
	q.slots = make(chan struct{}, maxQueuedWrites)
	// Open is the first committer: it puts lead in when it is done.
}

func (s *Store) push(ctx context.Context, w *Write) error {
	q := &s.queue
	for taken := false; !taken; {
		select {
		case q.slots <- struct{}{}:
			taken = true
			continue
		default:
		}
		select {
		case q.slots <- struct{}{}:
			taken = true
		case <-q.lead: // the owners of what is queued may all be here
			s.commitNext()
			q.lead <- struct{}{}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		<-q.slots
		return zdb.ErrClosed
	}
	q.wait = append(q.wait, w)
	return nil
}

// close takes no more writes; false when that was so already.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.closed
	q.closed = true
	return first
}

// take gives the writes of the next batch; none when the queue is empty.
func (q *queue) take(dst []*Write, maxWrites int) []*Write {
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
	return dst
}

// Submit queues a change; it may wait for a place in the queue. The order of two
// changes is the order of their Submit calls. Wait has to follow.
func (s *Store) Submit(ctx context.Context, w *Write) error {
	w.newID = len(w.Key) == 0 && s.opts.Sequential && !w.Delete
	switch {
	case w.run != nil:
	case len(w.Key) == 0 && !w.newID:
		return zdb.ErrKeyEmpty
	case len(w.Key) > zdb.MaxKeyBytes:
		return zdb.ErrKeyTooLarge
	case len(w.Value) > zdb.MaxValueBytes:
		return zdb.ErrValueTooLarge
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.store, w.err, w.Changed = s, nil, false
	if w.done == nil {
		w.done = make(chan struct{}, 1)
	}
	w.state.Store(writeQueued)
	return s.push(ctx, w)
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
