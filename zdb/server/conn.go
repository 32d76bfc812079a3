package server

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"golang.org/x/sys/unix"
)

// conn is one connection: serve reads, executes and replies.
type conn struct {
	srv    *Server
	nc     net.Conn
	reader *resp.Reader
	out    *replies

	// For Read: the socket, nil where it is not for us to read, and one try's place and outcome.
	raw    syscall.RawConn
	into   []byte
	got    int
	gotErr error

	ctx      context.Context
	draining atomic.Bool
	broken   atomic.Bool

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

func newConn(s *Server, nc net.Conn, owner *peer) *conn {
	c := &conn{srv: s, nc: nc, ns: s.spaces.get(zdb.DefaultNamespace), writable: !s.opts.Protect, admin: s.opts.AdminPassword == ""}
	c.peer = owner
	c.untilDrain, c.endPauses = context.WithCancel(s.ctx)
	c.reader = resp.NewReader(c, resp.ReaderOptions{
		Budget: s.budget, Timeout: s.opts.Timeout, IdleTimeout: s.opts.IdleTimeout, MaxBytes: s.opts.MaxRequestBytes,
	})
	c.out = newReplies(c)
	if direct, ok := nc.(syscall.Conn); ok { // not TLS
		c.raw, _ = direct.SyscallConn()
	}
	return c
}

// Read is what the reader reads from. What has arrived is taken at once; before it would have
// to wait, the replies so far are sent.
func (c *conn) Read(p []byte) (int, error) {
	if c.raw == nil {
		c.out.flush()
		return c.nc.Read(p)
	}
	c.into = p
	err := c.raw.Read(c.readSome)
	switch {
	case err != nil:
		return 0, err
	case c.got == 0 && c.gotErr == nil:
		return 0, io.EOF
	}
	return max(c.got, 0), c.gotErr
}

// readSome is one try to read; false when it is to be called again once something has come.
func (c *conn) readSome(fd uintptr) bool {
	for {
		switch c.got, c.gotErr = unix.Read(int(fd), c.into); c.gotErr {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			c.out.flush()
			return false
		}
		return true
	}
}

// SetReadDeadline sets it unless the connection drains: once the server closes, a wait for a
// further request ends.
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

// cut ends the connection although requests may be left: the client takes no replies. It does not
// close the socket, which would wait for the end of the very read that the replies are sent from.
func (c *conn) cut() {
	c.broken.Store(true)
	c.drain()
}

// errHangUp ends a session after its last reply.
var errHangUp = errors.New("session ends")

func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ctx = ctx
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
		if err := c.execute(&req); err != nil || c.broken.Load() {
			break
		}
		c.pace(n)
	}
	c.srv.waits.end(c, nil)
	c.out.drain()
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
