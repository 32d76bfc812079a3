package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gomodule/redigo/redis"

	"github.com/qsfs/qsfs/zdb"
)

// stream is a net.Conn that only reads, from r.
type stream struct {
	net.Conn
	r io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.r.Read(p) }
func (s stream) Close() error               { return nil }

// receive reads replies out of a byte stream until it ends.
func receive(r io.Reader) ([]any, error) {
	rc := redis.NewConn(newGuard(stream{r: r}), 0, 0)
	var replies []any
	for {
		reply, err := rc.Receive()
		var text redis.Error
		switch {
		case errors.As(err, &text):
			reply = text
		case err != nil:
			return replies, err
		}
		replies = append(replies, reply)
	}
}

// Good replies come through whole, however the network cuts them.
func TestGuardPasses(t *testing.T) {
	value := strings.Repeat("v", 100_000)
	text := "+OK\r\n-Key not found\r\n:-12\r\n$-1\r\n$0\r\n\r\n" + bulk("a\r\nb") + bulk(value) +
		"*-1\r\n*0\r\n*2\r\n$1\r\nc\r\n*2\r\n*3\r\n$1\r\nk\r\n:1\r\n:2\r\n*0\r\n" + "+PONG\r\n"
	for name, r := range map[string]io.Reader{
		"whole":       strings.NewReader(text),
		"single byte": iotest.OneByteReader(strings.NewReader(text)),
		"halves":      iotest.HalfReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			replies, err := receive(r)
			if err != io.EOF || len(replies) != 11 {
				t.Fatalf("got %d replies, %v", len(replies), err)
			}
			if got := replies[6].([]byte); string(got) != value {
				t.Errorf("got a value of %d bytes", len(got))
			}
		})
	}
}

// The limits hold at their edge.
func TestGuardLimits(t *testing.T) {
	largest := bulk(strings.Repeat("v", zdb.MaxValueBytes))
	tests := []struct {
		name    string
		text    string
		replies int
		ok      bool
	}{
		{"largest value", largest, 1, true},
		{"largest reply", "*8\r\n" + strings.Repeat(largest, 8), 1, true},
		{"reply too large", "*9\r\n" + strings.Repeat(largest, 9), 0, false},
		{"two large replies", strings.Repeat("*8\r\n"+strings.Repeat(largest, 8), 2), 2, true},
		{"longest line", "+" + strings.Repeat("x", maxLineBytes-2) + "\r\n", 1, true},
		{"line too long", "+" + strings.Repeat("x", maxLineBytes-1) + "\r\n", 0, false},
		{"deepest", "*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 1, true},
		{"too deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replies, err := receive(strings.NewReader(test.text))
			if len(replies) != test.replies || test.ok != (err == io.EOF) || !test.ok && !errors.Is(err, zdb.ErrNotZDB) {
				t.Errorf("got %d replies, %v", len(replies), err)
			}
		})
	}
}

// Whatever comes, redigo behind the guard neither panics nor finds fault itself nor
// allocates beyond what came.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\nc\r\n*1\r\n*3\r\n$1\r\nk\r\n:1\r\n:2\r\n"))
	f.Add([]byte("+OK\r\n-Key not found\r\n:-12\r\n$-1\r\n$3\r\nabc\r\n"))
	f.Add([]byte("$9999999\r\n"))
	f.Add([]byte("*-1\r\n*0\r\n:\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := receive(bytes.NewReader(b))
		if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, zdb.ErrNotZDB) {
			t.Fatalf("not our error: %v", err)
		}
		cut, _ := receive(iotest.OneByteReader(bytes.NewReader(b)))
		if len(whole) != len(cut) {
			t.Fatalf("got %d replies at once, %d byte by byte", len(whole), len(cut))
		}
	})
}
