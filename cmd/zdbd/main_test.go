package main

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zdbd": func() { os.Exit(run()) }})
}

// TestScripts are the stories of the command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"waitsocket": waitSocket,
	}})
}

// waitSocket waits until somebody listens on a unix socket.
func waitSocket(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		nc, err := net.Dial("unix", ts.MkAbs(args[0]))
		if err == nil {
			nc.Close()
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		in, out string
		bytes   int64
	}{{"0", "0", 0}, {"4096", "4KiB", 4096}, {"10GiB", "10GiB", 10 << 30}, {"1GB", "1000000000", 1e9}, {"1 MiB", "1MiB", 1 << 20}, {"5G", "5GiB", 5 << 30}, {"7B", "7", 7}} {
		var s size
		if err := s.Set(c.in); err != nil || int64(s) != c.bytes || s.String() != c.out {
			t.Errorf("%q: %d %s %v", c.in, s, s.String(), err)
		}
	}
	for _, in := range []string{"", "-1", "x", "1.5GiB", "GiB", "9999999PiB"} {
		var s size
		if err := s.Set(in); err == nil {
			t.Errorf("%q is taken as %d", in, s)
		}
	}
}
