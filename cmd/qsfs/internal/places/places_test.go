package places

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFind proves the order in which each folder is chosen.
func TestFind(t *testing.T) {
	type want struct{ state, cache, runtime string }
	for _, tc := range []struct {
		name  string
		given Given
		env   map[string]string
		want  want
	}{
		{"root", Given{UID: 0}, nil, want{"/var/lib/qsfs", "/var/cache/qsfs", "/run/qsfs"}},
		{"root ignores XDG", Given{UID: 0}, map[string]string{"XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/y"}, want{"/var/lib/qsfs", "/var/cache/qsfs", "/run/qsfs"}},
		{"systemd", Given{UID: 0}, map[string]string{"STATE_DIRECTORY": "/s/a:/s/b", "CACHE_DIRECTORY": "/c/", "RUNTIME_DIRECTORY": "/r"}, want{"/s/a", "/c", "/r"}},
		{"user", Given{UID: 1000}, map[string]string{"HOME": "/home/u"}, want{"/home/u/.local/state/qsfs", "/home/u/.cache/qsfs", ""}},
		{"xdg", Given{UID: 1000}, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/x/s", "XDG_CACHE_HOME": "/x/c", "XDG_RUNTIME_DIR": "/run/user/1000"},
			want{"/x/s/qsfs", "/x/c/qsfs", "/run/user/1000/qsfs"}},
		{"relative xdg", Given{UID: 1000}, map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "s"}, want{"/home/u/.local/state/qsfs", "/home/u/.cache/qsfs", ""}},
		{"flags", Given{UID: 0, StateDir: "/f/s/", CacheDir: "/f/c"}, map[string]string{"STATE_DIRECTORY": "/s"}, want{"/f/s", "/f/c", "/run/qsfs"}},
		{"flags without home", Given{UID: 1000, StateDir: "/f/s", CacheDir: "/f/c"}, nil, want{"/f/s", "/f/c", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.given.Env = func(key string) string { return tc.env[key] }
			got, err := Find(tc.given)
			if err != nil {
				t.Fatal(err)
			}
			if got := (want{got.State, got.Cache, got.Runtime}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	if _, err := Find(Given{UID: 1000, Env: func(string) string { return "" }}); !errors.Is(err, ErrNoHome) {
		t.Errorf("got %v, want ErrNoHome", err)
	}
}

// TestSharedFoldersKeepVolumesApart proves that two volumes of one name in two state folders share no socket and no cache.
func TestSharedFoldersKeepVolumesApart(t *testing.T) {
	env := func(string) string { return "" }
	own, _ := Find(Given{Env: env})
	other, _ := Find(Given{Env: env, StateDir: "/other"})
	third, _ := Find(Given{Env: env, StateDir: "/third"})
	same, _ := Find(Given{Env: env, StateDir: "/var/lib/../lib/qsfs"})
	if got := own.CacheOf("home"); got != "/var/cache/qsfs/home" {
		t.Errorf("cache %s", got)
	}
	if same.CacheOf("home") != own.CacheOf("home") {
		t.Error("the default folder given as a flag is another place")
	}
	seen := map[string]bool{}
	for _, p := range []Places{own, other, third} {
		for _, path := range append(p.SocketsOf("home"), p.CacheOf("home")) {
			if seen[path] {
				t.Errorf("%s is used twice", path)
			}
			seen[path] = true
		}
	}
}

func TestNamesAndSockets(t *testing.T) {
	base := filepath.Join(t.TempDir(), "a[b]*")
	env := func(key string) string {
		return map[string]string{"RUNTIME_DIRECTORY": filepath.Join(base, "run")}[key]
	}
	p, err := Find(Given{Env: env, StateDir: filepath.Join(base, "state")})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := p.Names(); err != nil || len(names) != 0 {
		t.Errorf("no state folder: %v, %v", names, err)
	}
	for _, dir := range []string{"run", "state/work", "state/home", "state/.hidden"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"run/home.sock", "run/other.txt", "state/work/control.sock", "state/file"} {
		if err := os.WriteFile(filepath.Join(base, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names, err := p.Names()
	if diff := cmp.Diff([]string{"home", "work"}, names); err != nil || diff != "" {
		t.Errorf("names: %v\n%s", err, diff)
	}
	want := []string{filepath.Join(base, "run/home.sock"), filepath.Join(base, "state/work/control.sock")}
	if diff := cmp.Diff(want, p.Sockets()); diff != "" {
		t.Errorf("sockets:\n%s", diff)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"default", "home", "a", "Photos-2026", "x.y_z"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "-d", ".x", "a/b", "a b", "ä", "a\n", string(make([]byte, 65))} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
	}
}
