package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/server"
)

// adminPassword is the one of servers that have one.
const adminPassword = "correct horse"

// config says how a server is started. The zero value has mixed mode and no
// administrator's password: everybody is an administrator.
type config struct {
	Mode     string // "user" or "seq" pins it
	Admin    bool   // with adminPassword
	Protect  bool
	MaxBytes int64  // of the default namespace
	Hook     string // a program

	MaxClients int // of ours
}

// peer is a running server as it is reached.
type peer struct {
	config
	network, address string
	original         bool   // the C server
	dir              string // its data is below
	tls              *certificate
	process          *os.Process // of the original
	stop             func()      // ends it; once more is nothing
}

// kind is a server and a way to it.
type kind struct {
	name     string
	network  string
	original bool
}

var kinds = []kind{
	{"ours over TCP", "tcp", false},
	{"ours over a unix socket", "unix", false},
	{"original over TCP", "tcp", true},
	{"original over a unix socket", "unix", true},
}

// overTLS is a kind for clients only.
var overTLS = kind{"ours over TLS", "tls", false}

// overAllClients runs a test against each kind of server that a client can reach.
func overAllClients(t *testing.T, test func(t *testing.T, k kind)) {
	t.Run(overTLS.name, func(t *testing.T) { test(t, overTLS) })
	overAll(t, test)
}

// overAll runs a test against each kind of server.
func overAll(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if k.original && os.Getenv(originalVariable) == "" {
				t.Skip(originalVariable + " does not name a zdb binary of threefoldtech/0-db")
			}
			test(t, k)
		})
	}
}

// originalVariable is the environment variable with the path of the C server.
const originalVariable = "QSFS_ZDB_ORIGINAL"

// start runs a server until the end of the test.
func (k kind) start(t testing.TB, c config) *peer {
	t.Helper()
	p := &peer{config: c, network: k.network, original: k.original, dir: t.TempDir()}
	if k.network == "tls" {
		p.network, p.tls = "tcp", newCertificate(t)
	}
	p.start(t)
	return p
}

// start starts it on its data, which may be there from before.
func (p *peer) start(t testing.TB) {
	t.Helper()
	if p.original {
		p.startOriginal(t)
	} else {
		p.startOurs(t)
	}
	t.Cleanup(p.stop)
}

func (p *peer) startOurs(t testing.TB) {
	t.Helper()
	o := server.Options{DataDir: p.dir, Protect: p.Protect, MaxBytes: p.MaxBytes, Hook: p.Hook, MaxConnections: p.MaxClients, Sync: server.SyncNone, Version: "test"}
	switch p.Mode {
	case "user":
		o.Mode = server.ModeUser
	case "seq":
		o.Mode = server.ModeSequential
	}
	if p.Admin {
		o.AdminPassword = adminPassword
	}
	s, err := server.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if p.address == "" { // else it is as before
		p.address = "127.0.0.1:0"
		if p.network == "unix" {
			p.address = filepath.Join(t.TempDir(), "zdb.sock")
		}
	}
	l, err := net.Listen(p.network, p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	if p.tls != nil {
		l = p.tls.listener(t, l)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	p.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, zdb.ErrDisk) { // rows take files away
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// startOriginal starts the C server. It can't be told to take any free port, so somebody
// else may be faster to take the one found for it: then it is another one.
func (p *peer) startOriginal(t testing.TB) {
	t.Helper()
	wasThere := p.address != ""
	for tries := 5; ; tries-- {
		switch {
		case wasThere: // as before
		case p.network == "unix":
			p.address = filepath.Join(t.TempDir(), "zdb.sock")
		default:
			p.address = freePort(t)
		}
		err := p.launch(t)
		if err == nil {
			return
		}
		if tries == 1 || wasThere {
			t.Fatal(err)
		}
	}
}

// launch runs the program until it listens.
func (p *peer) launch(t testing.TB) error {
	t.Helper()
	args := []string{
		"--data", filepath.Join(p.dir, "data"), "--index", filepath.Join(p.dir, "index"),
		"--datasize", "33554432",
	}
	if p.network == "unix" {
		args = append(args, "--socket", p.address)
	} else {
		_, port, _ := net.SplitHostPort(p.address)
		args = append(args, "--listen", "127.0.0.1", "--port", port)
	}
	if p.Mode != "" {
		args = append(args, "--mode", p.Mode)
	}
	if p.Admin {
		args = append(args, "--admin", adminPassword)
	}
	if p.Protect {
		args = append(args, "--protect")
	}
	if p.MaxBytes > 0 {
		args = append(args, "--maxsize", decimal(p.MaxBytes))
	}
	if p.Hook != "" {
		args = append(args, "--hook", p.Hook)
	}
	var log bytes.Buffer
	// A write beyond a limit of file sizes, which some rows set, is to fail and not to kill.
	cmd := exec.Command("sh", append([]string{"-c", `trap "" XFSZ; exec "$0" "$@"`, os.Getenv(originalVariable)}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.process = cmd.Process
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
		if t.Failed() {
			t.Logf("the original's log: %s", log.Bytes())
		}
	})
	// It listens when its files are made, and says so to nobody.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		nc, err := net.Dial(p.network, p.address)
		select {
		case <-ended:
			if err == nil {
				nc.Close() // somebody else's
			}
			return fmt.Errorf("the original ended: %s", log.Bytes())
		default:
		}
		if err == nil {
			nc.Close()
			return nil
		}
		if time.Now().After(deadline) {
			p.stop()
			return fmt.Errorf("the original does not listen: %w: %s", err, log.Bytes())
		}
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
