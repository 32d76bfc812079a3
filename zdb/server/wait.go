package server

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
)

const (
	defaultWait = 5 * time.Second
	minWait     = 100 * time.Millisecond
	maxWait     = 30 * time.Minute

	maxWaitDigits = 16
	anyCommand    = "*"
)

// waits are the sessions that wait for a command of another one in their namespace.
type waits struct {
	count atomic.Int64 // of all; nothing is looked for when it is 0

	mu sync.Mutex
	at map[watched]map[*conn]*wait
}

// watched is what a session waits for: a command by its name in capitals, or "*".
type watched struct {
	ns      *namespace
	command string
}

// wait is a session that waits.
type wait struct {
	watched
	timer *time.Timer
}

// wait is WAIT command|* [milliseconds]. The pipeline goes on: the reply comes when the
// command has been run elsewhere, or the time is over, between two others.
func (c *conn) wait(req *resp.Request) error {
	if len(req.Args) != 2 && len(req.Args) != 3 {
		c.fail(zdb.TextInvalidArguments)
		return nil
	}
	cmd, ok := commandOf(req.Args[1])
	if !ok {
		c.fail(zdb.TextUnknownWatch)
		return nil
	}
	limit := defaultWait
	if len(req.Args) == 3 {
		ms, err := strconv.ParseUint(string(req.Args[2]), 10, 63)
		limit = time.Duration(ms) * time.Millisecond
		if err != nil || len(req.Args[2]) > maxWaitDigits || limit < minWait || limit > maxWait {
			c.fail(zdb.TextInvalidTimeout)
			return nil
		}
	}
	c.srv.waits.begin(c, cmd.name, limit)
	return nil
}

// begin lets a session wait. One that waits already is answered that its time is over.
func (w *waits) begin(c *conn, command string, limit time.Duration) {
	w.end(c, resp.AppendError(nil, zdb.TextTimeout))
	w.mu.Lock()
	defer w.mu.Unlock()
	x := &wait{watched: watched{c.ns, command}}
	w.add(c, x)
	w.count.Add(1)
	c.waiting.Store(x)
	x.timer = time.AfterFunc(limit, func() { w.answer(c, x, resp.AppendError(nil, zdb.TextTimeout)) })
}

// ran answers the sessions in a namespace that wait for what another one has run in it.
func (w *waits) ran(by *conn, ns *namespace, command string) {
	if w.count.Load() == 0 {
		return
	}
	woken := make(map[*conn]*wait)
	w.mu.Lock()
	for _, name := range []string{command, anyCommand} {
		for c, x := range w.at[watched{ns, name}] {
			if c != by {
				woken[c] = x
			}
		}
	}
	w.mu.Unlock()
	for c, x := range woken {
		w.answer(c, x, resp.AppendStatus(nil, command))
	}
}

// answer ends a wait, if it has not ended yet.
func (w *waits) answer(c *conn, x *wait, with []byte) {
	w.mu.Lock()
	ours := w.at[x.watched][c] == x
	if ours {
		w.remove(c, x)
		w.count.Add(-1)
		x.timer.Stop()
		c.waiting.Store(nil)
	}
	w.mu.Unlock()
	if ours && with != nil {
		c.out.interject(with)
	}
}

// end ends the wait of a session, if there is one; a nil answer is none.
func (w *waits) end(c *conn, with []byte) {
	if x := c.waiting.Load(); x != nil {
		w.answer(c, x, with)
	}
}

// move takes the wait of a session along to the namespace it has selected.
func (w *waits) move(c *conn, to *namespace) {
	x := c.waiting.Load()
	if x == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at[x.watched][c] == x {
		w.remove(c, x)
		x.ns = to
		w.add(c, x)
	}
}

// add and remove keep at. The caller holds mu.
func (w *waits) add(c *conn, x *wait) {
	if w.at == nil {
		w.at = make(map[watched]map[*conn]*wait)
	}
	if w.at[x.watched] == nil {
		w.at[x.watched] = make(map[*conn]*wait)
	}
	w.at[x.watched][c] = x
}

func (w *waits) remove(c *conn, x *wait) {
	delete(w.at[x.watched], c)
	if len(w.at[x.watched]) == 0 {
		delete(w.at, x.watched)
	}
}
