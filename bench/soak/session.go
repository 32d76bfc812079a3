package main

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
	// errWrong means that the server answered something else than what is stored.
	errWrong = errors.New("wrong answer")
	// errServer means that the server answered an error.
	errServer = errors.New("server error")
)

// requestTimeout ends a request that hangs: nothing here takes so long on a server that lives.
const requestTimeout = 60 * time.Second

// session is one connection.
type session struct {
	nc   net.Conn
	r    *bufio.Reader
	head []byte
	bufs [3][]byte
}

func open(network, address string) (*session, error) {
	nc, err := net.DialTimeout(network, address, requestTimeout)
	if err != nil {
		return nil, err
	}
	return &session{nc: nc, r: bufio.NewReaderSize(nc, 16<<10)}, nil
}

func (s *session) close() error { return s.nc.Close() }

// send sends one request. Its last argument may come in two parts.
func (s *session) send(args [][]byte, more []byte) error {
	if err := s.nc.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	s.head = fmt.Appendf(s.head[:0], "*%d\r\n", len(args))
	for i, a := range args {
		n := len(a)
		if i == len(args)-1 {
			n += len(more)
		}
		s.head = append(strconv.AppendInt(append(s.head, '$'), int64(n), 10), "\r\n"...)
		s.head = append(s.head, a...)
		if i < len(args)-1 || more == nil {
			s.head = append(s.head, "\r\n"...)
		}
	}
	if more == nil {
		_, err := s.nc.Write(s.head)
		return err
	}
	s.bufs = [3][]byte{s.head, more, []byte("\r\n")}
	bufs := net.Buffers(s.bufs[:])
	_, err := bufs.WriteTo(s.nc)
	return err
}

// reply is the first line of a reply. A bulk's bytes follow, an array's elements too.
type reply struct {
	kind byte
	text string // of + and -
	n    int64  // of : $ and *; -1 is nil
}

func (s *session) reply() (reply, error) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return reply{}, fmt.Errorf("reply: %w", err)
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return reply{}, fmt.Errorf("%w: %q is no reply", errWrong, line)
	}
	re := reply{kind: line[0], text: line[1 : len(line)-2]}
	switch re.kind {
	case '+':
	case '-':
		return re, fmt.Errorf("%w: %s", errServer, re.text)
	case ':', '$', '*':
		if re.n, err = strconv.ParseInt(re.text, 10, 64); err != nil {
			return re, fmt.Errorf("%w: %q is no reply", errWrong, line)
		}
	default:
		return re, fmt.Errorf("%w: %q is no reply", errWrong, line)
	}
	return re, nil
}

// expect reads a reply of a kind.
func (s *session) expect(kind byte) (reply, error) {
	re, err := s.reply()
	if err == nil && re.kind != kind {
		err = fmt.Errorf("%w: %c%s instead of a %c", errWrong, re.kind, re.text, kind)
	}
	return re, err
}

// bulk reads a bulk of at most maxBytes.
func (s *session) bulk(maxBytes int64) ([]byte, error) {
	re, err := s.expect('$')
	if err != nil {
		return nil, err
	}
	if re.n < 0 || re.n > maxBytes {
		return nil, fmt.Errorf("%w: a bulk of %d bytes", errWrong, re.n)
	}
	b := make([]byte, re.n+2)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, err
	}
	return b[:re.n], nil
}

// value reads a bulk and compares it, or nil where none is stored.
func (s *session) value(p pool, v value) error {
	re, err := s.expect('$')
	if err != nil {
		return err
	}
	if v.version == 0 {
		if re.n != -1 {
			return fmt.Errorf("%w: %d bytes for a key that is not there", errWrong, re.n)
		}
		return nil
	}
	if re.n != int64(v.sizeBytes) {
		return fmt.Errorf("%w: %d bytes, %d stored", errWrong, re.n, v.sizeBytes)
	}
	c := p.check(v)
	for left := v.sizeBytes; left > 0; {
		if _, err := s.r.Peek(1); err != nil {
			return err
		}
		piece, err := s.r.Peek(min(left, s.r.Buffered()))
		if err != nil {
			return err
		}
		if err := c.next(piece); err != nil {
			return err
		}
		left -= len(piece)
		if _, err := s.r.Discard(len(piece)); err != nil {
			return err
		}
	}
	_, err = s.r.Discard(len("\r\n"))
	return err
}
