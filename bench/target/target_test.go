package target

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the base folder: %v %v", entries, err)
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPlain(t *testing.T) {
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := Plain(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target.Dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := target.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 1 || entries[0].Name() != "mine" {
		t.Errorf("left %v %v", entries, err)
	}
}

func TestExistingRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "-none"} {
		if _, err := Existing("x", dir); err == nil {
			t.Errorf("%s: no error", dir)
		}
	}
}

// A daemon that ends before it mounts, or never mounts, is told with its last words; nothing stays.
func TestDaemonThatDoesNotMount(t *testing.T) {
	t.Run("ends", func(t *testing.T) {
		base := t.TempDir()
		_, err := Qsfs(context.Background(), base, QsfsOptions{Program: script(t, "echo no fuse here >&2\nexit 18\n")})
		if err == nil || !strings.Contains(err.Error(), "no fuse here") {
			t.Error(err)
		}
		empty(t, base)
	})
	t.Run("hangs", func(t *testing.T) {
		base := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // as Ctrl-C would
		_, err := Qsfs(ctx, base, QsfsOptions{Program: script(t, "exec tail -f /dev/null\n")})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		empty(t, base)
	})
	t.Run("not there", func(t *testing.T) {
		base := t.TempDir()
		_, err := Qsfs(context.Background(), base, QsfsOptions{Program: filepath.Join(base, "none")})
		if !errors.Is(err, ErrNotInstalled) {
			t.Error(err)
		}
		empty(t, base)
	})
}

// A real gocryptfs comes and goes, in a folder whose name needs escaping.
func TestGocryptfs(t *testing.T) {
	base := filepath.Join(t.TempDir(), "with space")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	target, err := Gocryptfs(context.Background(), base)
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if _, statErr := os.Stat("/dev/fuse"); err != nil && statErr != nil {
		t.Skip("no fuse on this machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target.Dir, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	if err := target.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if mounted, err := isMounted(target.Dir); mounted || err != nil {
		t.Errorf("still mounted: %v %v", mounted, err)
	}
	empty(t, base)
}
