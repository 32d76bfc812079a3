package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// daemon is a zdbd process of this test.
type daemon struct {
	cmd  *exec.Cmd
	sock string
}

func start(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	path, err := exec.LookPath("zdbd") // put in PATH by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{sock: filepath.Join(dir, "sock")}
	d.cmd = exec.Command(path, append([]string{"--quiet", "--data", filepath.Join(dir, "data"), "--listen", "", "--socket", d.sock}, args...)...)
	d.cmd.Stderr = os.Stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "zdbd: ready") {
		t.Fatalf("%q, %v", line, err)
	}
	return d
}

// ask sends a request and reads a bulk, nil, status or error reply.
func ask(nc net.Conn, r *bufio.Reader, args ...string) (value string, null bool, err error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := nc.Write(b.Bytes()); err != nil {
		return "", false, err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return "", false, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line[0] != '$' {
		return line, false, nil
	}
	n := 0
	fmt.Sscan(line[1:], &n)
	if n < 0 {
		return "", true, nil
	}
	v := make([]byte, n+2)
	_, err = io.ReadFull(r, v)
	return string(v[:n]), false, err
}

// SIGTERM under load: what was answered is there afterwards, and the exit is clean.
func TestTerminate(t *testing.T) {
	dir := t.TempDir()
	d := start(t, dir)
	nc, err := net.Dial("unix", d.sock)
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	n := 0
	for ; ; n++ {
		if n == 50 {
			d.cmd.Process.Signal(syscall.SIGTERM)
		}
		if reply, _, err := ask(nc, r, "SET", fmt.Sprint(n), "value"); err != nil || reply != fmt.Sprint(n) {
			break
		}
	}
	nc.Close()
	if err := d.cmd.Wait(); err != nil || n < 50 {
		t.Fatalf("%v after %d", err, n)
	}
	d = start(t, dir)
	if nc, err = net.Dial("unix", d.sock); err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r = bufio.NewReader(nc)
	for i := range n {
		if v, _, err := ask(nc, r, "GET", fmt.Sprint(i)); err != nil || v != "value" {
			t.Fatalf("%d: %q, %v", i, v, err)
		}
	}
}
