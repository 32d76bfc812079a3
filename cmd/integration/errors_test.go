package integration

import (
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// refused checks how a verb failed: its exit code, exactly one line that says
// why, and, where something can be done about it, one that says what.
func refused(t *testing.T, o outcome, code int, hint bool, text string) {
	t.Helper()
	var errs, hints []string
	for line := range strings.Lines(o.stderr) {
		if strings.HasPrefix(line, "qsfs: error: ") {
			errs = append(errs, line)
		}
		if strings.HasPrefix(line, "qsfs: hint: ") {
			hints = append(hints, line)
		}
	}
	if o.code != code || len(errs) != 1 || len(hints) > 1 || hint && len(hints) != 1 {
		t.Errorf("qsfs %s: exit code %d, %d errors, %d hints; want code %d, one error, hint %v:\n%s",
			strings.Join(o.args, " "), o.code, len(errs), len(hints), code, hint, o.stderr)
	} else if !strings.Contains(errs[0], text) {
		t.Errorf("qsfs %s: %swant %q in it", strings.Join(o.args, " "), errs[0], text)
	}
	if strings.Contains(o.stderr, "panic:") || strings.Contains(o.stderr, "goroutine ") {
		t.Errorf("qsfs %s panicked:\n%s", strings.Join(o.args, " "), o.stderr)
	}
}

// paths lists what is below a folder, without what is mounted there.
func paths(t *testing.T, dir string) []string {
	t.Helper()
	mounted := mountsBelow(t, dir)
	var found []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if slices.Contains(mounted, path) {
			return fs.SkipDir
		}
		found = append(found, path)
		return err
	}))
	return found
}

// leavesNothing runs a verb that fails, and checks that the machine is as before.
func (m *machine) leavesNothing(t *testing.T, args ...string) outcome {
	t.Helper()
	before := paths(t, m.dir)
	o := m.try(args...)
	for _, path := range paths(t, m.dir) {
		// A volume that is mounted meanwhile writes and ends its own files, at its own times.
		state := filepath.Join(m.dir, "state", m.mounted)
		ofDaemon := m.mounted != "" && (strings.HasPrefix(path, filepath.Join(state, "log")+"/") ||
			strings.HasPrefix(path, filepath.Join(state, "meta")+"/") || strings.HasPrefix(path, filepath.Join(m.dir, "cache")+"/"))
		if !slices.Contains(before, path) && !ofDaemon {
			t.Errorf("qsfs %s left %s behind", strings.Join(args, " "), path)
		}
	}
	return o
}

// Words of another volume, and some that are none: the last word carries a checksum (BIP-39).
const (
	otherWords = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon " +
		"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art\n"
	wrongWords = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon " +
		"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon\n"
)

// TestErrors: each thing that a user does wrong, or that goes wrong around him, gives one clear line, a hint and its exit
// code, and leaves nothing half-made.
func TestErrors(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "machine"))
	words := m.initVolume("home", nodes)
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(m.dir, name)
		must(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	wrong, other := file("wrong words", wrongWords), file("other words", otherWords)
	must(t, os.MkdirAll(filepath.Join(m.dir, "full", "of", "things"), 0o755))
	six := urls(nodes, "home")
	with := func(args []string, more ...string) []string { return append(slices.Clone(more), args...) }

	type failure struct {
		name string
		args []string
		code int
		hint bool
		text string // in the line
	}
	check := func(t *testing.T, failures []failure) {
		t.Helper()
		for _, f := range failures {
			t.Run(f.name, func(t *testing.T) {
				refused(t, m.leavesNothing(t, f.args...), f.code, f.hint, f.text)
			})
		}
	}

	t.Run("before anything is mounted", func(t *testing.T) {
		check(t, []failure{
			{"unknown flag", []string{"mount", "--nosuch", "home", m.mount}, 2, false, "nosuch"},
			{"unknown verb", []string{"nosuch"}, 2, false, "nosuch"},
			{"missing argument", []string{"mount", "home"}, 2, false, "MOUNTPOINT"},
			{"not a number", []string{"mount", "--cache-size", "much", "home", m.mount}, 2, false, "much"},
			{"not a node", with(six, "init", "new", "--node", "http://127.0.0.1/x", "--data", "4", "--parity", "2", "--phrase-file", other), 2, false, "node 1"},
			{"no words for init", with(six, "init", "new", "--data", "4", "--parity", "2"), 2, true, ""},

			{"no such volume to mount", []string{"mount", "nosuch", m.mount}, 10, true, "nosuch"},
			{"no such volume to look at", []string{"status", "nosuch"}, 10, true, "nosuch"},
			{"no such volume to sync", []string{"sync", "nosuch"}, 10, true, "nosuch"},
			// Where other words would have their volume there is nothing: the nodes can't tell a wrong phrase from a wrong address.
			{"no volume of these words", []string{"restore", "new", "--node", nodes[0].url("home"), "--phrase-file", other}, 10, true, "words"},
			{"no volume in that namespace", []string{"restore", "new", "--node", nodes[0].url("elsewhere"), "--phrase-file", words}, 10, true, ""},

			{"words that are none, for restore", []string{"restore", "new", "--node", nodes[0].url("home"), "--phrase-file", wrong}, 12, true, ""},
			{"words that are none, for mount", []string{"mount", "home", m.mount, "--phrase-file", wrong}, 12, true, ""},
			{"words of another volume", []string{"mount", "home", m.mount, "--phrase-file", other}, 12, true, ""},

			{"fewer nodes than shards", with(six[:10], "init", "new", "--data", "4", "--parity", "2", "--phrase-file", other), 13, true, "5"},
			{"volume exists here", with(six, "init", "home", "--data", "4", "--parity", "2", "--phrase-file", other), 1, true, "exists"},
			{"volume exists on the nodes", with(six, "init", "new", "--data", "4", "--parity", "2", "--phrase-file", words), 1, true, "exists"},
			{"words would overwrite a file", with(six, "init", "new", "--data", "4", "--parity", "2", "--new-phrase-file", other), 1, true, other},

			{"mount point is not empty", []string{"mount", "home", filepath.Join(m.dir, "full")}, 18, true, "not empty"},
			{"mount point is a file", []string{"mount", "home", words}, 18, true, ""},
			{"mount point is nowhere", []string{"mount", "home", filepath.Join(m.dir, "no", "such")}, 18, true, ""},
			{"mount point is another filesystem's", []string{"mount", "home", "/proc"}, 18, true, "/proc"},
			{"mount point is in the state folder", []string{"mount", "home", filepath.Join(m.state, "here")}, 18, true, ""},
			{"nothing to unmount", []string{"umount", filepath.Join(m.dir, "full")}, 18, true, ""},
		})
	})

	t.Run("no /dev/fuse", func(t *testing.T) {
		hidden := `mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"`
		cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", hidden, "sh", programs.qsfs}, "mount", "home", m.mount)...)
		cmd.Dir, cmd.Env = m.dir, m.env()
		refused(t, run(t, cmd), 18, true, "FUSE")
		cmd = exec.Command("unshare", append([]string{"--mount", "sh", "-c", hidden, "sh", programs.qsfs}, "up", m.mount)...)
		cmd.Dir, cmd.Env = m.dir, m.env()
		o := run(t, cmd)
		refused(t, o, 18, true, "FUSE")
		if _, err := os.Stat(filepath.Join(m.state, "default")); err == nil || o.stdout != "" {
			t.Errorf("up made a volume that it could not mount, or showed words: %q", o.stdout)
		}
	})

	t.Run("key file open to others", func(t *testing.T) {
		key := filepath.Join(m.state, "home", "key")
		must(t, os.Chmod(key, 0o644))
		refused(t, m.leavesNothing(t, "mount", "home", m.mount), 16, true, "")
		must(t, os.Chmod(key, 0o600))
	})

	t.Run("newer format", func(t *testing.T) {
		path := filepath.Join(m.state, "home", "volume.json")
		text, err := os.ReadFile(path)
		must(t, err)
		var info map[string]any
		must(t, json.Unmarshal(text, &info))
		info["version"] = 99
		newer, err := json.Marshal(info)
		must(t, err)
		must(t, os.WriteFile(path, newer, 0o600))
		refused(t, m.leavesNothing(t, "mount", "home", m.mount), 17, true, "")
		must(t, os.WriteFile(path, text, 0o600))
	})

	t.Run("while it is mounted", func(t *testing.T) {
		daemon := m.mountVolume("home")
		second := newMachine(t, filepath.Join(dir, "second"))
		second.qsfs("restore", "home", "--node", nodes[3].url("home"), "--phrase-file", words)
		t.Run("by another machine", func(t *testing.T) {
			o := second.try("mount", "home", second.mount)
			host, err := os.Hostname()
			must(t, err)
			refused(t, o, 11, true, host)
			if _, err := os.Stat(second.mount); err == nil {
				t.Error("the mount point made for nothing was left behind")
			}
		})
		m.mounted = "home"
		defer func() { m.mounted = "" }()
		check(t, []failure{
			{"on another folder", []string{"mount", "home", filepath.Join(m.dir, "other mount")}, 11, true, "in use"},
			{"on the same folder", []string{"mount", "home", m.mount}, 18, true, "already"},
		})
		must(t, os.WriteFile(filepath.Join(m.mount, "still"), []byte("writable"), 0o600))
		m.umount(daemon)
		daemon = second.mountVolume("home")
		if got, err := os.ReadFile(filepath.Join(second.mount, "still")); string(got) != "writable" {
			t.Errorf("on the second machine, once the first has let go: %q, %v", got, err)
		}
		second.umount(daemon)
	})

	t.Run("with too few nodes", func(t *testing.T) {
		for _, n := range nodes[:3] {
			n.kill()
		}
		check(t, []failure{
			{"mount", []string{"mount", "home", m.mount}, 13, true, "3 of 6"},
			{"restore", []string{"restore", "new", "--node", nodes[4].url("home"), "--phrase-file", words}, 13, true, "3 of 6"},
			{"restore from a node that is down", []string{"restore", "new", "--node", nodes[0].url("home"), "--phrase-file", words}, 13, true, "reachable"},
			{"init", with(six, "init", "new", "--data", "4", "--parity", "2", "--phrase-file", other), 13, true, "3 of 6"},
		})
		for _, n := range nodes[:3] {
			n.start()
		}
		// Nothing of the failed init is on the nodes either: the same words make the volume now.
		m.qsfs(with(six, "init", "new", "--data", "4", "--parity", "2", "--phrase-file", other)...)
	})

	t.Run("a node that is no ZDB", func(t *testing.T) {
		web := httptest.NewServer(http.NotFoundHandler())
		defer web.Close()
		check(t, []failure{
			{"restore from a web server", []string{"restore", "web", "--node", "zdb://" + web.Listener.Addr().String() + "/home", "--phrase-file", words}, 10, true, "0-db"},
			{"init with a web server", with(six[2:], "init", "web", "--node", "zdb://"+web.Listener.Addr().String()+"/web", "--data", "4", "--parity", "2", "--new-phrase-file", filepath.Join(m.dir, "web words")), 10, true, "0-db"},
			{"restore from an echo", []string{"restore", "echo", "--node", "zdb://" + peer(t, echo) + "/home", "--phrase-file", words}, 10, true, "0-db"},
			{"restore from one that is silent", []string{"restore", "silent", "--node", "zdb://" + peer(t, silence) + "/home", "--phrase-file", words}, 13, true, ""},
			{"restore from one that hangs up", []string{"restore", "closed", "--node", "zdb://" + peer(t, hangUp) + "/home", "--phrase-file", words}, 13, true, ""},
		})
	})

	t.Run("an init that fails late", func(t *testing.T) {
		// Three nodes have no room for a superblock: too few are left. The others must forget theirs.
		tiny := startNodes(t, filepath.Join(dir, "tiny"), 3, "--maxsize", "1KiB")
		phrase := filepath.Join(m.dir, "late words")
		args := append([]string{"init", "late", "--data", "4", "--parity", "2", "--new-phrase-file", phrase}, append(urls(nodes[:3], "late"), urls(tiny, "late")...)...)
		refused(t, m.leavesNothing(t, args...), 13, true, "space")
		must(t, os.WriteFile(phrase, []byte(otherWords), 0o600))
		args[6] = "--phrase-file"
		refused(t, m.leavesNothing(t, args...), 13, true, "space")
		m.qsfs(append([]string{"init", "late", "--data", "4", "--parity", "2", "--phrase-file", phrase}, urls(nodes, "late")...)...)
	})

	// After all that the volume is as it was.
	daemon := m.mountVolume("home")
	if got, err := os.ReadFile(filepath.Join(m.mount, "still")); string(got) != "writable" {
		t.Errorf("after all errors: %q, %v", got, err)
	}
	m.umount(daemon)
}

// peer listens on loopback and treats who comes as serve does.
func peer(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

func echo(conn net.Conn) {
	defer conn.Close()
	io.Copy(conn, conn)
}

func silence(conn net.Conn) {
	defer conn.Close()
	io.Copy(io.Discard, conn)
}

func hangUp(conn net.Conn) { conn.Close() }

// TestNodeErrors: what goes wrong with zdbd itself.
func TestNodeErrors(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	n := startNodes(t, dir, 1)[0]
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"folder in use", []string{"--listen", "127.0.0.1:0", "--data", n.dir}, 11},
		{"address in use", []string{"--listen", n.address, "--data", filepath.Join(dir, "other")}, 1},
		{"no folder", nil, 2},
		{"unknown flag", []string{"--nosuch"}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := run(t, exec.Command(programs.zdbd, test.args...))
			if o.code != test.code || strings.Count(o.stderr, "zdbd: error: ") != 1 {
				t.Errorf("exit code %d, want %d and one error:\n%s", o.code, test.code, o.stderr)
			}
		})
	}
	n.stop()
}
