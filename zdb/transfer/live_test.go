package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/server"
)

const adminPassword = "correct horse"

// live is a server on a unix socket.
type live struct {
	socket   string
	original bool
}

func ours(t *testing.T) live {
	s, err := server.Open(server.Options{DataDir: t.TempDir(), AdminPassword: adminPassword, Sync: server.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), <-served); err != nil {
			t.Error(err)
		}
	})
	return live{socket: l.Addr().String()}
}

// original is the C server, if QSFS_ZDB_ORIGINAL names its program.
func original(t *testing.T) live {
	program := os.Getenv("QSFS_ZDB_ORIGINAL")
	if program == "" {
		t.Skip("QSFS_ZDB_ORIGINAL does not name a zdb binary of threefoldtech/0-db")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(program, "--socket", socket, "--data", filepath.Join(dir, "data"), "--index", filepath.Join(dir, "index"),
		"--datasize", "33554432", "--admin", adminPassword)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	return live{socket, true}
}

// open opens a namespace and makes it when it is not there.
func (l live) open(t *testing.T, namespace string, sequential, admin bool) *Client {
	t.Helper()
	dial := func(namespace, password string) *client.Client {
		c, err := client.Open(t.Context(), client.Target{Network: "unix", Address: l.socket, Namespace: namespace, AdminPassword: password},
			client.Options{AllowDown: true, AnyMode: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		for c.Ping(t.Context()) != nil { // the C server takes a moment to listen
			if t.Context().Err() != nil {
				t.Fatal("no answer")
			}
		}
		return c
	}
	a := dial(zdb.DefaultNamespace, adminPassword)
	if err := a.NSNew(t.Context(), namespace); err == nil && sequential {
		if err := a.NSSet(t.Context(), namespace, client.PropertyMode, "seq"); err != nil {
			t.Fatal(err)
		}
	} else if err != nil && !errors.Is(err, zdb.ErrNamespaceExists) {
		t.Fatal(err)
	}
	password := ""
	if admin {
		password = adminPassword
	}
	return &Client{Client: dial(namespace, password), Namespace: namespace}
}

// Values go from each kind of server to each other one and back, in both modes.
func TestLive(t *testing.T) {
	for name, start := range map[string]func(*testing.T) live{"ours": ours, "original": original} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			t.Run("user keys", func(t *testing.T) {
				from := openStore(t, false)
				for i := range 700 {
					put(t, from, fmt.Sprint("key ", i), strings.Repeat("v", i*11), int64(1e9+i))
				}
				put(t, from, "\x00\xff", "", 5)
				put(t, from, "large", strings.Repeat("x", zdb.MaxValueBytes), 1)
				want := content(t, from)
				stream, _ := export(t, from, false)

				there := l.open(t, "user", false, true)
				if r := mustLoad(t, stream, there, ImportOptions{}); r.Written != r.Records || there.TimesLost() {
					t.Errorf("got %+v, times lost: %v", r, there.TimesLost())
				}
				if diff := cmp.Diff(content(t, there), want); diff != "" {
					t.Fatal(diff)
				}
				if r := mustLoad(t, stream, there, ImportOptions{}); r.Written != 0 {
					t.Errorf("the second time %d values were written", r.Written)
				}
				back := openStore(t, false)
				stream, _ = export(t, there, false)
				mustLoad(t, stream, back, ImportOptions{})
				if diff := cmp.Diff(content(t, back), want); diff != "" {
					t.Error(diff)
				}

				guest := l.open(t, "guest", false, false)
				mustLoad(t, stream, guest, ImportOptions{})
				if got := content(t, guest); !guest.TimesLost() || len(got) != len(want) || strings.HasPrefix(got["large"], "1 ") {
					t.Errorf("without the admin password: %d keys, times lost: %v", len(got), guest.TimesLost())
				}
			})
			t.Run("ids", func(t *testing.T) {
				there, from := l.open(t, "ids", true, true), sequence(t)
				stream, _ := export(t, from, true)
				if next, err := there.NextID(t.Context()); next != 0 || err != nil {
					t.Errorf("next id of an empty namespace: %d, %v", next, err)
				}
				broken := errors.New("broken")
				for n := 3; ; n += 5 { // interrupted again and again
					_, err := load(t.Context(), stream, &failing{there, n, broken}, ImportOptions{})
					if err == nil {
						break
					}
					if !errors.Is(err, broken) || n > 100 {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(content(t, there), content(t, from)); diff != "" {
					t.Fatal(diff)
				}
				again, _ := export(t, there, true)
				if !bytes.Equal(again, stream) {
					t.Error("the stream that comes back is another one")
				}
				if _, _, err := there.Put(t.Context(), idKey(5), []byte("other"), 0); err != nil {
					t.Fatal(err)
				}
				if _, err := load(t.Context(), stream, there, ImportOptions{}); !errors.Is(err, ErrOtherData) {
					t.Errorf("over other data: %v", err)
				}
				last := uint64(0)
				r := mustLoad(t, stream, there, ImportOptions{NewIDs: func(_, is uint64) error { last = is; return nil }})
				if next, err := there.NextID(t.Context()); r.Records != 18 || next != last+1 || err != nil {
					t.Errorf("%d records, last id %d, next %d, %v", r.Records, last, next, err)
				}
			})
		})
	}
}
