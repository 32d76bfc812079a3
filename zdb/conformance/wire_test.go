package conformance

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// replyTimeout is how long a reply may take; WAIT's are the longest.
const replyTimeout = 10 * time.Second

// session is one connection on which bytes are sent as they are.
type session struct {
	nc     net.Conn
	in     *bufio.Reader
	closed bool // the peer has closed it
}

func dial(t testing.TB, p *peer) *session {
	t.Helper()
	nc, err := net.Dial(p.network, p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &session{nc: nc, in: bufio.NewReader(nc)}
}

// request is the encoding of a request.
func request(args []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		b.WriteString(bulk(a))
	}
	return b.String()
}

func (s *session) send(raw string) error {
	_ = s.nc.SetWriteDeadline(time.Now().Add(replyTimeout))
	_, err := io.WriteString(s.nc, raw)
	return err
}

// reply reads one whole reply and gives it as it came.
func (s *session) reply() (string, error) {
	_ = s.nc.SetReadDeadline(time.Now().Add(replyTimeout))
	var b bytes.Buffer
	err := s.read(&b)
	return b.String(), err
}

func (s *session) read(b *bytes.Buffer) error {
	line, err := s.in.ReadString('\n')
	b.WriteString(line)
	if err != nil {
		return err
	}
	if len(line) < 3 || !strings.HasSuffix(line, "\r\n") {
		return fmt.Errorf("a line %q", line)
	}
	switch line[0] {
	case '+', '-', ':':
		return nil
	case '$', '*':
	default:
		return fmt.Errorf("a reply that begins %q", line)
	}
	n, err := strconv.Atoi(line[1 : len(line)-2])
	if err != nil {
		return err
	}
	if line[0] == '*' {
		for range n {
			if err := s.read(b); err != nil {
				return err
			}
		}
		return nil
	}
	if n < 0 {
		return nil
	}
	_, err = io.CopyN(b, s.in, int64(n)+2)
	if err == nil && !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		err = errors.New("a string without its end")
	}
	return err
}

// ended reads up to the end of the stream, which has to come at once.
func (s *session) ended() error {
	_ = s.nc.SetReadDeadline(time.Now().Add(replyTimeout))
	rest, err := io.ReadAll(s.in)
	if len(rest) > 0 {
		return fmt.Errorf("%q came behind the last reply", rest)
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return errors.New("the connection stays open")
	}
	return nil // closed, or reset because the peer had not read all
}

// Replies as they are on the wire.
const (
	ok       = "+OK\r\n"
	null     = "$-1\r\n"
	integerX = ":{n}\r\n"
)

func bulk(s string) string      { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
func status(s string) string    { return "+" + s + "\r\n" }
func fails(text string) string  { return "-" + text + "\r\n" }
func integer(n int) string      { return fmt.Sprintf(":%d\r\n", n) }
func list(all ...string) string { return fmt.Sprintf("*%d\r\n", len(all)) + strings.Join(all, "") }

// entry is one of SCAN's, with any time.
func entry(key string, size int) string { return list(bulk(key), integer(size), ":{time}\r\n") }

// page is a reply to SCAN; its cursor goes by the name.
func page(cursor string, entries ...string) string {
	return list("$17\r\n{b17:"+cursor+"}\r\n", list(entries...))
}

// names are what patterns captured and requests use again.
type names map[string]string

// fill puts captured values in for {name}, and for {sha1:challenge:password} what proves the password.
func (n names) fill(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, rest, _ := strings.Cut(after, "}")
		s = rest
		if hash, isHash := strings.CutPrefix(name, "sha1:"); isHash {
			challenge, password, _ := strings.Cut(hash, ":")
			sum := sha1.Sum([]byte(n[challenge] + ":" + password))
			b.WriteString(hex.EncodeToString(sum[:]))
			continue
		}
		value, known := n[name]
		if !known {
			return "", fmt.Errorf("nothing was captured as %q", name)
		}
		b.WriteString(value)
	}
}

// match compares a reply with a pattern. In it
//
//	{n}        is a decimal number
//	{time}     one that is a unix time of today
//	{w}        the rest of a line, without its end
//	{rest}     all that follows
//	{bN:name}  N bytes, any; kept as name, or the same again
//	{hN:name}  N hex digits, likewise
//	{name}     what was kept
func (n names) match(pattern, reply string) error {
	left := reply
	for pattern != "" {
		literal, after, found := strings.Cut(pattern, "{")
		if !strings.HasPrefix(left, literal) {
			return fmt.Errorf("want %q at byte %d", literal, len(reply)-len(left))
		}
		left = left[len(literal):]
		if !found {
			break
		}
		token, rest, _ := strings.Cut(after, "}")
		pattern = rest
		value, err := n.token(token, left)
		if err != nil {
			return fmt.Errorf("want {%s} at byte %d: %w", token, len(reply)-len(left), err)
		}
		left = left[len(value):]
	}
	if left != "" {
		return fmt.Errorf("%q is too much", left)
	}
	return nil
}

func (n names) token(token, text string) (string, error) {
	span := func(of string) string { return text[:len(text)-len(strings.TrimLeft(text, of))] }
	kind, name, named := strings.Cut(token, ":")
	switch {
	case token == "rest":
		return text, nil
	case token == "w":
		end := strings.IndexAny(text, "\r\n")
		if end < 0 {
			return "", errors.New("no end of a line")
		}
		return text[:end], nil
	case token == "n", token == "time":
		digits := span("0123456789")
		value, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && token == "time" && time.Since(time.Unix(value, 0)).Abs() > 24*time.Hour {
			err = fmt.Errorf("%d is not now", value)
		}
		return digits, err
	case named && (kind[0] == 'b' || kind[0] == 'h'):
		size, err := strconv.Atoi(kind[1:])
		if err != nil || size > len(text) {
			return "", errors.New("too short")
		}
		value := text[:size]
		if kind[0] == 'h' && len(span("0123456789abcdef")) < size {
			return "", errors.New("not hex")
		}
		if old, known := n[name]; known && old != value {
			return "", fmt.Errorf("%q, but %s was %q", value, name, old)
		}
		n[name] = value
		return value, nil
	}
	value, known := n[token]
	if !known || !strings.HasPrefix(text, value) {
		return "", fmt.Errorf("not %q", value)
	}
	return value, nil
}

// Patterns hold where they should and nowhere else.
func TestMatch(t *testing.T) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	for _, c := range []struct {
		pattern, reply string
		good           bool
	}{
		{ok, "+OK\r\n", true},
		{ok, "+OK", false},
		{ok, "+OK\r\n:1\r\n", false},
		{":{n}\r\n", ":12\r\n", true},
		{":{n}\r\n", ":\r\n", false},
		{":{n}\r\n", ":-1\r\n", false},
		{":{time}\r\n", ":" + now + "\r\n", true},
		{":{time}\r\n", ":1234567890\r\n", false},
		{"a: {w}\nb", "a: x y\nb", true},
		{"a: {w}\nb", "a: x y", false},
		{"{b2:x}-{x}", "ab-ab", true},
		{"{b2:y}-{y}", "ab-ac", false},
		{"{b2:z}-{b2:z}", "ab-ac", false},
		{"{b9:z}", "ab", false},
		{"+{h4:c}\r\n", "+09af\r\n", true},
		{"+{h4:d}\r\n", "+09ag\r\n", false},
		{"*1{rest}", "*1\r\nanything", true},
	} {
		if err := (names{}).match(c.pattern, c.reply); (err == nil) != c.good {
			t.Errorf("%q against %q: got %v", c.reply, c.pattern, err)
		}
	}
}
