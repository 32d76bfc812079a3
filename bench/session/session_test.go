package session

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// peer answers whatever is sent with a text, and hangs up.
func peer(t testing.TB, text string) *Session {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go io.Copy(io.Discard, theirs)
	go func() {
		io.WriteString(theirs, text)
		theirs.Close()
	}()
	return New(ours)
}

// Requests are sent as the protocol has them, alone, many at once and in two parts.
func TestRequests(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(theirs)
		got <- string(b)
	}()
	s := New(ours)
	key, value := []byte("k"), []byte("val")
	s.Queue([]byte("SET"), key, value)
	s.Queue([]byte("GET"), key)
	for _, err := range []error{s.Flush(), s.Send([]byte("PING")), s.SendParts([]byte("ue"), []byte("SET"), nil, value), s.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nval\r\n" + "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" + "*1\r\n$4\r\nPING\r\n" +
		"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\nvalue\r\n"
	if text := <-got; text != want {
		t.Errorf("sent %q\nwant %q", text, want)
	}
}

// Replies are taken for what they are, and what is none is an error.
func TestReplies(t *testing.T) {
	for text, want := range map[string]Reply{
		"+OK\r\n": {Kind: '+', Text: "OK"}, ":-7\r\n": {Kind: ':', N: -7}, "$-1\r\n": {Kind: '$', N: -1}, "*2\r\n": {Kind: '*', N: 2},
	} {
		if re, err := peer(t, text).Reply(); err != nil || re != want {
			t.Errorf("%q: %+v, %v", text, re, err)
		}
	}
	if re, err := peer(t, "-Key not found\r\n").Reply(); !errors.Is(err, ErrServer) || re.Text != "Key not found" {
		t.Errorf("%+v, %v", re, err)
	}
	for _, text := range []string{"hello\r\n", "+OK\n", "\r\n", ":x\r\n", "$\r\n", "$99999999999999999999\r\n"} {
		if _, err := peer(t, text).Reply(); !errors.Is(err, ErrWrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := peer(t, ":1\r\n").Expect('+'); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	for _, text := range []string{"$5\r\nvalue\r\n", "$0\r\n\r\n"} {
		b, err := peer(t, text).Bulk([]byte("a "), 5)
		if want := "a " + strings.Split(text, "\r\n")[1]; err != nil || string(b) != want {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, text := range []string{"$6\r\nvalues\r\n", "$-1\r\n", "$-2\r\n", "$5\r\nval", ":5\r\n", "$5\r\nvaluexx"} {
		if b, err := peer(t, text).Bulk([]byte("a "), 5); err == nil || string(b) != "a " {
			t.Errorf("%q: %q, %v", text, b, err)
		}
	}
}

// A page is read whole or not at all, whatever comes.
func FuzzPage(f *testing.F) {
	for _, text := range []string{
		"*2\r\n$3\r\nabc\r\n*2\r\n*3\r\n$1\r\nk\r\n:5\r\n:1\r\n*3\r\n$1\r\nl\r\n:0\r\n:1\r\n", "-No more data\r\n", "*2\r\n$3\r\nabc\r\n*0\r\n", "*2\r\n$65\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, keyBytes := 0, 0
		next, err := peer(t, string(text)).Page(nil, func(key []byte, _ int64) error {
			entries++
			keyBytes += len(key)
			return nil
		})
		if err == nil && (entries < 1 || keyBytes > len(text) || len(next) > maxCursorBytes || !bytes.Contains(text, next)) {
			t.Fatalf("%q: %d entries, cursor %q", text, entries, next)
		}
	})
}
