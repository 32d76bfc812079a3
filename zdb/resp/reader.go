package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Request is one command with its arguments. Release it when nothing refers to
// the arguments any more; of several copies, one.
type Request struct {
	Args [][]byte
	room *room
}

// room is what a request is kept in. Short arguments are in small, as far as they fit; the
// others have memory of the budget.
type room struct {
	args  [8][]byte
	small [2 * smallBytes]byte
	mem   []Buffer
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// Release gives the memory of the arguments back.
func (r *Request) Release() {
	if r.room == nil {
		return
	}
	for i := range r.room.mem {
		r.room.mem[i].Release()
	}
	clear(r.room.args[:])
	r.room.mem = r.room.mem[:0]
	rooms.Put(r.room)
	*r = Request{}
}

// Source is where requests come from: a connection.
type Source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// ReaderOptions bounds a reader. The zero value is good, but for the budget.
type ReaderOptions struct {
	Budget      *Budget
	IdleTimeout time.Duration // between requests; 0 means none
	Timeout     time.Duration // without progress inside of a request; 0 means 30s
	MaxBytes    int64         // arguments of one request together; 0, and more, means MaxRequestBytes
}

// Reader reads requests from one connection.
type Reader struct {
	src  Source
	opts ReaderOptions

	buf        []byte
	start, end int
	received   int64

	deadline time.Time // zero: none is set
}

const smallBytes = 512

// NewReader reads requests from src.
func NewReader(src Source, o ReaderOptions) *Reader {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxBytes <= 0 || o.MaxBytes > MaxRequestBytes {
		o.MaxBytes = MaxRequestBytes
	}
	return &Reader{src: src, opts: o, buf: make([]byte, readBufferBytes)}
}

// Buffered is how many bytes behind the last request have been received already.
func (r *Reader) Buffered() int { return r.end - r.start }

// ReceivedBytes is how much came over the connection.
func (r *Reader) ReceivedBytes() int64 { return r.received }

// ErrIdle means that no request came within ReaderOptions.IdleTimeout; Next may be called again.
var ErrIdle = errors.New("resp: no request")

// Next reads one request. It returns io.EOF when the peer closed between two
// requests, ErrIdle when it was silent too long there, and a *ProtocolError when it sent
// what is none.
func (r *Reader) Next(ctx context.Context) (req Request, err error) {
	if r.start == r.end {
		if err := r.fill(r.opts.IdleTimeout); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return Request{}, ErrIdle
			}
			return Request{}, err
		}
	}
	defer func() {
		if err != nil {
			req.Release()
			req = Request{}
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("request cut short: %w", io.ErrUnexpectedEOF)
			}
		}
	}()
	if r.buf[r.start] != '*' {
		return req, &ProtocolError{zdb.TextMalformedRequest}
	}
	count, err := r.number()
	switch {
	case err != nil:
		return req, err
	case count < 0:
		return req, &ProtocolError{zdb.TextInternalMemory}
	case count == 0:
		return req, &ProtocolError{zdb.TextMissingArguments}
	case count > zdb.MaxArguments:
		return req, &ProtocolError{zdb.TextTooManyArguments}
	}
	req.room = rooms.Get().(*room)
	req.Args = req.room.args[:0]
	small := req.room.small[:0]
	total := int64(0)
	for range count {
		n, err := r.argumentLength()
		if err != nil {
			return req, err
		}
		if total += n; total > r.opts.MaxBytes {
			return req, &ProtocolError{zdb.TextPayloadTooBig}
		}
		var arg []byte
		switch fits := n <= smallBytes; {
		case fits && cap(small)-len(small) < int(n):
			if small, err = r.memory(ctx, &req, 16*smallBytes); err != nil {
				return req, err
			}
			small = small[:0]
			fallthrough
		case fits:
			small = small[:len(small)+int(n)]
			arg = small[len(small)-int(n) : len(small) : len(small)]
		default:
			if arg, err = r.memory(ctx, &req, int(n)); err != nil {
				return req, err
			}
		}
		if err := r.full(arg); err != nil {
			return req, err
		}
		if err := r.lineEnd(); err != nil {
			return req, err
		}
		req.Args = append(req.Args, arg)
	}
	return req, nil
}

// memory takes n bytes of the budget for a request. Who has some already waits for
// more within the timeout only, so that no circle of waiters lasts.
func (r *Reader) memory(ctx context.Context, req *Request, n int) ([]byte, error) {
	if len(req.room.mem) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.opts.Timeout)
		defer cancel()
	}
	b, err := r.opts.Budget.Get(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("memory for a request: %w", err)
	}
	req.room.mem = append(req.room.mem, b)
	return b.Bytes, nil
}

func (r *Reader) argumentLength() (int64, error) {
	if r.start == r.end {
		if err := r.fill(r.opts.Timeout); err != nil {
			return 0, err
		}
	}
	if r.buf[r.start] != '$' {
		return 0, &ProtocolError{zdb.TextMalformedQuery}
	}
	n, err := r.number()
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, &ProtocolError{zdb.TextMalformedQuery}
	case n > zdb.MaxValueBytes:
		return 0, &ProtocolError{zdb.TextPayloadTooBig}
	}
	return n, nil
}

// number reads a line of one type byte and a decimal number.
func (r *Reader) number() (int64, error) {
	var line [maxLineBytes]byte
	n := 0
	for {
		c, err := r.readByte()
		if err != nil {
			return 0, err
		}
		if c == '\n' {
			break
		}
		if n == len(line) {
			return 0, &ProtocolError{zdb.TextMalformedQuery}
		}
		line[n] = c
		n++
	}
	if n < 3 || line[n-1] != '\r' {
		return 0, &ProtocolError{zdb.TextMalformedQuery}
	}
	digits, negative := line[1:n-1], false
	if digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, &ProtocolError{zdb.TextMalformedQuery}
	}
	v := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, &ProtocolError{zdb.TextMalformedQuery}
		}
		v = v*10 + int64(c-'0')
	}
	if negative {
		v = -v
	}
	return v, nil
}

func (r *Reader) lineEnd() error {
	for _, want := range []byte("\r\n") {
		c, err := r.readByte()
		if err != nil {
			return err
		}
		if c != want {
			return &ProtocolError{zdb.TextMalformedQuery}
		}
	}
	return nil
}

func (r *Reader) readByte() (byte, error) {
	if r.start == r.end {
		if err := r.fill(r.opts.Timeout); err != nil {
			return 0, err
		}
	}
	c := r.buf[r.start]
	r.start++
	return c, nil
}

// full reads exactly p; long arguments come from the connection without a copy.
func (r *Reader) full(p []byte) error {
	n := copy(p, r.buf[r.start:r.end])
	r.start += n
	for p = p[n:]; len(p) > 0; {
		if len(p) < len(r.buf)/2 {
			if err := r.fill(r.opts.Timeout); err != nil {
				return err
			}
			n := copy(p, r.buf[r.start:r.end])
			r.start += n
			p = p[n:]
			continue
		}
		n, err := r.read(p, r.opts.Timeout)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// fill reads into the empty buffer.
func (r *Reader) fill(timeout time.Duration) error {
	n, err := r.read(r.buf, timeout)
	r.start, r.end = 0, n
	return err
}

func (r *Reader) read(p []byte, timeout time.Duration) (int, error) {
	if err := r.limit(timeout); err != nil {
		return 0, err
	}
	for range 100 {
		n, err := r.src.Read(p)
		r.received += int64(n)
		if n > 0 {
			return n, nil
		}
		if timeout == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !r.deadline.IsZero() && !time.Now().Before(r.deadline) {
			// Only the limit inside of an earlier request has passed.
			r.deadline = time.Time{}
			if err := r.src.SetReadDeadline(r.deadline); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// limit sees to it that a read ends: after timeout between two requests, after once to twice
// that inside of one. A deadline that is far enough away stays, because setting one costs
// more than a small read.
func (r *Reader) limit(timeout time.Duration) error {
	if timeout == 0 {
		return nil
	}
	now := time.Now()
	if timeout != r.opts.IdleTimeout {
		left := r.deadline.Sub(now)
		if left >= timeout && left <= 2*timeout {
			return nil
		}
		timeout *= 2
	}
	r.deadline = now.Add(timeout)
	return r.src.SetReadDeadline(r.deadline)
}
