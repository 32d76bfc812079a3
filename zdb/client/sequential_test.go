package client

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// sequentialInfo makes a fake's namespaces sequential.
func sequentialInfo(args []string) string {
	return bulk(strings.Replace(fmt.Sprintf(fakeNSInfo, args[1], 0), "userkey", "sequential", 1))
}

func openSequential(t *testing.T, f *fake, script func(args []string) string, change ...func(*Target, *Options)) (*Sequential, error) {
	t.Helper()
	f.setReply(func(_ int, args []string) string {
		if reply := script(args); reply != "" {
			return reply
		}
		if args[0] == "NSINFO" {
			return sequentialInfo(args)
		}
		return ""
	})
	where, options := target, Options{Dial: f.dial, Jitter: func() float64 { return 1 }}
	for _, fn := range change {
		fn(&where, &options)
	}
	c, err := OpenSequential(t.Context(), where, options)
	if err == nil {
		t.Cleanup(func() { c.Close(); f.close() })
	}
	return c, err
}

// A new id is asked for once: when the connection breaks, the value may be stored, and
// sending it again would store it twice.
func TestAppendIsNotResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c, err := openSequential(t, f, func(args []string) string {
			if args[0] == "SET" {
				return cut
			}
			return ""
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Append(t.Context(), []byte("v"))
		wantErr(t, err, zdb.ErrUnavailable)
		if n := f.seen("SET"); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
}

// An update may be sent again, as it is the same twice as once.
func TestUpdateIsResent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var broken atomic.Bool
		c, err := openSequential(t, f, func(args []string) string {
			switch {
			case args[0] == "SET" && !broken.Swap(true):
				return cut
			case args[0] == "SET":
				return bulk(args[1])
			}
			return ""
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Update(t.Context(), 7, []byte("v")); err != nil {
			t.Error(err)
		}
		if n := f.seen("SET"); n != 2 {
			t.Errorf("sent %d times", n)
		}
	})
}

// Ids are 8 bytes; a server with others is no 0-db of today.
func TestSequentialReplies(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		id    uint64
		want  error
	}{
		"an id":              {bulk("\x01\x02\x00\x00\x00\x00\x00\x00"), 0x201, nil},
		"an id of version 1": {bulk("\x01\x00\x00\x00"), 0, zdb.ErrNotZDB},
		"nil":                {"$-1\r\n", 0, zdb.ErrNotZDB},
		"a number":           {":1\r\n", 0, zdb.ErrNotZDB},
		"full":               {"-No space left on this namespace\r\n", 0, zdb.ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s, err := openSequential(t, f, func(args []string) string {
					switch args[0] {
					case "SET":
						return c.reply
					case "SCAN":
						if len(args) > 1 {
							return "-No more data\r\n"
						}
						return "*2\r\n$1\r\nc\r\n*1\r\n*3\r\n" + c.reply + ":1\r\n:2\r\n"
					}
					return ""
				})
				if err != nil {
					t.Fatal(err)
				}
				id, err := s.Append(t.Context(), []byte("v"))
				if id != c.id || !errors.Is(err, c.want) {
					t.Errorf("append: got %d, %v", id, err)
				}
				for e, err := range s.Scan(t.Context()) {
					if e.ID != c.id || c.want == nil && err != nil || c.want != nil && !errors.Is(err, zdb.ErrNotZDB) {
						t.Errorf("scan: got %+v, %v", e, err)
					}
				}
			})
		})
	}
}

// A sequential namespace is made so, and what could not be made so is removed.
func TestCreateSequential(t *testing.T) {
	for name, c := range map[string]struct {
		mode string // reply to NSSET mode
		info func([]string) string
		want error
		left bool // the namespace stays
	}{
		"mixed server":            {"+OK\r\n", sequentialInfo, nil, true},
		"pinned to sequential":    {"-" + zdb.TextSingleMode + "\r\n", sequentialInfo, nil, true},
		"pinned to user keys":     {"-" + zdb.TextSingleMode + "\r\n", func(args []string) string { return bulk(fmt.Sprintf(fakeNSInfo, args[1], 0)) }, zdb.ErrWrongMode, true},
		"refused for some reason": {"-" + zdb.TextInvalidProperty + "\r\n", sequentialInfo, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				asked := ""
				s, err := openSequential(t, f, func(args []string) string {
					switch {
					case args[0] == "NSINFO":
						return c.info(args)
					case args[0] == "NSSET" && args[2] == "mode":
						asked = args[3]
						return c.mode
					}
					return ""
				}, func(w *Target, o *Options) { w.Namespace, o.CreateNamespace = "new", true })
				if s == nil {
					f.close()
				}
				if asked != "seq" {
					t.Errorf("mode %q was asked for", asked)
				}
				if good := c.want == nil && c.left; good != (err == nil) || !good && !errors.Is(err, c.want) && c.want != nil {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if _, there := f.spaces["new"]; there != c.left {
					t.Errorf("the namespace is there: %v", there)
				}
			})
		})
	}
}

// Each kind of client refuses the other kind of namespace.
func TestWrongMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		_, err := OpenSequential(t.Context(), target, Options{Dial: f.dial})
		wantErr(t, err, zdb.ErrWrongMode)
		f.setReply(func(_ int, args []string) string {
			if args[0] == "NSINFO" {
				return sequentialInfo(args)
			}
			return ""
		})
		_, err = Open(t.Context(), target, Options{Dial: f.dial})
		wantErr(t, err, zdb.ErrWrongMode)
		f.close()
	})
}

// A write-once namespace refuses a SET that is sent again; when it is this very value
// that is there, the first try stored it.
func TestSetResentToWriteOnce(t *testing.T) {
	for name, stored := range map[string]string{"stored by the first try": "v", "something else is there": "w"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c := open(t, f)
				var broken atomic.Bool
				f.setReply(func(_ int, args []string) string {
					if args[0] != "SET" {
						return ""
					}
					if !broken.Swap(true) {
						f.mu.Lock()
						f.data["k"] = stored
						f.mu.Unlock()
						return cut
					}
					return "-" + zdb.TextWorm + "\r\n"
				})
				err := c.Set(t.Context(), []byte("k"), []byte("v"))
				if stored == "v" && err != nil || stored == "w" && !errors.Is(err, zdb.ErrWorm) {
					t.Errorf("got %v", err)
				}
				if err := c.Set(t.Context(), []byte("k"), []byte("v")); !errors.Is(err, zdb.ErrWorm) {
					t.Errorf("sent once: got %v, want write-once", err)
				}
			})
		})
	}
}

// Times go to the server in whole seconds, and only those that it can keep.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := open(t, f)
		at := time.Unix(1234567890, 999)
		if err := c.SetAt(t.Context(), []byte("k"), []byte("v"), at); err != nil {
			t.Fatal(err)
		}
		if err := c.DelAt(t.Context(), []byte("k"), at); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		for _, r := range f.requests {
			if (r[0] == "SET" || r[0] == "DEL") && r[len(r)-1] != "1234567890" {
				t.Errorf("got %q", r)
			}
		}
		f.mu.Unlock()
		for _, at := range []time.Time{time.Unix(-1, 0), time.Unix(1<<32, 0)} {
			if err := c.SetAt(t.Context(), []byte("k"), []byte("v"), at); err == nil {
				t.Errorf("%v is taken", at)
			}
		}
	})
}
