package detach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this test binary be the daemon too: its first argument says what it does.
func TestMain(m *testing.M) {
	daemon, err := Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if daemon == nil {
		os.Exit(m.Run())
	}
	if os.Getenv(variable) != "" {
		os.Exit(9) // the variable must not reach its own children
	}
	switch os.Args[1] {
	case "ready":
		fmt.Println("in the log")
		daemon.Ready(fmt.Sprintf("%s in session %v", daemon.Secret, syscall.Getpid() == mustSid()))
		daemon.Failed(Failure{Code: 1, Message: "after ready"})
	case "fails":
		daemon.Failed(Failure{Code: 13, Message: "too few nodes: 3 of 6", Hint: "start them"})
		os.Exit(13)
	case "dies":
		os.Exit(7)
	case "waits":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		os.WriteFile(os.Args[2], nil, 0o600)
		<-stop
		os.WriteFile(os.Args[2]+".stopped", nil, 0o600)
	}
	os.Exit(0)
}

func mustSid() int {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	return int(sid)
}

func start(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	log, err := OpenLog(filepath.Join(t.TempDir(), "log", "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		if text, _ := os.ReadFile(log.path); len(args) > 0 && args[0] == "ready" && string(text) != "in the log\n" {
			t.Errorf("log holds %q", text)
		}
	})
	return Start(ctx, Options{Args: append([]string{"qsfs"}, args...), Log: log.File(), Secret: []byte("the secret")})
}

func TestReady(t *testing.T) {
	got, err := start(t.Context(), t, "ready")
	if err != nil || got != "the secret in session true" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFails(t *testing.T) {
	_, err := start(t.Context(), t, "fails")
	failure, ok := errors.AsType[*Failure](err)
	if !ok || failure.Code != 13 || failure.Message != "too few nodes: 3 of 6" || failure.Hint != "start them" {
		t.Errorf("got %v", err)
	}
}

func TestDies(t *testing.T) {
	if _, err := start(t.Context(), t, "dies"); !errors.Is(err, ErrDied) || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v", err)
	}
}

// TestCancel proves that Ctrl-C while waiting ends the daemon too, in its own orderly way.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	mark := filepath.Join(t.TempDir(), "mark")
	go func() {
		for {
			if _, err := os.Stat(mark); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := start(ctx, t, "waits", mark); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(mark + ".stopped"); err != nil {
		t.Errorf("the daemon was not let to its end: %v", err)
	}
}

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qsfs.log")
	log, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	log.maxBytes = 100
	for i := range 100 {
		fmt.Fprintf(log, "line %02d ...\n", i)
	}
	log.Close()
	var total int
	for _, name := range []string{path, path + ".1"} {
		text, err := os.ReadFile(name)
		if err != nil || len(text) > 120 || len(text) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		total += len(text)
	}
	if text, _ := os.ReadFile(path); !strings.HasSuffix(string(text), "line 99 ...\n") {
		t.Errorf("the newest line is not in %s: %q", path, text)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 2 {
		t.Errorf("%d files, want 2", len(entries))
	}
}
