package client_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/server"
)

// serve runs this module's server on a data directory, on loopback.
func serve(t testing.TB, dir, address string, sync server.SyncMode) (peer, *server.Server) {
	t.Helper()
	s, err := server.Open(server.Options{DataDir: dir, AdminPassword: adminPassword, Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "zdb.sock")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- s.Serve(tcp) }()
	go func() { done <- s.Serve(unix) }()
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return peer{tcp: tcp.Addr().String(), socket: socket}, s
}

// The client against this module's own server.
func TestServer(t *testing.T) {
	p, _ := serve(t, t.TempDir(), "127.0.0.1:0", server.SyncNone)
	conformance(t, p)
}

// A server that goes and comes back loses nothing that was acknowledged, and callers
// see an error meanwhile, never a wrong value.
func TestServerRestart(t *testing.T) {
	dir := t.TempDir()
	p, s := serve(t, dir, "127.0.0.1:0", server.SyncGroup)
	c := open(t, p.admin("home"), client.Options{CreateNamespace: true, MaxBackoff: 50 * time.Millisecond, MinBackoff: 10 * time.Millisecond})
	stop := make(chan struct{})
	var acknowledged [8]int
	var failed, written atomic.Int64
	var wg sync.WaitGroup
	for w := range acknowledged {
		wg.Go(func() {
			for i := 0; ; {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.Set(t.Context(), fmt.Appendf(nil, "%d/%d", w, i), fmt.Appendf(nil, "v%d", i)); err != nil {
					want(t, err, zdb.ErrUnavailable)
					failed.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				i++
				acknowledged[w] = i
				written.Add(1)
			}
		})
	}
	eventually(t, "writes are acknowledged", func() bool { return written.Load() > 100 })
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writes fail while the server is away", func() bool { return failed.Load() > 10 })
	serve(t, dir, p.tcp, server.SyncGroup)
	eventually(t, "the client finds the server again", func() bool { return c.Ping(t.Context()) == nil })
	close(stop)
	wg.Wait()
	for w, n := range acknowledged {
		for i := range n {
			got, err := c.Get(t.Context(), fmt.Appendf(nil, "%d/%d", w, i))
			if err != nil || !bytes.Equal(got, fmt.Appendf(nil, "v%d", i)) {
				t.Fatalf("%d/%d: got %q, %v", w, i, got, err)
			}
		}
	}
}

func BenchmarkServer(b *testing.B) {
	benchmark(b, func(b *testing.B) peer { p, _ := serve(b, b.TempDir(), "127.0.0.1:0", server.SyncNone); return p })
}
func BenchmarkOriginal(b *testing.B) { benchmark(b, func(b *testing.B) peer { return original(b) }) }

// benchmark measures SET and GET with 1 and with 32 callers at once.
func benchmark(b *testing.B, start func(*testing.B) peer) {
	p := start(b)
	c := open(b, p.admin("bench"), client.Options{CreateNamespace: true})
	for _, sizeBytes := range []int{4 << 10, 512 << 10} {
		const keys = 64
		value := bytes.Repeat([]byte("0123456789abcdef"), sizeBytes/16)
		key := func(i int64) []byte { return fmt.Appendf(nil, "%d/%d", sizeBytes, i%keys) }
		for i := range int64(keys) {
			if err := c.Set(b.Context(), key(i), value); err != nil {
				b.Fatal(err)
			}
		}
		for _, callers := range []int{1, 32} {
			run := func(name string, do func(i int64) error) {
				b.Run(fmt.Sprintf("%s/%dKiB/callers=%d", name, sizeBytes>>10, callers), func(b *testing.B) {
					b.SetBytes(int64(sizeBytes))
					b.ReportAllocs()
					var next atomic.Int64
					var wg sync.WaitGroup
					for range callers {
						wg.Go(func() {
							for {
								i := next.Add(1)
								if i > int64(b.N) {
									return
								}
								if err := do(i); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
				})
			}
			run("SET", func(i int64) error {
				// A changed value: a server may answer a repeated one without writing.
				fresh := append(fmt.Appendf(nil, "%016d", i), value[16:]...)
				return c.Set(b.Context(), key(i), fresh)
			})
			run("GET", func(i int64) error {
				_, err := c.Get(b.Context(), key(i))
				return err
			})
		}
	}
}
