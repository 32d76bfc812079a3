package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the base folder: %v %v", entries, err)
	}
}

// Each program is started on both networks, restarted on its data, measured and taken away.
func TestPrograms(t *testing.T) {
	ours, err := Ours(context.Background(), "", t.TempDir(), "--memory", "128MiB")
	if err != nil {
		t.Fatal(err)
	}
	programs := []Program{ours}
	if path := os.Getenv(OriginalVariable); path != "" {
		original, err := Original(path)
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, original)
	}
	for _, p := range programs {
		for _, network := range []string{TCP, Unix} {
			t.Run(p.Name+" "+network, func(t *testing.T) {
				base := t.TempDir()
				d, err := Start(context.Background(), p, Options{Base: base, Network: network, Sync: SyncNone})
				if err != nil {
					t.Fatal(err)
				}
				request := func(text, want string) {
					t.Helper()
					nc, err := net.Dial(d.Network, d.Address)
					if err != nil {
						t.Fatal(err)
					}
					defer nc.Close()
					got := make([]byte, len(want))
					if _, err := nc.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
					if _, err := nc.Read(got); err != nil || string(got) != want {
						t.Errorf("%q, %v", got, err)
					}
				}
				request("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", "$1\r\nk\r\n")
				if err := d.Restart(context.Background(), SyncGroup); err != nil {
					t.Fatal(err)
				}
				request("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n")
				if err := d.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := d.Resume(context.Background()); err != nil {
					t.Fatal(err)
				}
				request("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n")
				if u, err := d.Usage(); err != nil || u.MemoryBytes < 1<<20 || u.PeakBytes < u.MemoryBytes || u.OwnBytes < 1<<20 || u.OwnBytes >= u.MemoryBytes || u.CPU < 0 || u.CPU > time.Minute {
					t.Errorf("%+v, %v", u, err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				empty(t, base)
			})
		}
		if v := p.Version(context.Background()); v == "" {
			t.Errorf("%s does not tell its version", p.Name)
		}
	}
}

// A process that ends before it takes connections, or takes none, is told with its last
// words; nothing of it stays.
func TestDoesNotStart(t *testing.T) {
	options := Options{Network: Unix, Sync: SyncNone}
	t.Run("ends", func(t *testing.T) {
		options.Base = t.TempDir()
		_, err := Start(context.Background(), Program{Name: "x", Path: script(t, "echo no disk here >&2\nexit 15\n")}, options)
		if err == nil || !strings.Contains(err.Error(), "no disk here") {
			t.Error(err)
		}
		empty(t, options.Base)
	})
	t.Run("hangs", func(t *testing.T) {
		options.Base = t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := Start(ctx, Program{Name: "x", Path: script(t, "exec tail -f /dev/null\n")}, options)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		empty(t, options.Base)
	})
	t.Run("not there", func(t *testing.T) {
		options.Base = t.TempDir()
		path := filepath.Join(options.Base, "none")
		if _, err := Ours(context.Background(), path, options.Base); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
			t.Error(err)
		}
		if _, err := Original(path); err == nil {
			t.Error("no error")
		}
		if _, err := Start(context.Background(), Program{Name: "x", Path: path}, options); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		empty(t, options.Base)
	})
}

func TestUsageText(t *testing.T) {
	const stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 8 0 100 1 1 18446744073709551615"
	if d, err := cpuOf([]byte(stat)); err != nil || d != 1750*time.Millisecond {
		t.Errorf("%v, %v", d, err)
	}
	if n, err := kilobytes([]byte("VmPeak:\t 9 kB\nVmHWM:\t     100 kB\nVmRSS:\t      12 kB\n"), "VmRSS:"); err != nil || n != 12<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "7 (x) S 1 2", "7 (x) S 1 7 7 0 -1 4194560 1 2 3 4 x 25 0"} {
		if _, err := cpuOf([]byte(bad)); !errors.Is(err, errProc) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := kilobytes([]byte(bad), "VmRSS:"); !errors.Is(err, errProc) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
