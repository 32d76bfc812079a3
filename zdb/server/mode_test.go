package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/zdb"
)

// NSSET mode changes a namespace in which nothing has been written, and outlives a restart.
func TestSetMode(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir})
	c, other := dial(t, addr), dial(t, addr)
	c.steps([]step{
		{"+OK", args("NSNEW", "x")},
		{"+OK", args("NSSET", "x", "mode", "user")},
		{"-Invalid property value (expected: user, seq)", args("NSSET", "x", "mode", "both")},
		{"-Namespace not found", args("NSSET", "nope", "mode", "seq")},
		{"+OK", args("NSSET", "x", "mode", "seq")},
		{"+OK", args("NSSET", "x", "mode", "user")},
		{"+OK", args("SELECT", "x")},
	})
	other.want("+OK", "SELECT", "x")
	other.want("-Invalid argument, key needed", "SET", "", "v")
	c.want("+OK", "NSSET", "x", "mode", "seq")
	other.want(id(0), "SET", "", "v") // under a session
	for _, value := range []string{"user", "seq", "both"} {
		c.want("-Cannot change mode of used namespace", "NSSET", "x", "mode", value)
	}
	c.want("+OK", "DEL", id(0))
	c.want("-Cannot change mode of used namespace", "NSSET", "x", "mode", "user")
	c.want("+OK", "NSNEW", "jumped")
	c.want("+OK", "SELECT", "jumped")
	c.want("+OK", "NSJUMP")
	c.want("k", "SET", "k", "v")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("+OK", "SELECT", "x")
	c.want(id(1), "SET", "", "v")
	if got := c.do("NSINFO", "x"); !strings.Contains(got, "mode: sequential\n") {
		t.Fatal(got)
	}
	if got := c.do("NSINFO", "default"); !strings.Contains(got, "mode: userkey\n") {
		t.Fatal(got)
	}
}

// No write is lost to a change of mode at the same time: it is refused, or comes first.
func TestSetModeAgainstWriters(t *testing.T) {
	_, addr := run(t, Options{Sync: SyncNone})
	c := dial(t, addr)
	for i := range 30 {
		name := fmt.Sprint("ns", i)
		c.want("+OK", "NSNEW", name)
		c.want("+OK", "SELECT", name)
		w := dial(t, addr)
		w.want("+OK", "SELECT", name)
		w.send("SET", "k", "v")
		mode := c.do("NSSET", name, "mode", "seq")
		switch set := w.reply(); {
		case set == "k" && mode == "-"+zdb.TextModeInUse:
			w.want("v", "GET", "k")
		case set == "-"+zdb.TextUpdateOnly && mode == "+OK":
			w.want(id(0), "SET", "", "v")
		default:
			t.Fatalf("SET: %q, NSSET: %q", set, mode)
		}
		w.nc.Close()
	}
}

// A server pinned to a mode does not open data made in the other, and says so.
func TestPinnedMode(t *testing.T) {
	for _, m := range []struct {
		name           string
		made, pinned   Mode
		text, nsinfo   string
		otherIsRefused Mode
	}{
		{"user", ModeUser, ModeUser, "v", "mode: userkey\n", ModeSequential},
		{"sequential", ModeSequential, ModeSequential, id(0), "mode: sequential\n", ModeUser},
	} {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			s, addr := run(t, Options{DataDir: dir, Mode: m.made})
			c := dial(t, addr)
			for _, value := range []string{"user", "seq", "both"} {
				c.want("-This server instance is configured to use a single runtime mode", "NSSET", "default", "mode", value)
			}
			if got := c.do("NSINFO", "default"); !strings.Contains(got, m.nsinfo) {
				t.Fatal(got)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Options{DataDir: dir, Mode: m.otherIsRefused})
			if !errors.Is(err, zdb.ErrWrongMode) || !strings.Contains(err.Error(), `namespace "default"`) {
				t.Fatal(err)
			}
			for _, mode := range []Mode{m.pinned, ModeMixed} { // these still open it
				s, addr := run(t, Options{DataDir: dir, Mode: mode})
				dial(t, addr).want("+PONG", "PING")
				if err := s.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
