package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
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
		"ask":        askServer,
		"flip":       flipByte,
		"cut":        cutFile,
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

// askServer sends a command to a server's unix socket and writes the reply to stdout: ask
// SOCKET COMMAND ARGUMENT... In arguments x*N is x N times, and \xHH a byte; SELECT comes first with -ns NAME.
func askServer(ts *testscript.TestScript, neg bool, args []string) {
	nc, err := net.Dial("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(nc)
	args = args[1:]
	if args[0] == "-ns" {
		if reply, _, err := ask(nc, r, "SELECT", args[1]); err != nil || reply != "+OK" {
			ts.Fatalf("SELECT: %q, %v", reply, err)
		}
		args = args[2:]
	}
	for i, a := range args {
		if text, times, ok := strings.Cut(a, "*"); ok {
			n, err := strconv.Atoi(times)
			ts.Check(err)
			args[i] = strings.Repeat(text, n)
		} else if strings.Contains(a, `\x`) {
			text, err := strconv.Unquote(`"` + a + `"`)
			ts.Check(err)
			args[i] = text
		}
	}
	reply, null, err := ask(nc, r, args...)
	ts.Check(err)
	if null {
		reply = "nil"
	}
	fmt.Fprintln(ts.Stdout(), reply)
	if strings.HasPrefix(reply, "-") != neg {
		ts.Fatalf("%q", reply)
	}
}

// flipByte damages a file: flip FILE OFFSET, from the end when negative.
func flipByte(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

// cutFile copies the beginning of a file: cut FROM TO BYTES.
func cutFile(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:n], 0o600))
}
