// Package session is a connection to a storage node, for programs that check each answer:
// it sends requests, one or many at a time, and takes replies apart as they come.
package session

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

var (
	// ErrWrong means that the server answered something else than what is stored.
	ErrWrong = errors.New("wrong answer")
	// ErrServer means that the server answered an error.
	ErrServer = errors.New("server error")
)

// requestTimeout ends a request that hangs: nothing here takes so long on a server that lives.
const requestTimeout = 60 * time.Second

const bufferBytes = 16 << 10

// Session is one connection. One goroutine uses it, but any may close it.
type Session struct {
	R *bufio.Reader // replies, for who reads a value in pieces

	nc   net.Conn
	out  []byte
	bufs [3][]byte
}

// Open connects.
func Open(network, address string) (*Session, error) {
	nc, err := net.DialTimeout(network, address, requestTimeout)
	if err != nil {
		return nil, err
	}
	return New(nc), nil
}

// New uses a connection that there is already.
func New(nc net.Conn) *Session {
	return &Session{nc: nc, R: bufio.NewReaderSize(nc, bufferBytes)}
}

// Close ends the connection and what waits for it.
func (s *Session) Close() error { return s.nc.Close() }

// Queue keeps a request until Flush.
func (s *Session) Queue(args ...[]byte) {
	s.head(len(args))
	for _, a := range args {
		s.bulkHead(len(a))
		s.out = append(append(s.out, a...), "\r\n"...)
	}
}

// Flush sends what is queued.
func (s *Session) Flush() error {
	if err := s.nc.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	_, err := s.nc.Write(s.out)
	s.out = s.out[:0]
	return err
}

// Send sends one request.
func (s *Session) Send(args ...[]byte) error {
	s.Queue(args...)
	return s.Flush()
}

// SendParts sends one request. Its last argument is in two parts, so that a long one need not be copied.
func (s *Session) SendParts(more []byte, args ...[]byte) error {
	last := len(args) - 1
	s.head(len(args))
	for _, a := range args[:last] {
		s.bulkHead(len(a))
		s.out = append(append(s.out, a...), "\r\n"...)
	}
	s.bulkHead(len(args[last]) + len(more))
	s.bufs = [3][]byte{append(s.out, args[last]...), more, []byte("\r\n")}
	s.out = s.out[:0]
	if err := s.nc.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	bufs := net.Buffers(s.bufs[:])
	_, err := bufs.WriteTo(s.nc)
	return err
}

func (s *Session) head(args int) {
	s.out = append(strconv.AppendInt(append(s.out, '*'), int64(args), 10), "\r\n"...)
}

func (s *Session) bulkHead(n int) {
	s.out = append(strconv.AppendInt(append(s.out, '$'), int64(n), 10), "\r\n"...)
}

// Reply is the first line of a reply. A bulk's bytes follow, an array's elements too.
type Reply struct {
	Kind byte
	Text string // of + and -
	N    int64  // of : $ and *; -1 is nil
}

// Reply reads the next one. A reply that is an error is ErrServer, with its text in Text.
func (s *Session) Reply() (Reply, error) {
	line, err := s.R.ReadSlice('\n')
	if err != nil {
		return Reply{}, fmt.Errorf("reply: %w", err)
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return Reply{}, fmt.Errorf("%w: %q is no reply", ErrWrong, line)
	}
	re, text := Reply{Kind: line[0]}, line[1:len(line)-2]
	switch re.Kind {
	case '+':
		re.Text = string(text)
	case '-':
		re.Text = string(text)
		return re, fmt.Errorf("%w: %s", ErrServer, re.Text)
	case ':', '$', '*':
		if re.N, err = strconv.ParseInt(string(text), 10, 64); err != nil {
			return re, fmt.Errorf("%w: %q is no reply", ErrWrong, line)
		}
	default:
		return re, fmt.Errorf("%w: %q is no reply", ErrWrong, line)
	}
	return re, nil
}

// Expect reads a reply of a kind.
func (s *Session) Expect(kind byte) (Reply, error) {
	re, err := s.Reply()
	if err == nil && re.Kind != kind {
		err = fmt.Errorf("%w: %c%s instead of a %c", ErrWrong, re.Kind, re.Text, kind)
	}
	return re, err
}

// Bulk appends the bytes of a bulk of at most maxBytes to b.
func (s *Session) Bulk(b []byte, maxBytes int64) ([]byte, error) {
	re, err := s.Expect('$')
	if err != nil {
		return b, err
	}
	return s.Rest(b, re, maxBytes)
}

// Rest appends the bytes of a bulk whose first line was read, at most maxBytes, to b.
func (s *Session) Rest(b []byte, re Reply, maxBytes int64) ([]byte, error) {
	if re.N < 0 || re.N > maxBytes {
		return b, fmt.Errorf("%w: a bulk of %d bytes", ErrWrong, re.N)
	}
	old := len(b)
	b = append(b, make([]byte, re.N+2)...)
	if _, err := io.ReadFull(s.R, b[old:]); err != nil {
		return b[:old], err
	}
	if end := b[len(b)-2:]; string(end) != "\r\n" {
		return b[:old], fmt.Errorf("%w: a bulk of %d bytes ends in %q", ErrWrong, re.N, end)
	}
	return b[:len(b)-2], nil
}
