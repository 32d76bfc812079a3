package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/qsfs/qsfs/zdb/resp"
)

// BenchmarkServer: 4 connections with 8 requests in flight each, over a unix socket and TCP.
func BenchmarkServer(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		for _, sizeKiB := range []int{4, 64, 512} {
			b.Run(fmt.Sprintf("GET/%s/%dKiB", network, sizeKiB), func(b *testing.B) { bench(b, network, "GET", SyncNone, sizeKiB<<10) })
			for name, mode := range map[string]SyncMode{"group": SyncGroup, "none": SyncNone} {
				b.Run(fmt.Sprintf("SET/%s/%dKiB/%s", network, sizeKiB, name), func(b *testing.B) { bench(b, network, "SET", mode, sizeKiB<<10) })
			}
		}
	}
}

func bench(b *testing.B, network, verb string, mode SyncMode, size int) {
	s, addr := run(b, Options{Sync: mode})
	if network == "unix" {
		addr = filepath.Join(b.TempDir(), "s")
		l, err := net.Listen("unix", addr)
		if err != nil {
			b.Fatal(err)
		}
		go s.Serve(l)
	}
	const conns, depth, keys = 4, 8, 64
	value := bytes.Repeat([]byte("v123456789abcdef"), size/16)
	request := func(verb string, i int) (head, body []byte) {
		head = resp.AppendArray(nil, 3)
		if verb == "GET" {
			head = resp.AppendArray(nil, 2)
		}
		head = resp.AppendBulk(resp.AppendBulk(head, verb), fmt.Sprint("key", i))
		if verb == "GET" {
			return head, nil
		}
		copy(value, fmt.Sprintf("%15d", i)) // no two values the same
		return resp.AppendBulkHead(head, size), append(bytes.Clone(value), "\r\n"...)
	}
	if verb == "GET" {
		nc, err := net.Dial(network, addr)
		if err != nil {
			b.Fatal(err)
		}
		r := bufio.NewReader(nc)
		for i := range keys {
			head, body := request("SET", i)
			nc.Write(head)
			nc.Write(body)
			if err := skipReply(r); err != nil {
				b.Fatal(err)
			}
		}
		nc.Close()
	}
	b.SetBytes(int64(size))
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range conns {
		nc, err := net.Dial(network, addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		slots := make(chan struct{}, depth)
		n := b.N/conns + 1
		wg.Go(func() {
			for i := range n {
				slots <- struct{}{}
				k := i % keys
				if verb == "SET" {
					k = c*n + i
				}
				var bufs net.Buffers
				if verb == "GET" {
					head, _ := request(verb, k)
					bufs = net.Buffers{head}
				} else {
					head := resp.AppendBulkHead(resp.AppendBulk(resp.AppendBulk(resp.AppendArray(nil, 3), "SET"), fmt.Sprint("key", k)), size)
					bufs = net.Buffers{head, fmt.Appendf(nil, "%15d", k), value[15:], []byte("\r\n")}
				}
				if _, err := bufs.WriteTo(nc); err != nil {
					b.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			r := bufio.NewReaderSize(nc, 64<<10)
			for range n {
				if err := skipReply(r); err != nil {
					b.Error(err)
					return
				}
				<-slots
			}
		})
	}
	wg.Wait()
}

// skipReply reads a bulk string and forgets it.
func skipReply(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	n := 0
	if _, err := fmt.Sscanf(string(line), "$%d", &n); err != nil || n < 0 {
		return fmt.Errorf("reply %q: %v", line, err)
	}
	_, err = io.CopyN(io.Discard, r, int64(n)+2)
	return err
}
