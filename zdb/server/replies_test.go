package server

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb/resp"
)

// A client that asks and takes no answers is let go, and is in nobody's way, least of all that of
// a server that closes.
func TestClientTakesNoReplies(t *testing.T) {
	s, _ := run(t, Options{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.(*net.UnixConn).CloseRead(); err != nil { // the server's next write is an error
		t.Fatal(err)
	}
	ping := resp.AppendBulk(resp.AppendArray(nil, 1), "PING")
	for err == nil { // until the server has closed
		nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err = nc.Write(ping)
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatal("the server keeps the connection")
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not close")
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
