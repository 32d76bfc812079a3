package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/qsfs/qsfs/zdb"
)

// writeGrace is how long a caller that gives up waits for its arguments to be
// written before it closes the connection to get them back.
const writeGrace = 50 * time.Millisecond

var (
	errStalled     = errors.New("the oldest request got no whole reply in time")
	errUnasked     = &violation{"a reply that nobody asked for"}
	errGivenUp     = errors.New("closed to give up a request that was being written")
	errRetired     = errors.New("the server ended this session")
	errNeverSent   = errors.New("given up before it was sent")
	errHungUp      = errors.New("the server closed the connection")
	errWriteStalls = errors.New("the server takes no more bytes")
)

// lostError says that the connection ended before the reply came.
type lostError struct {
	cause error
	sent  bool // the server may have carried it out
}

func (e *lostError) Error() string { return "connection lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// States of a request. A caller may take a queued one back; after that the writer
// owns its arguments until it closes sent.
const (
	stateQueued int32 = iota
	stateWriting
	stateAbandoned
)

// request is one command on its way.
type request struct {
	command string
	args    []any
	state   atomic.Int32
	sent    chan struct{} // closed when nobody reads args any more
	done    chan struct{} // closed when reply and err are set
	reply   any
	err     error
}

func newRequest(command string, args []any) *request {
	return &request{command: command, args: args, sent: make(chan struct{}), done: make(chan struct{})}
}

// link is one connection after its handshake. Its writer takes requests from queue,
// notes each in waiting and sends it; its reader gives the oldest in waiting the
// next reply. Each request taken in by enqueue is finished exactly once.
type link struct {
	nc      net.Conn // what is spoken over
	raw     net.Conn // the socket underneath: closing it never blocks
	guard   *guard
	rc      redis.Conn
	timeout time.Duration
	role    role
	queue   chan *request // has room for every slot of the client
	load    atomic.Int32  // requests taken in and not finished

	onReply func()             // after the first reply
	onDone  func()             // after each finished request
	onDead  func(*link, error) // once
	dead    chan struct{}
	wg      sync.WaitGroup

	// mu guards waiting and cause, and orders read deadlines with them. Never held
	// across a network call.
	mu      sync.Mutex
	waiting []*request
	cause   error // why the link is dead; nil while it lives
	replies int
}

// start sets both goroutines going. The link owns its socket from here on.
func (l *link) start() {
	_ = l.nc.SetDeadline(time.Time{})
	l.wg.Add(2)
	go l.write()
	go l.read()
}

// enqueue takes r in, or reports that the link is dead.
func (l *link) enqueue(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return false
	}
	l.load.Add(1)
	l.queue <- r
	return true
}

func (l *link) write() {
	defer l.wg.Done()
	defer l.drain()
	for {
		select {
		case <-l.dead:
			return
		case r := <-l.queue:
			for r != nil {
				if err := l.send(r); err != nil {
					l.fail(writeCause(err))
					return
				}
				select {
				case r = <-l.queue:
				default:
					r = nil
				}
			}
			if err := l.flush(); err != nil {
				l.fail(writeCause(err))
				return
			}
		}
	}
}

func (l *link) flush() error {
	_ = l.nc.SetWriteDeadline(time.Now().Add(l.timeout))
	if err := l.rc.Flush(); err != nil {
		return err
	}
	return l.guard.flush()
}

// send writes r unless its caller has left. Buffers may hold the bytes afterwards,
// copied; args are no longer read.
func (l *link) send(r *request) error {
	if !r.state.CompareAndSwap(stateQueued, stateWriting) {
		l.finish(r, nil, errNeverSent)
		return nil
	}
	defer close(r.sent)
	if !l.expect(r) {
		l.finish(r, nil, &lostError{cause: l.why()})
		return nil
	}
	_ = l.nc.SetWriteDeadline(time.Now().Add(l.timeout))
	return l.rc.Send(r.command, r.args...)
}

// drain finishes what is still queued on a dead link.
func (l *link) drain() {
	for {
		select {
		case r := <-l.queue:
			if r.state.CompareAndSwap(stateQueued, stateWriting) {
				close(r.sent)
			}
			l.finish(r, nil, &lostError{cause: l.why()})
		default:
			return
		}
	}
}

func (l *link) read() {
	defer l.wg.Done()
	for {
		reply, err := l.rc.Receive()
		var text redis.Error
		if err != nil && !errors.As(err, &text) {
			l.fail(readCause(err))
			return
		}
		r := l.answered()
		if r == nil {
			l.fail(errUnasked)
			return
		}
		if err != nil {
			err = zdb.FromText(printable(string(text)))
		}
		l.finish(r, reply, err)
		if endsSession(string(text)) {
			l.fail(errRetired)
			return
		}
	}
}

// expect notes that r's reply comes next after those awaited already.
func (l *link) expect(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return false
	}
	l.waiting = append(l.waiting, r)
	if len(l.waiting) == 1 {
		_ = l.nc.SetReadDeadline(time.Now().Add(l.timeout))
	}
	return true
}

// answered takes the oldest awaited request; nil if there is none.
func (l *link) answered() *request {
	l.mu.Lock()
	if len(l.waiting) == 0 {
		l.mu.Unlock()
		return nil
	}
	r := l.waiting[0]
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	if len(l.waiting) == 0 {
		l.waiting = nil
		_ = l.nc.SetReadDeadline(time.Time{})
	} else {
		_ = l.nc.SetReadDeadline(time.Now().Add(l.timeout))
	}
	l.replies++
	first := l.replies == 1
	l.mu.Unlock()
	if first {
		l.onReply()
	}
	return r
}

func (l *link) finish(r *request, reply any, err error) {
	r.reply, r.err = reply, err
	close(r.done)
	l.load.Add(-1)
	l.onDone()
}

// fail ends the link: whoever waits on it gets a lostError.
func (l *link) fail(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()

	close(l.dead)
	l.raw.Close()
	l.onDead(l, cause)
	for _, r := range waiting {
		l.finish(r, nil, &lostError{cause: cause, sent: true})
	}
}

func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// fruitless reports that the link ended without a single reply.
func (l *link) fruitless() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replies == 0
}

// wait returns r's outcome, or the context's end. Afterwards nothing reads r.args.
func (l *link) wait(ctx context.Context, r *request) (any, error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(stateQueued, stateAbandoned) {
			return nil, ctx.Err()
		}
		l.settle(r)
		select {
		case <-r.done: // it came after all
		default:
			return nil, ctx.Err()
		}
	}
	l.settle(r)
	return r.reply, r.err
}

// settle waits until the writer is done with r's arguments, and ends the link when
// that takes longer than the grace.
func (l *link) settle(r *request) {
	select {
	case <-r.sent:
		return
	default:
	}
	timer := time.NewTimer(writeGrace)
	defer timer.Stop()
	select {
	case <-r.sent:
	case <-timer.C:
		l.fail(errGivenUp)
		<-r.sent
	}
}

// stop ends the link and waits for its goroutines.
func (l *link) stop(cause error) {
	l.fail(cause)
	l.wg.Wait()
}

func readCause(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStalled
	case isHangUp(err):
		return fmt.Errorf("%w: %w", errHungUp, err)
	}
	return err
}

func writeCause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errWriteStalls
	}
	return err
}

// endsSession lists error texts after which upstream's server closes the connection
// or answers every later request with the same error.
func endsSession(text string) bool {
	switch text {
	case zdb.TextNamespaceGone, zdb.TextMalformedRequest, zdb.TextMalformedQuery,
		zdb.TextTooManyArguments, zdb.TextPayloadTooBig, zdb.TextInternalMemory:
		return true
	}
	return false
}
