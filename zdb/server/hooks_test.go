package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// hookScript writes a hook that notes its arguments and then runs body. calls reads the notes.
func hookScript(t *testing.T, body string) (path string, calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	path = filepath.Join(dir, "hook")
	script := fmt.Sprintf("#!/bin/sh\n{ printf '%%s' \"$1\"; shift; for a in \"$@\"; do printf ' [%%s]' \"$a\"; done; echo; } >> %q\n%s\n", notes, body)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, func() []string {
		b, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
}

// settled waits until no hook waits or runs.
func (s *Server) settled(t *testing.T) {
	t.Helper()
	s.hooks.settle(t.Context(), 30*time.Second)
}

// Each hook with its arguments, in the order of the events.
func TestHooks(t *testing.T) {
	program, calls := hookScript(t, "")
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir, Hook: program, InstanceID: "tcp://test:1"})
	c := dial(t, addr)
	c.steps([]step{
		{"+OK", args("NSNEW", "x y")},
		{"+OK", args("SELECT", "x y")},
		{"+OK", args("NSSET", "x y", "mode", "seq")},
		{"+OK", args("NSSET", "x y", "lock", "0")},
		{id(0), args("SET", "", "v")},
		{"+OK", args("NSJUMP")},
	})
	s.settled(t)
	c.want("[]", "INDEX", "DIRTY") // the hook that had the list ended well
	c.steps([]step{
		{id(1), args("SET", "", "v")},
		{"+OK", args("RELOAD", "x y")},
		{"+OK", args("NSNEW", "gone")},
		{"+OK", args("NSDEL", "gone")},
		{"-Namespace not found", args("NSSET", "gone", "lock", "0")},
	})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spaces := filepath.Join(dir, "namespaces")
	data := filepath.Join(spaces, dirName("x y"), "store")
	file := func(n int) string { return filepath.Join(data, fmt.Sprintf("%08x.qzd", n)) }
	index := filepath.Join(data, "index")
	var want []string
	for _, w := range [][]string{
		{"namespaces-init", spaces, spaces},
		{"ready"},
		{"namespace-created", "x y"},
		{"namespace-updated", "x y"},
		{"namespace-updated", "x y"},
		{"jump-index", index, index, "0"},
		{"jump-data", file(1), file(2)},
		{"namespace-reloaded", "x y"},
		{"namespace-created", "gone"},
		{"namespace-deleted", "gone"},
		{"close"},
		{"namespace-closing", "x y", index, file(2), "1"},
	} {
		line := w[0] + " [tcp://test:1]"
		for _, a := range w[1:] {
			line += " [" + a + "]"
		}
		want = append(want, line)
	}
	if got := calls(); !slices.Equal(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A hook "ready" that fails stops the boot.
func TestHookReadyFails(t *testing.T) {
	for name, hook := range map[string]string{"exit status": "test $# -ne 1 || exit 3", "hangs": "sleep 1000", "is none": ""} {
		t.Run(name, func(t *testing.T) {
			program, _ := hookScript(t, hook)
			if hook == "" {
				program += " that is not there"
			}
			s, err := Open(Options{DataDir: t.TempDir(), Hook: program, HookTimeout: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Serve(l); err == nil || !strings.Contains(err.Error(), "ready") {
				t.Fatal(err)
			}
			if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
				t.Fatal("it listens")
			}
			if err := s.Ready(t.Context()); err == nil {
				t.Fatal("ready after all")
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Clients never wait for a hook that hangs; it is killed in the end, with what it started.
// HOOKS shows what waits, runs and has ended.
func TestHookHangs(t *testing.T) {
	program, _ := hookScript(t, `case $2 in hang*) sleep 1000 & wait;; esac; case $2 in bad) echo sorry; exit 7;; esac`)
	s, addr := run(t, Options{AdminPassword: "root", Hook: program})
	c := dial(t, addr)
	c.want("-Permission denied", "HOOKS")
	c.want("+OK", "AUTH", "root")
	c.want("+OK", "NSNEW", "bad")
	s.settled(t)
	hooks := c.do("HOOKS")
	if !strings.HasPrefix(hooks, "[[namespaces-init [") || !strings.Contains(hooks, "] [ready [] :") || !strings.HasSuffix(hooks, " :7]]") || !strings.Contains(hooks, "[namespace-created [bad] :") {
		t.Fatal(hooks)
	}
	start := time.Now()
	c.want("+OK", "NSNEW", "hang1")
	for i := range maxWaitingHooks + 20 {
		c.want("+OK", "NSSET", "hang1", "maxsize", fmt.Sprint(i))
	}
	hooks = c.do("HOOKS")
	if n := strings.Count(hooks, "[namespace-updated [hang1] :0 :0 :0 :0]"); n != maxWaitingHooks {
		t.Fatalf("%d hooks wait: %s", n, hooks)
	}
	if n := strings.Count(hooks, "[namespace-created [hang1] :"); n != 1 {
		t.Fatal(hooks)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Fatalf("the end waited %v", d)
	}
}

// A hook ends after its time, by a signal that HOOKS shows; the next one runs.
func TestHookTimeout(t *testing.T) {
	program, calls := hookScript(t, `case $2 in hang) sleep 1000;; esac`)
	s, addr := run(t, Options{Hook: program, HookTimeout: 3 * time.Second})
	c := dial(t, addr)
	c.want("+OK", "NSNEW", "hang")
	c.want("+OK", "NSNEW", "next")
	s.settled(t)
	if got := c.do("HOOKS"); !strings.Contains(got, ":137] [namespace-created [next]") {
		t.Fatal(got)
	}
	if got := calls(); got[len(got)-1] != "namespace-created [unknown-id] [next]" {
		t.Fatal(got)
	}
}

// A data file that is missing is asked for once, however often clients ask for what is in it.
func TestHookMissingData(t *testing.T) {
	program, calls := hookScript(t, "")
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir, Hook: program})
	c := dial(t, addr)
	c.want("k", "SET", "k", "v")
	c.want("+OK", "NSJUMP")
	c.want("k2", "SET", "k2", "v")
	file := filepath.Join(dir, "namespaces", "n-default", "store", "00000001.qzd")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	c.want("+OK", "RELOAD", "default")
	c.want("-Internal Error", "GET", "k")
	s.settled(t)
	if got, want := calls(), "missing-data [unknown-id] ["+file+"]"; !slices.Contains(got, want) {
		t.Fatalf("no %q in %q", want, got)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	c.want("v", "GET", "k")
}

// Without a hook nothing is listed, and nothing runs.
func TestNoHook(t *testing.T) {
	_, addr := run(t, Options{})
	c := dial(t, addr)
	c.want("+OK", "NSNEW", "x")
	c.want("[]", "HOOKS")
}
