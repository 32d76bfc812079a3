package client

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Limits of what a server may send. redigo allocates what a header announces, so
// the guard refuses a header before redigo sees the end of its line.
const (
	maxLineBytes     = 4 << 10  // a status, an error or a header
	maxReplyBytes    = 64 << 20 // all strings of one reply together
	maxReplyElements = 1 << 18  // all arrays of one reply together
	maxReplyDepth    = 4        // SCAN nests 3 deep
	bufferBytes      = 64 << 10 // of each direction of a connection
)

// violation is what a peer sent that no 0-db sends. errors.Is finds zdb.ErrNotZDB.
type violation struct{ what string }

func (v *violation) Error() string { return zdb.ErrNotZDB.Error() + ": " + v.what }
func (v *violation) Unwrap() error { return zdb.ErrNotZDB }

// guard is the net.Conn that redigo sees. It follows the framing of all that is
// read and ends the stream at the first byte that breaks it or goes past a limit.
// Deadlines are the link's business: redigo's are ignored.
type guard struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer

	err    error  // sticky; reading ends with it
	line   []byte // the header being read, without its end
	skip   int    // bytes of a string that are still to come, its CR LF included
	bytes  int    // strings announced in this reply so far
	elems  int    // array elements announced in this reply so far
	stack  []int  // elements still to come, outermost array first
	inBulk bool
}

func newGuard(nc net.Conn) *guard {
	return &guard{Conn: nc, in: bufio.NewReaderSize(nc, bufferBytes), out: bufio.NewWriterSize(nc, bufferBytes)}
}

func (g *guard) Write(p []byte) (int, error)        { return g.out.Write(p) }
func (g *guard) flush() error                       { return g.out.Flush() }
func (g *guard) SetDeadline(time.Time) error        { return nil }
func (g *guard) SetReadDeadline(t time.Time) error  { return nil }
func (g *guard) SetWriteDeadline(t time.Time) error { return nil }

// Read gives only bytes that keep to the framing and the limits.
func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.in.Read(p)
	good, bad := g.follow(p[:n])
	if bad != nil {
		g.err = bad
		if good > 0 {
			return good, nil
		}
		return 0, bad
	}
	return n, err
}

// follow moves the state over p and returns how many bytes are good. A header that
// is bad is cut before its newline, so the reader above never acts on it.
func (g *guard) follow(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if g.inBulk {
			n, err := g.followBulk(p[i:])
			i += n
			if err != nil {
				return i, err
			}
			continue
		}
		end := bytes.IndexByte(p[i:], '\n')
		part := p[i:]
		if end >= 0 {
			part = p[i : i+end]
		}
		if err := g.firstByte(part); err != nil {
			return i, err
		}
		if len(g.line)+len(part) > maxLineBytes {
			return i, &violation{"a line without an end"}
		}
		g.line = append(g.line, part...)
		if end < 0 {
			return len(p), nil
		}
		if err := g.header(); err != nil {
			return i + end, err
		}
		g.line = g.line[:0]
		i += end + 1
	}
	return len(p), nil
}

// followBulk passes over string bytes and checks the CR LF behind them.
func (g *guard) followBulk(p []byte) (int, error) {
	n := 0
	if g.skip > 2 {
		n = min(g.skip-2, len(p))
		g.skip -= n
	}
	for ; n < len(p) && g.skip > 0; n++ {
		if want := "\n\r"[g.skip-1]; p[n] != want {
			return n, &violation{"a string longer than announced"}
		}
		g.skip--
	}
	if g.skip == 0 {
		g.inBulk = false
		g.completed()
	}
	return n, nil
}

// firstByte refuses at once a peer that begins a reply as no 0-db does, and names
// what it may be instead.
func (g *guard) firstByte(part []byte) error {
	if len(g.line) > 0 || len(part) == 0 {
		return nil
	}
	if strings.IndexByte("+-:$*", part[0]) >= 0 {
		return nil
	}
	switch {
	case bytes.HasPrefix(part, []byte("HTTP/")), part[0] == '<':
		return &violation{"it answers as a web server"}
	case part[0] == 0x15 || part[0] == 0x16:
		return &violation{"it answers with TLS; is it a zdbs:// node?"}
	case bytes.HasPrefix(part, []byte("SSH-")):
		return &violation{"it answers as an SSH server"}
	}
	return &violation{fmt.Sprintf("a reply begins with byte 0x%02x", part[0])}
}

// header checks one complete header line.
func (g *guard) header() error {
	line := g.line
	if len(line) < 2 || line[len(line)-1] != '\r' {
		return &violation{"a line that does not end in CR LF"}
	}
	kind, rest := line[0], line[1:len(line)-1]
	switch kind {
	case ':':
		if _, ok := number(rest, 1<<62); !ok {
			return &violation{"an integer that is none"}
		}
	case '$':
		n, ok := number(rest, zdb.MaxValueBytes)
		if !ok || n < -1 {
			return &violation{"a string length out of bounds"}
		}
		if n >= 0 {
			if g.bytes += n; g.bytes > maxReplyBytes {
				return &violation{"a reply above 64 MiB"}
			}
			g.inBulk, g.skip = true, n+2
			return nil
		}
	case '*':
		n, ok := number(rest, maxReplyElements)
		if !ok || n < -1 {
			return &violation{"an array length out of bounds"}
		}
		if n > 0 {
			if g.elems += n; g.elems > maxReplyElements {
				return &violation{"a reply with too many elements"}
			}
			if len(g.stack) == maxReplyDepth {
				return &violation{"a reply nested too deep"}
			}
			g.stack = append(g.stack, n)
			return nil
		}
	}
	g.completed()
	return nil
}

// completed notes that one element is whole, and with it perhaps arrays around it.
func (g *guard) completed() {
	for len(g.stack) > 0 {
		last := len(g.stack) - 1
		if g.stack[last]--; g.stack[last] > 0 {
			return
		}
		g.stack = g.stack[:last]
	}
	g.bytes, g.elems = 0, 0
}

// number reads a decimal of at most most in magnitude; a minus sign is allowed,
// but not -0, which redigo does not take.
func number(b []byte, most int) (int, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 || negative && b[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int(c-'0'); n < 0 || n > most {
			return 0, false
		}
	}
	if negative {
		n = -n
	}
	return n, true
}
