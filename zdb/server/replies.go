package server

import (
	"net"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// reply is one reply, or a part of one, on its way to the client.
type reply struct {
	head []byte      // encoded, and owned by the reply
	body []byte      // a value behind head, followed by a line end; may be nil
	mem  resp.Buffer // what body is in

	write *pendingWrite // when not nil, its outcome is the reply
}

func (r *reply) sizeBytes() int {
	n := len(r.head) + len(r.body) + 64
	if r.write != nil {
		n += len(r.write.write.Value)
	}
	return n
}

// pendingWrite is a SET or DEL that the store has not answered yet.
type pendingWrite struct {
	write   store.Write
	request resp.Request // the key and the value are in it
	ns      *namespace
	command string
	watch   stopwatch
}

// maxSpareWrites is how many pendingWrites a connection keeps to use again.
const maxSpareWrites = 32

// spareWrite gives a pendingWrite to fill in.
func (q *replies) spareWrite() *pendingWrite {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.writes)
	if n == 0 {
		return new(pendingWrite)
	}
	p := q.writes[n-1]
	q.writes = q.writes[:n-1]
	return p
}

// release gives back what a write was made of, once it is answered.
func (q *replies) release(p *pendingWrite) {
	p.request.Release()
	p.write.Key, p.write.Value, p.write.Delete, p.write.UnixTime, p.write.WriteOnce = nil, nil, false, 0, false
	p.ns, p.command, p.watch = nil, "", stopwatch{}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.writes) < maxSpareWrites {
		q.writes = append(q.writes, p)
	}
}

const (
	maxWaitingReplies = 1024
	maxWaitingBytes   = 4 << 20
	// Replies of so many bytes are worth a system call, and more only cool the caches.
	fullBytes = 256 << 10
	// So much that waits for the disk is committed while the next requests are received.
	overlapBytes = 64 << 10
	// Shorter values are copied behind each other; longer ones go to the kernel as they are.
	gatherBelowBytes = 16 << 10
	maxFlushBuffers  = 512
)

// replies are those that a connection has not sent yet, in order. The goroutine that executes
// pushes them. Who sends is whoever sets sending: that goroutine itself, when it would wait
// for the next request otherwise, or one of its own, which ends with the queue.
type replies struct {
	conn *conn

	mu       sync.Mutex
	sent     sync.Cond // nobody sends any more
	queue    []reply
	spare    []reply         // room for the next queue
	bytes    int             // in the queue
	pending  int             // writes that the store has not answered
	writes   []*pendingWrite // to be used again
	sending  bool
	broken   bool // the connection takes no more
	holding  bool // a reply is being pushed in parts
	held     []reply
	deadline time.Time
}

func newReplies(c *conn) *replies {
	q := &replies{conn: c}
	q.sent.L = &q.mu
	return q
}

// push queues a reply behind the others. It sends them when too much is queued.
func (q *replies) push(r reply) {
	q.mu.Lock()
	q.queue = append(q.queue, r)
	q.bytes += r.sizeBytes()
	if r.write != nil {
		q.pending++
	}
	full := len(q.queue) >= maxWaitingReplies || q.bytes >= maxWaitingBytes ||
		q.bytes >= fullBytes && (q.pending == 0 || q.conn.srv.opts.Sync == SyncNone)
	q.mu.Unlock()
	if full {
		q.drain()
	}
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
	q.sendAside()
}

// hold keeps replies that are interjected until a reply in parts is whole.
func (q *replies) hold(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.holding = on
	q.queue = append(q.queue, q.held...)
	q.held = nil
}

// settle returns when the store has answered all writes ahead.
func (q *replies) settle() {
	q.mu.Lock()
	pending := q.pending
	q.mu.Unlock()
	if pending > 0 {
		q.drain()
	}
}

// flush sees to it that all is sent, soon where much has to be committed first.
func (q *replies) flush() {
	q.mu.Lock()
	switch {
	case q.sending, len(q.queue) == 0:
	case q.pending > 0 && q.bytes >= overlapBytes && q.conn.srv.opts.Sync != SyncNone:
		q.sendAside()
	default:
		q.sending = true
		q.mu.Unlock()
		q.send()
		return
	}
	q.mu.Unlock()
}

// drain returns when all is sent.
func (q *replies) drain() {
	q.mu.Lock()
	for q.sending {
		q.sent.Wait()
	}
	q.sending = true
	q.mu.Unlock()
	q.send()
}

// sendAside lets another goroutine send, unless one does. The caller holds mu.
func (q *replies) sendAside() {
	if !q.sending {
		q.sending = true
		go q.send()
	}
}

// send sends until nothing is queued, as much in one system call as is there. The caller has
// set sending.
func (q *replies) send() {
	answered := 0
	for {
		q.mu.Lock()
		q.pending -= answered
		if len(q.queue) == 0 {
			q.sending = false
			q.sent.Broadcast()
			q.mu.Unlock()
			return
		}
		batch := q.queue
		q.queue, q.spare, q.bytes = q.spare[:0], nil, 0
		broken := q.broken
		q.mu.Unlock()

		answered = 0
		done := 0
		for i := range batch {
			w := batch[i].write
			if w == nil {
				continue
			}
			// A disk is slow: do not let those ahead wait for it.
			if done < i && q.conn.srv.opts.Sync != SyncNone && !w.write.Done() {
				broken = !q.transmit(batch[done:i], broken)
				done = i
			}
			q.conn.outcome(&batch[i])
			answered++
		}
		broken = !q.transmit(batch[done:], broken)

		q.mu.Lock()
		clear(batch)
		if cap(batch) <= maxWaitingReplies {
			q.spare = batch[:0]
		}
		q.broken = q.broken || broken
		q.mu.Unlock()
	}
}

var lineEnd = []byte("\r\n")

// gathered is memory in which short replies are put behind each other.
type gathered struct {
	flat []byte
	bufs net.Buffers
}

var gatherings = sync.Pool{New: func() any { return new(gathered) }}

// transmit sends replies and gives their memory back; false when the connection is broken.
func (q *replies) transmit(batch []reply, broken bool) bool {
	defer func() {
		for i := range batch {
			batch[i].mem.Release()
		}
	}()
	if broken {
		return false
	}
	g := gatherings.Get().(*gathered)
	defer func() {
		clear(g.bufs)
		if cap(g.flat) <= 2*fullBytes {
			gatherings.Put(g)
		}
	}()
	for left := batch; len(left) > 0; {
		n := min(len(left), maxFlushBuffers/2)
		if !q.write(g.gather(left[:n])) {
			return false
		}
		left = left[n:]
	}
	return true
}

// gather puts replies into as few pieces as it can without copying long values.
func (g *gathered) gather(batch []reply) net.Buffers {
	size := 0
	for i := range batch {
		r := &batch[i]
		size += len(r.head) + len(lineEnd)
		if len(r.body) < gatherBelowBytes {
			size += len(r.body)
		}
	}
	if cap(g.flat) < size {
		g.flat = make([]byte, 0, size)
	}
	flat, from := g.flat[:0], 0
	bufs := g.bufs[:0]
	for i := range batch {
		r := &batch[i]
		flat = append(flat, r.head...)
		switch {
		case r.body == nil:
			continue
		case len(r.body) < gatherBelowBytes:
			flat = append(flat, r.body...)
		default:
			bufs = append(bufs, flat[from:], r.body)
			from = len(flat)
		}
		flat = append(flat, lineEnd...)
	}
	if from < len(flat) {
		bufs = append(bufs, flat[from:])
	}
	g.bufs = bufs
	return bufs
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
		q.conn.cut()
		return false
	}
	return true
}
