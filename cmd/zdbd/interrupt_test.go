package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/qsfs/qsfs/zdb/transfer"
)

// tool runs a sub-command to its end.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("zdbd", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("zdbd %q: %v: %s", args, err, out)
	}
	return string(out)
}

// interrupt starts a sub-command, sends SIGINT once begun says so, and wants code 130.
func interrupt(t *testing.T, begun func() bool, args ...string) {
	t.Helper()
	cmd := exec.Command("zdbd", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for !begun() {
		select {
		case err := <-ended:
			t.Fatalf("it ended before: %v: %s", err, out.String())
		default:
		}
	}
	cmd.Process.Signal(syscall.SIGINT)
	err := <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || !strings.Contains(out.String(), "interrupted") {
		t.Fatalf("got %v: %s", err, out.String())
	}
}

// An export that is interrupted leaves no file, an import can be gone on with. The server is
// one that slows its clients, so that both take long.
func TestInterruptTransfer(t *testing.T) {
	dir := t.TempDir()
	stream := filepath.Join(dir, "stream")
	file, err := os.Create(stream)
	if err != nil {
		t.Fatal(err)
	}
	w, err := transfer.NewWriter(file, transfer.Header{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := w.Write(transfer.Record{Key: []byte(fmt.Sprint(i)), Value: bytes.Repeat([]byte{byte(i)}, 1e6), UnixTime: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	tool(t, "import", "--to", filepath.Join(dir, "data"), "--namespace", "full", "--in", stream)
	d := start(t, dir, "--bytes-per-second", "1MiB")

	outDir := t.TempDir()
	interrupt(t, func() bool {
		left, err := filepath.Glob(filepath.Join(outDir, ".out.*"))
		return err == nil && len(left) > 0
	}, "export", "--from", "zdb+unix://"+d.sock+"?ns=full", "--out", filepath.Join(outDir, "out"))
	if left, err := os.ReadDir(outDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	target := filepath.Join(dir, "data", "namespaces", "n-half")
	interrupt(t, func() bool {
		_, err := os.Stat(filepath.Join(target, "store"))
		return err == nil
	}, "import", "--to", "zdb+unix://"+d.sock+"?ns=half", "--in", stream)
	d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	out := tool(t, "import", "--to", filepath.Join(dir, "data"), "--namespace", "half", "--in", stream)
	if !strings.Contains(out, "imported 100 values") {
		t.Errorf("got %s", out)
	}
	if out := tool(t, "check", filepath.Join(dir, "data")); !strings.Contains(out, "namespace half: whole") {
		t.Errorf("got %s", out)
	}
}
