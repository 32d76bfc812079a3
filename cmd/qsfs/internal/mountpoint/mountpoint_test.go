package mountpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
)

func TestParse(t *testing.T) {
	text := `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:30 / /mnt/my\040home rw,nosuid,nodev shared:2 master:1 - fuse.qsfs qsfs:home rw,user_id=0
37 22 0:31 / /mnt/x rw - fuse.sshfs host:/dir rw
38 22 0:32 / /mnt/y rw - fuse qsfs:work rw
40 22 0:34 / /mnt/a-b\134c rw - tmpfs - rw
broken line
41 22 0:35 / /mnt/cut rw - fuse.qsfs
39 22 0:33 / /mnt/x rw - tmpfs none rw
`
	want := Mounts{
		{"/", "ext4", "/dev/sda1", "8:1"}, {"/mnt/my home", "fuse.qsfs", "qsfs:home", "0:30"}, {"/mnt/x", "fuse.sshfs", "host:/dir", "0:31"},
		{"/mnt/y", "fuse", "qsfs:work", "0:32"}, {`/mnt/a-b\c`, "tmpfs", "-", "0:34"}, {"/mnt/x", "tmpfs", "none", "0:33"},
	}
	got := parse([]byte(text))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if top, ok := got.At("/mnt/x"); !ok || top.Type != "tmpfs" {
		t.Errorf("topmost on /mnt/x is %+v", top)
	}
	if _, ok := got.At("/mnt"); ok {
		t.Error("a folder above mounts is taken for one")
	}
	for i, ours := range []bool{false, true, false, true, false, false} {
		if got[i].Ours() != ours {
			t.Errorf("%+v: ours is %v", got[i], !ours)
		}
	}
	if got[1].Volume() != "home" {
		t.Errorf("volume %q", got[1].Volume())
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("36 22 0:30 / /mnt/my\\040home rw - fuse.qsfs qsfs:home rw\n"))
	f.Add([]byte("- - - - - - - - -\n\\\\4 \\777"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, m := range parse(text) {
			if m.Type == "" {
				t.Errorf("a mount without a type: %+v", m)
			}
		}
	})
}

func TestPrepare(t *testing.T) {
	base := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(base, "empty"), 0o755))
	must(os.MkdirAll(filepath.Join(base, "full", "child"), 0o755))
	must(os.WriteFile(filepath.Join(base, "file"), nil, 0o644))
	must(os.Symlink("empty", filepath.Join(base, "link")))
	must(os.MkdirAll(filepath.Join(base, "state", "home"), 0o700))
	for _, tc := range []struct {
		path, resolved, fails string
	}{
		{"empty", "empty", ""},
		{"new", "new", ""},
		{"link", "empty", ""},
		{"missing/new", "", "does not exist"},
		{"full", "", "not empty"},
		{"file", "", "not a folder"},
		{"file/x", "", "not a directory"},
		{"state/home/x", "", "own folder"},
		{"state", "", "own folder"},
		{".", "", "own folder"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			got, err := Prepare(t.Context(), filepath.Join(base, tc.path), []string{filepath.Join(base, "state")}, func(w string) { t.Errorf("warned: %s", w) })
			if tc.fails != "" {
				code, hint := exit.Of(err)
				if err == nil || !strings.Contains(err.Error(), tc.fails) || code != exit.Mountpoint || hint == "" {
					t.Errorf("got %v, code %d, hint %q", err, code, hint)
				}
				return
			}
			if err != nil || got.Path != filepath.Join(base, tc.resolved) {
				t.Errorf("got %+v, %v", got, err)
			}
			got.Undo()
			if _, err := os.Stat(filepath.Join(base, tc.path)); (err == nil) == got.made {
				t.Errorf("after Undo: %v, made %v", err, got.made)
			}
		})
	}
	if _, err := Prepare(t.Context(), "/proc", nil, nil); err == nil || !strings.Contains(err.Error(), "already a mount point (proc)") {
		t.Errorf("/proc: %v", err)
	}
}

func TestCheckFUSE(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "fuse")
	err := CheckFUSE(missing, 0, false)
	if code, hint := exit.Of(err); code != exit.Mountpoint || !strings.Contains(hint, "modprobe") {
		t.Errorf("got %v, code %d, hint %q", err, code, hint)
	}
	conf := filepath.Join(t.TempDir(), "fuse.conf")
	for text, want := range map[string]bool{"": false, "#user_allow_other\n": false, "mount_max = 10\n user_allow_other \n": true, "user_allow_others": false} {
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := userAllowOther(conf); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// TestAbort proves that exactly the connection of the mount is aborted.
func TestAbort(t *testing.T) {
	connections := t.TempDir()
	for _, name := range []string{"42", "43"} {
		if err := os.MkdirAll(filepath.Join(connections, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(connections, name, "abort"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := abort(connections, Mount{Device: "0:42"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"42": "1\n", "43": ""} {
		if got, _ := os.ReadFile(filepath.Join(connections, name, "abort")); string(got) != want {
			t.Errorf("connection %s got %q, want %q", name, got, want)
		}
	}
	for _, device := range []string{"", "0:", "8:1", "0:99", "0:../42"} {
		if abort(connections, Mount{Device: device}) == nil {
			t.Errorf("device %q was aborted", device)
		}
	}
}

// TestUsers proves that a process that stands in a folder is named.
func TestUsers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "held")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("cat")
	command.Dir = dir
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	users := Users(dir)
	stdin.Close()
	command.Wait()
	if len(users) != 1 || !strings.HasPrefix(users[0], "cat (process ") {
		t.Errorf("got %v", users)
	}
	if users := Users(dir); len(users) != 0 {
		t.Errorf("after it ended: %v", users)
	}
}
