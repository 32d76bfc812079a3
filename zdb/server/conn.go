package server

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// conn is one connection: serve reads and executes, a second goroutine replies.
type conn struct {
	srv    *Server
	nc     net.Conn
	reader *resp.Reader
	out    *replies

	ctx      context.Context
	draining atomic.Bool

	peer       *peer           // whose connection it is
	untilDrain context.Context // ends when the connection drains, or all are cut
	endPauses  context.CancelFunc
	watch      stopwatch // of the command that is executed

	// The session.
	ns        *namespace
	writable  bool
	proved    bool // with the password of ns
	admin     bool
	challenge string
	waiting   atomic.Pointer[wait] // the WAIT it has not been answered; changed by waits only

	// The command being executed.
	command   string
	submitted bool // to the store, whose answer is the reply
}

// reply is one reply, or a part of one, on its way to the client.
type reply struct {
	head []byte      // encoded, and owned by the reply
	body []byte      // a value behind head, followed by a line end; may be nil
	mem  resp.Buffer // what body is in

	write *pendingWrite // when not nil, its outcome is the reply
}

func (r *reply) sizeBytes() int { return len(r.head) + len(r.body) + 64 }

// pendingWrite is a SET or DEL that the store has not answered yet.
type pendingWrite struct {
	write   store.Write
	request resp.Request // the key and the value are in it
	ns      *namespace
	command string
	watch   stopwatch
}

const (
	maxWaitingReplies = 1024
	maxWaitingBytes   = 4 << 20
	maxFlushBuffers   = 512
	minPendingBytes   = 16 << 20
)

func newConn(s *Server, nc net.Conn, owner *peer) *conn {
	c := &conn{srv: s, nc: nc, ns: s.spaces.get(zdb.DefaultNamespace), writable: !s.opts.Protect, admin: s.opts.AdminPassword == ""}
	c.peer = owner
	c.untilDrain, c.endPauses = context.WithCancel(s.ctx)
	c.reader = resp.NewReader(c, resp.ReaderOptions{
		Budget: s.budget, Timeout: s.opts.Timeout, IdleTimeout: s.opts.IdleTimeout, MaxBytes: s.opts.MaxRequestBytes,
	})
	c.out = newReplies(c)
	return c
}

// Read and SetReadDeadline are what the reader reads from: once the server closes,
// a wait for a further request ends.
func (c *conn) Read(p []byte) (int, error) { return c.nc.Read(p) }

// SetReadDeadline sets it unless the connection drains.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.draining.Load() {
		return nil
	}
	err := c.nc.SetReadDeadline(t)
	if c.draining.Load() {
		return c.nc.SetReadDeadline(time.Now())
	}
	return err
}

// drain lets the connection end after the requests it has received.
func (c *conn) drain() {
	c.draining.Store(true)
	c.endPauses()
	c.nc.SetReadDeadline(time.Now())
}

// errHangUp ends a session after its last reply.
var errHangUp = errors.New("session ends")

func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ctx = ctx
	replied := make(chan struct{})
	go func() {
		defer close(replied)
		c.out.loop()
	}()
	received := int64(0)
	for {
		waited := c.waiting.Load() != nil
		req, err := c.reader.Next(ctx)
		n := c.reader.ReceivedBytes() - received
		c.srv.stats.rxBytes.Add(n)
		received += n
		if errors.Is(err, resp.ErrIdle) && waited && !c.draining.Load() {
			continue // it had asked to wait
		}
		if err != nil {
			var bad *resp.ProtocolError
			if errors.As(err, &bad) {
				c.fail(bad.Text)
			}
			break
		}
		if err := c.execute(&req); err != nil {
			break
		}
		c.pace(n)
	}
	c.srv.waits.end(c, nil)
	c.out.end()
	<-replied
	c.hangUp()
}

// hangUp closes so that the last reply arrives: what the client still sends is read,
// within bounds, or the close would be a reset that overtakes the reply.
func (c *conn) hangUp() {
	defer c.nc.Close()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.draining.Load() {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(time.Second))
	io.CopyN(io.Discard, c.nc, 16<<20)
}

func (c *conn) status(s string) { c.out.push(reply{head: resp.AppendStatus(nil, s)}) }
func (c *conn) fail(text string) {
	c.srv.measures.failed(text)
	c.out.push(reply{head: resp.AppendError(nil, text)})
}
func (c *conn) integer(n int64)  { c.out.push(reply{head: resp.AppendInt(nil, n)}) }
func (c *conn) null()            { c.out.push(reply{head: resp.AppendNil(nil)}) }
func (c *conn) bulk(s string)    { c.out.push(reply{head: resp.AppendBulk(nil, s)}) }
func (c *conn) encoded(b []byte) { c.out.push(reply{head: b}) }

// replies is the queue between the goroutine that executes and the one that replies.
type replies struct {
	conn *conn

	mu      sync.Mutex
	changed sync.Cond
	queue   []reply
	bytes   int
	writing bool // somebody writes to the connection
	pending int  // writes that the store has not answered, or whose reply is not due yet
	// pendingBytes is what their requests hold of the budget.
	pendingBytes int64
	ended        bool // nothing is pushed any more
	broken       bool // the connection takes no more
	holding      bool // a reply is being pushed in parts
	held         []reply
	deadline     time.Time
}

func newReplies(c *conn) *replies {
	q := &replies{conn: c}
	q.changed.L = &q.mu
	return q
}

// push queues a reply behind the others, or writes it at once where nothing is ahead of
// it and no further request has arrived yet. It waits while too much is queued.
func (q *replies) push(r reply) {
	q.mu.Lock()
	for !q.broken && (len(q.queue) >= maxWaitingReplies || q.bytes >= maxWaitingBytes ||
		(r.write != nil && q.pendingBytes >= q.conn.srv.pendingBytes())) {
		q.changed.Wait()
	}
	if r.write != nil {
		q.pending++
		q.pendingBytes += r.write.sizeBytes()
	}
	if r.write == nil && len(q.queue) == 0 && !q.writing && q.conn.reader.Buffered() == 0 {
		q.writing = true
		broken := q.broken
		q.mu.Unlock()
		ok := !broken && q.send([]reply{r})
		q.mu.Lock()
		q.writing = false
		q.broken = q.broken || !ok
	} else {
		q.queue = append(q.queue, r)
		q.bytes += r.sizeBytes()
	}
	q.changed.Broadcast()
	q.mu.Unlock()
}

// interject queues a reply that answers no request in turn. It never waits: a session has
// one at most.
func (q *replies) interject(head []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.holding {
		q.held = append(q.held, reply{head: head})
		return
	}
	q.queue = append(q.queue, reply{head: head})
	q.changed.Broadcast()
}

// hold keeps replies that are interjected until a reply in parts is whole.
func (q *replies) hold(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.holding = on
	if !on && len(q.held) > 0 {
		q.queue = append(q.queue, q.held...)
		q.held = nil
		q.changed.Broadcast()
	}
}

// settle waits until the store has answered all writes ahead.
func (q *replies) settle() {
	q.mu.Lock()
	for q.pending > 0 {
		q.changed.Wait()
	}
	q.mu.Unlock()
}

func (q *replies) end() {
	q.mu.Lock()
	q.ended = true
	q.changed.Broadcast()
	q.mu.Unlock()
}

// loop writes replies in order, as many in one system call as are there.
func (q *replies) loop() {
	for {
		q.mu.Lock()
		for (len(q.queue) == 0 && !q.ended) || q.writing {
			q.changed.Wait()
		}
		if len(q.queue) == 0 {
			q.mu.Unlock()
			return
		}
		batch := q.queue
		q.queue = nil
		q.writing = true
		broken := q.broken
		q.mu.Unlock()

		done := 0
		for i := range batch {
			if batch[i].write == nil {
				continue
			}
			if !batch[i].write.ready() && done < i { // do not let those ahead wait for it
				broken = q.sendOrDrop(batch[done:i], broken)
				done = i
			}
			sizeBytes := batch[i].write.sizeBytes()
			q.conn.outcome(&batch[i])
			q.mu.Lock()
			q.pending--
			q.pendingBytes -= sizeBytes
			q.changed.Broadcast()
			q.mu.Unlock()
		}
		broken = q.sendOrDrop(batch[done:], broken)

		q.mu.Lock()
		q.writing = false
		q.broken = q.broken || broken
		q.bytes = 0
		for i := range q.queue {
			q.bytes += q.queue[i].sizeBytes()
		}
		q.changed.Broadcast()
		q.mu.Unlock()
	}
}

func (q *replies) sendOrDrop(batch []reply, broken bool) bool {
	if broken {
		for i := range batch {
			batch[i].mem.Release()
		}
		return true
	}
	return !q.send(batch)
}

var lineEnd = []byte("\r\n")

// send writes replies and gives their memory back; false when the connection is broken.
// Short pieces are gathered, values go to the kernel as they are.
func (q *replies) send(batch []reply) bool {
	all := batch
	defer func() {
		for i := range all {
			all[i].mem.Release()
		}
	}()
	for len(batch) > 0 {
		n := min(len(batch), maxFlushBuffers/2)
		bufs := make(net.Buffers, 0, 2*n)
		var flat []byte
		for i := range batch[:n] {
			r := &batch[i]
			flat = append(flat, r.head...)
			if r.body == nil {
				continue
			}
			if len(r.body) < 16<<10 {
				flat = append(append(flat, r.body...), lineEnd...)
				continue
			}
			bufs = append(bufs, flat, r.body)
			flat = append([]byte(nil), lineEnd...)
		}
		if len(flat) > 0 {
			bufs = append(bufs, flat)
		}
		if !q.write(bufs) {
			return false
		}
		batch = batch[n:]
	}
	return true
}

func (q *replies) write(bufs net.Buffers) bool {
	nc := q.conn.nc
	// Renewed rarely: a deadline costs more than a small write.
	if now := time.Now(); q.deadline.Sub(now) < q.conn.srv.opts.Timeout {
		q.deadline = now.Add(2 * q.conn.srv.opts.Timeout)
		nc.SetWriteDeadline(q.deadline)
	}
	var n int64
	var err error
	if len(bufs) == 1 {
		var k int
		k, err = nc.Write(bufs[0])
		n = int64(k)
	} else {
		n, err = bufs.WriteTo(nc)
	}
	q.conn.srv.stats.txBytes.Add(n)
	q.conn.peer.bytes.take(float64(n))
	if err != nil {
		nc.Close() // the reader ends too
		return false
	}
	return true
}

// pendingBytes bounds the writes of one connection that wait: else one whose client does
// not read its replies could take all memory there is for requests.
func (s *Server) pendingBytes() int64 { return max(minPendingBytes, s.opts.MemoryBytes/8) }

func (p *pendingWrite) sizeBytes() int64 { return int64(len(p.write.Key) + len(p.write.Value)) }

// ready says whether the store has answered.
func (p *pendingWrite) ready() bool { return p.write.Done() }
