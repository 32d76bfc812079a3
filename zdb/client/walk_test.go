package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/qsfs/qsfs/zdb"
)

// pages answers scans with the letters of a text, two a page; a cursor is a position.
func pages(text string) func(int, []string) string {
	return func(_ int, args []string) string {
		if args[0] != "SCAN" && args[0] != "RSCAN" {
			return ""
		}
		letters := strings.Split(text, "")
		if args[0] == "RSCAN" {
			slices.Reverse(letters)
		}
		from := 0
		if len(args) > 1 {
			from = strings.Index(strings.Join(letters, ""), args[1]) + 1
		}
		page := letters[from:min(from+2, len(letters))]
		if len(page) == 0 {
			return "-" + zdb.TextNoMoreData + "\r\n"
		}
		reply := fmt.Sprintf("*2\r\n%s*%d\r\n", bulk(page[len(page)-1]), len(page))
		for _, key := range page {
			reply += "*3\r\n" + bulk(key) + ":1\r\n:2\r\n"
		}
		return reply
	}
}

// A walk has each entry once, whichever way, from wherever, and begins anew each time.
func TestWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(pages("abcde"))
		ctx := t.Context()
		for want, walk := range map[string]func(func(Entry, error) bool){
			"abcde": c.Scan(ctx), "edcba": c.RScan(ctx),
			"cde": c.ScanFrom(ctx, []byte("b")), "ba": c.RScanFrom(ctx, []byte("c")),
			"": c.ScanFrom(ctx, []byte("e")),
		} {
			for range 2 {
				got := ""
				for e, err := range walk {
					if err != nil {
						t.Fatal(err)
					}
					got += string(e.Key)
				}
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		}
		sent := f.seen("SCAN")
		for range c.Scan(ctx) {
			break
		}
		if n := f.seen("SCAN") - sent; n != 1 {
			t.Errorf("a walk that is left asks for %d pages", n)
		}
	})
}

// A walk ends with the first error, also with that of a server that leads in circles.
func TestWalkFails(t *testing.T) {
	page := "*2\r\n" + bulk("c") + "*1\r\n*3\r\n" + bulk("k") + ":1\r\n:2\r\n"
	version := "*3\r\n" + bulk("12345678") + bulk("1") + bulk("v")
	for name, c := range map[string]struct {
		reply          string
		want           error
		entries, asked int
	}{
		"circle":   {page, zdb.ErrNotZDB, 1, 2},
		"versions": {version, zdb.ErrNotZDB, 1, 2},
		"frozen":   {"-" + zdb.TextFrozen + "\r\n", zdb.ErrFrozen, 0, 1},
		"cursor":   {"-" + zdb.TextInvalidCursor + "\r\n", zdb.ErrBadCursor, 0, 1},
		"odd":      {"+OK\r\n", zdb.ErrNotZDB, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				w := open(t, f)
				f.setReply(func(_ int, args []string) string {
					if args[0] == "SCAN" || args[0] == "HISTORY" {
						return c.reply
					}
					return ""
				})
				entries, failed := 0, 0
				count := func(err error) {
					if err == nil {
						entries++
						return
					}
					failed++
					if !errors.Is(err, c.want) {
						t.Errorf("got %v, want %v", err, c.want)
					}
				}
				command := "SCAN"
				if name == "versions" {
					command = "HISTORY"
					for _, err := range w.History(t.Context(), []byte("k")) {
						count(err)
					}
				} else {
					for _, err := range w.Scan(t.Context()) {
						count(err)
					}
				}
				if entries != c.entries || failed != 1 || f.seen(command) != c.asked {
					t.Errorf("%d entries, %d errors, asked %d times", entries, failed, f.seen(command))
				}
			})
		})
	}
}

// Each connection of a client authenticates, proves the password and selects, also the
// one that takes the place of another.
func TestReselects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.spaces["home"], f.admin, f.data["k"] = "secret", "root", "v"
		c := open(t, f, func(w *Target, o *Options) { w.Password, w.AdminPassword, o.MaxConns = "secret", "root", 1 })
		for range 3 {
			wantValue(t, c, "k", "v")
			f.mu.Lock()
			f.conns[len(f.conns)-1].Close()
			f.mu.Unlock()
			synctest.Wait()
		}
		wantValue(t, c, "k", "v")
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.conns) != 4 {
			t.Fatalf("%d connections", len(f.conns))
		}
		var first []string // the words that a connection begins with
		for _, r := range f.requests {
			if r[0] == "AUTH" || r[0] == "SELECT" || r[0] == "GET" {
				first = append(first, strings.Join(r, " "))
			}
		}
		one := []string{
			"AUTH SECURE CHALLENGE", "AUTH SECURE " + secureHash(challenge, "root"),
			"AUTH SECURE CHALLENGE", "SELECT home SECURE " + secureHash(challenge, "secret"), "GET k",
		}
		if want := slices.Concat(one, one, one, one); !slices.Equal(first, want) {
			t.Errorf("got %q, want %q", first, want)
		}
	})
}

// A value that can't be read is an error of MGET, not a missing one.
func TestMGetOfRot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "MGET" {
				return "*2\r\n" + bulk("v") + "-Internal Error\r\n"
			}
			return ""
		})
		_, err := c.MGet(t.Context(), []byte("a"), []byte("b"))
		wantErr(t, err, zdb.ErrCorrupt)
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
