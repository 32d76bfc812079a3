package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// A peer that is no 0-db is recognised, and the error says what it seems to be.
func TestOpenPeers(t *testing.T) {
	answer := func(reply string) func(int, []string) string {
		return func(int, []string) string { return reply }
	}
	tests := []struct {
		name   string
		script func(int, []string) string
		want   error
		text   string
		after  time.Duration
	}{
		{"redis", answer(bulk("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n")), zdb.ErrNotZDB, "Redis", 0},
		{"redis with a password", answer("-NOAUTH Authentication required.\r\n"), zdb.ErrNotZDB, "NOAUTH", 0},
		{"web server", answer("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400" + cut), zdb.ErrNotZDB, "web server", 0},
		{"TLS server", answer("\x15\x03\x01\x00\x02\x02\x0a" + cut), zdb.ErrNotZDB, "zdbs://", 0},
		{"ssh", answer("SSH-2.0-OpenSSH_9.2\r\n"), zdb.ErrNotZDB, "SSH", 0},
		{"something binary", answer("\x00\x01\x02"), zdb.ErrNotZDB, "0x00", 0},
		{"other text", answer(bulk("hello")), zdb.ErrNotZDB, "", 0},
		{"not a text", answer(":1\r\n"), zdb.ErrNotZDB, "", 0},
		{"silent", answer(silent), zdb.ErrUnavailable, "did not complete the 0-db greeting within 5s", 5 * time.Second},
		{"full", answer("-Too many clients\r\n" + cut), zdb.ErrUnavailable, "Too many clients", 0},
		{"hangs up", answer(cut), zdb.ErrUnavailable, "is it a 0-db", 0},
		{"a relative without INFO", func(_ int, args []string) string {
			if args[0] == "INFO" {
				return "-Command not supported\r\n"
			}
			return ""
		}, nil, "", 0},
		{"sequential mode", func(_ int, args []string) string {
			if args[0] == "NSINFO" {
				return bulk(strings.Replace(fmt.Sprintf(fakeNSInfo, "home", 0), "userkey", "sequential", 1))
			}
			return ""
		}, zdb.ErrWrongMode, "sequential", 0},
		{"SELECT answered oddly", func(_ int, args []string) string {
			if args[0] == "SELECT" {
				return ":1\r\n"
			}
			return ""
		}, zdb.ErrNotZDB, "SELECT", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.setReply(test.script)
				start := time.Now()
				c, err := tryOpen(t, f)
				if err == nil {
					c.Close()
				}
				f.close()
				if test.want == nil && err != nil {
					t.Fatal(err)
				}
				if test.want != nil {
					wantErr(t, err, test.want)
					if !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "192.0.2.1:9900/home") {
						t.Errorf("unclear: %v", err)
					}
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
			})
		})
	}
}

func TestOpenAuthentication(t *testing.T) {
	noSecure := func(_ int, args []string) string {
		if args[0] == "AUTH" && args[len(args)-1] == "CHALLENGE" {
			return "-Unexpected arguments\r\n"
		}
		return ""
	}
	tests := []struct {
		name    string
		prepare func(*fake, *Target, *Options)
		want    error
		check   func(*testing.T, *fake)
	}{
		{"secure", func(f *fake, w *Target, _ *Options) {
			f.spaces["home"], w.Password = "secret", "secret"
		}, nil, func(t *testing.T, f *fake) {
			for _, r := range f.requests {
				if strings.Contains(strings.Join(r, " "), "secret") {
					t.Errorf("password in clear in %q", r[0])
				}
			}
		}},
		{"wrong password", func(f *fake, w *Target, _ *Options) {
			f.spaces["home"], w.Password = "secret", "guess"
		}, zdb.ErrAccessDenied, nil},
		{"no password", func(f *fake, w *Target, _ *Options) { f.spaces["home"] = "secret" }, zdb.ErrAccessDenied, nil},
		{"plain refused over the net", func(f *fake, w *Target, _ *Options) {
			f.spaces["home"], w.Password, f.reply = "secret", "secret", noSecure
		}, zdb.ErrAccessDenied, func(t *testing.T, f *fake) {
			if f.seen("SELECT") != 0 {
				t.Error("SELECT was sent")
			}
		}},
		{"plain allowed", func(f *fake, w *Target, o *Options) {
			f.spaces["home"], w.Password, f.reply, o.AllowPlainPassword = "secret", "secret", noSecure, true
		}, nil, nil},
		{"administrator", func(f *fake, w *Target, o *Options) {
			f.admin, w.AdminPassword, w.Namespace, o.CreateNamespace = "root", "root", "new", true
		}, nil, func(t *testing.T, f *fake) {
			if _, ok := f.spaces["new"]; !ok {
				t.Error("not created")
			}
		}},
		{"administrator's password wrong", func(f *fake, w *Target, o *Options) {
			f.admin, w.AdminPassword = "root", "guess"
		}, zdb.ErrAccessDenied, nil},
		{"administrator where there is none", func(f *fake, w *Target, o *Options) { w.AdminPassword = "any" }, nil, nil},
		{"namespace missing", func(f *fake, w *Target, o *Options) { w.Namespace = "new" }, zdb.ErrNamespaceNotFound, func(t *testing.T, f *fake) {
			if f.seen("NSNEW") != 0 {
				t.Error("NSNEW was sent")
			}
		}},
		{"not allowed to create", func(f *fake, w *Target, o *Options) {
			f.admin, w.Namespace, o.CreateNamespace = "root", "new", true
		}, zdb.ErrNamespaceNotFound, nil},
		{"created with a password", func(f *fake, w *Target, o *Options) {
			w.Namespace, w.Password, o.CreateNamespace, o.AllowPlainPassword = "new", "secret", true, true
		}, nil, func(t *testing.T, f *fake) {
			if f.spaces["new"] != "secret" {
				t.Error("not protected")
			}
		}},
		{"created with a password, refused over the net", func(f *fake, w *Target, o *Options) {
			w.Namespace, w.Password, o.CreateNamespace = "new", "secret", true
		}, zdb.ErrNamespaceNotFound, func(t *testing.T, f *fake) {
			if _, ok := f.spaces["new"]; ok {
				t.Error("half-made namespace stays")
			}
		}},
		{"protecting goes wrong", func(f *fake, w *Target, o *Options) {
			w.Namespace, w.Password, o.CreateNamespace, o.AllowPlainPassword = "new", "secret", true, true
			f.reply = func(_ int, args []string) string {
				if args[0] == "NSSET" {
					return "-Invalid property\r\n"
				}
				return ""
			}
		}, nil, nil},
		{"created by someone else meanwhile", func(f *fake, w *Target, o *Options) {
			w.Namespace, o.CreateNamespace = "new", true
			f.reply = func(_ int, args []string) string {
				if args[0] == "NSNEW" {
					f.mu.Lock()
					f.spaces["new"] = ""
					f.mu.Unlock()
					return "-This namespace is not available\r\n"
				}
				return ""
			}
		}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c, err := tryOpen(t, f, func(w *Target, o *Options) { test.prepare(f, w, o) })
				if err == nil {
					defer c.Close()
				}
				defer f.close()
				if test.name == "protecting goes wrong" {
					if _, ok := f.spaces["new"]; ok || err == nil {
						t.Fatalf("half-made namespace stays: %v", err)
					}
					return
				}
				if test.want == nil && err != nil {
					t.Fatal(err)
				}
				wantErr(t, err, test.want)
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("the error tells the password: %v", err)
				}
				if test.check != nil {
					test.check(t, f)
				}
			})
		})
	}
}

func TestOpenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.setDialErr(errors.New("no route to host"))
		_, err := tryOpen(t, f)
		wantErr(t, err, zdb.ErrUnavailable)

		c := open(t, f, func(_ *Target, o *Options) { o.AllowDown = true })
		wantErr(t, c.Ping(t.Context()), zdb.ErrUnavailable)
		f.setDialErr(nil)
		time.Sleep(30 * time.Second)
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a refusal is no outage
		f := newFake()
		f.spaces["home"] = "secret"
		_, err := tryOpen(t, f, func(_ *Target, o *Options) { o.AllowDown = true })
		wantErr(t, err, zdb.ErrAccessDenied)
		f.close()
	})
}

func TestOpenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.setReply(func(int, []string) string { return hang })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Open(ctx, target, Options{Dial: f.dial})
		wantErr(t, err, context.DeadlineExceeded)
		if errors.Is(err, zdb.ErrUnavailable) {
			t.Errorf("%v blames the node", err)
		}
		f.close()
	})
}

func TestTargetKeepsSecrets(t *testing.T) {
	w := Target{Network: "tcp", Address: "a:1", Namespace: "n", Password: "secret", AdminPassword: "secret"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "target", w)
	for _, text := range []string{w.String(), fmt.Sprintf("%v %+v %#v %s", w, w, w, w), log.String()} {
		if strings.Contains(text, "secret") {
			t.Errorf("tells the password: %s", text)
		}
	}
}

func TestOpenRefusesTargets(t *testing.T) {
	for name, w := range map[string]Target{
		"network":   {Network: "udp", Address: "a:1"},
		"address":   {Network: "tcp"},
		"namespace": {Network: "tcp", Address: "a:1", Namespace: "a/b"},
		"long":      {Network: "tcp", Address: "a:1", Namespace: strings.Repeat("n", 129)},
		"password":  {Network: "tcp", Address: "a:1", Password: strings.Repeat("p", 129)},
	} {
		if _, err := Open(t.Context(), w, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
