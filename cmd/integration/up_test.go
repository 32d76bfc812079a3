package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var numberedWord = regexp.MustCompile(`\b([0-9]{1,2})\. +([a-z]+)\b`)

// wordsIn gives the numbered words of a phrase as shown to a person, in order.
func wordsIn(text string) []string {
	found := map[string]string{}
	matches := numberedWord.FindAllStringSubmatch(text, -1)
	for _, match := range matches {
		found[match[1]] = match[2]
	}
	var words []string
	for i := range len(matches) {
		words = append(words, found[fmt.Sprint(i+1)])
	}
	return words
}

// TestUp: the one command that a newcomer runs.
func TestUp(t *testing.T) {
	needMounts(t)
	m := newMachine(t, filepath.Join(scratch(t), "machine"))
	content := contents("up", 5<<20)

	daemon := m.begin("up", m.mount)
	words := wordsIn(daemon.stdout.String())
	if len(words) != 24 || strings.Contains(daemon.stderr.String(), words[0]+" ") {
		t.Errorf("the first up shows %d words, want 24, once, on standard output:\n%s", len(words), daemon.stdout.String())
	}
	if n := strings.Count(daemon.stderr.String(), "qsfs: ready: "); n != 1 {
		t.Errorf("%d ready lines:\n%s", n, daemon.stderr.String())
	}
	must(t, os.WriteFile(filepath.Join(m.mount, "first"), content, 0o644))
	// No fsync, no sync: an orderly end loses nothing.
	if code := daemon.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM: %s", code, daemon.stderr.String())
	}
	if !strings.Contains(daemon.stderr.String(), "qsfs: volume default unmounted") {
		t.Errorf("after SIGTERM it does not say that the volume is unmounted: %s", daemon.stderr.String())
	}
	if left := mountsBelow(t, m.dir); len(left) > 0 {
		t.Errorf("still mounted after SIGTERM: %v", left)
	}

	daemon = m.begin("up", m.mount)
	if text := daemon.stdout.String(); text != "" {
		t.Errorf("the second up writes %q", text)
	}
	same(t, filepath.Join(m.mount, "first"), content)
	must(t, os.WriteFile(filepath.Join(m.mount, "second"), content[1:], 0o644))
	if code := daemon.signal(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d after Ctrl-C: %s", code, daemon.stderr.String())
	}
	if left := mountsBelow(t, m.dir); len(left) > 0 {
		t.Errorf("still mounted after Ctrl-C: %v", left)
	}

	// Detached it returns when the volume is mounted.
	o := m.qsfs("up", "-d", m.mount)
	if o.stdout != "" || !strings.Contains(o.stderr, "qsfs: ready: ") {
		t.Errorf("up -d writes %q and %q", o.stdout, o.stderr)
	}
	same(t, filepath.Join(m.mount, "second"), content[1:])
	var status struct {
		Volumes []struct {
			PID int `json:"pid"`
		} `json:"volumes"`
	}
	must(t, json.Unmarshal([]byte(m.qsfs("status", "--json").stdout), &status))
	if len(status.Volumes) != 1 || syscall.Kill(status.Volumes[0].PID, 0) != nil {
		t.Fatalf("no daemon runs: %+v", status)
	}
	pid := status.Volumes[0].PID
	t.Cleanup(func() {
		if t.Failed() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if s := m.status("default"); s.NodesUp != 6 || s.Mountpoint != m.mount {
		t.Errorf("status: %+v", s)
	}
	m.qsfs("sync")
	m.qsfs("umount", m.mount)
	eventually(t, patience, "the daemon has ended", func() (bool, string) {
		return syscall.Kill(pid, 0) != nil, fmt.Sprint("process ", pid)
	})

	// The words are good for what they were shown for.
	next := newMachine(t, filepath.Join(filepath.Dir(m.dir), "next"))
	phrase := filepath.Join(next.dir, "phrase")
	must(t, os.WriteFile(phrase, []byte(strings.Join(words, " ")), 0o600))
	next.qsfs("restore", "again", "--node", "dir://"+filepath.Join(m.state, "default", "nodes", "4"), "--phrase-file", phrase)
	daemon = next.mountVolume("again")
	same(t, filepath.Join(next.mount, "first"), content)
	next.umount(daemon)
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, want %d others: %v", path, len(got), len(want), err)
	}
}

// TestLeftToUpload: too few nodes are up when the volume is unmounted. It says how much they lack, and
// brings it to them when it is mounted the next time.
func TestLeftToUpload(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "machine"))
	words := m.initVolume("home", nodes)
	daemon := m.mountVolume("home")
	for _, n := range nodes[:3] {
		n.kill()
	}
	content := contents("left", 3<<20)
	must(t, os.WriteFile(filepath.Join(m.mount, "left"), content, 0o644))
	done := stage(t, "an end with three of six nodes down")
	if code := daemon.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM: %s", code, daemon.stderr.String())
	}
	done()
	if text := daemon.stderr.String(); !regexp.MustCompile(`volume home unmounted; [0-9.]+ MiB not yet on the nodes`).MatchString(text) {
		t.Errorf("it does not say what is left to upload: %s", text)
	}
	for _, n := range nodes[:3] {
		n.start()
	}
	daemon = m.mountVolume("home")
	same(t, filepath.Join(m.mount, "left"), content)
	m.awaitStatus("home", "nothing staged", func(s volumeStatus) bool { return s.StagedBytes == 0 })
	m.umount(daemon)

	next := newMachine(t, filepath.Join(dir, "next"))
	next.qsfs("restore", "home", "--node", nodes[0].url("home"), "--phrase-file", words)
	daemon = next.mountVolume("home")
	same(t, filepath.Join(next.mount, "left"), content)
	next.umount(daemon)
}

// TestEmbeddedLoss: two of the six folders of an embedded volume are gone. It mounts, everything is right, and writing
// goes on. With empty folders in their place it has six nodes again, and what is read is written to them anew. What
// was not read may be lost with the next two: then it gives an error, and never other bytes.
func TestEmbeddedLoss(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	m := newMachine(t, filepath.Join(dir, "machine"))
	sample := filepath.Join(dir, "sample")
	makeRare(t, sample)
	want := readTree(t, sample)
	daemon := m.begin("up", m.mount)
	tool(t, "cp", "-a", sample, m.mount)
	m.qsfs("sync")
	m.umount(daemon)

	folder := func(n int) string { return filepath.Join(m.state, "default", "nodes", fmt.Sprint(n)) }
	before := diskBytes(t, folder(1))
	must(t, os.RemoveAll(folder(1)))
	must(t, os.RemoveAll(folder(2)))
	m.forgetCaches()
	daemon = m.begin("up", m.mount)
	inside := filepath.Join(m.mount, "sample")
	sameTree(t, "without two of six folders", want, inside)
	must(t, os.WriteFile(filepath.Join(m.mount, "after"), []byte("the loss"), 0o600))
	m.qsfs("sync")
	if s := m.status("default"); s.NodesUp != 4 || s.StagedBytes != 0 {
		t.Errorf("status without two of six folders: %+v", s)
	}

	// Two new disks in their place: empty folders.
	must(t, os.Mkdir(folder(1), 0o700))
	must(t, os.Mkdir(folder(2), 0o700))
	m.awaitStatus("default", "6 nodes up and no stripe degraded", func(s volumeStatus) bool {
		return s.NodesUp == 6 && s.DegradedStripes == 0
	})
	m.umount(daemon)
	m.forgetCaches()
	daemon = m.begin("up", m.mount)
	sameTree(t, "with two empty folders", want, inside)
	refilled := func() int64 { return diskBytes(t, folder(1)) + diskBytes(t, folder(2)) }
	for began := time.Now(); refilled() < before && time.Since(began) < 15*time.Second; {
		time.Sleep(100 * time.Millisecond)
	}
	m.awaitStatus("default", "6 nodes up and no stripe degraded", func(s volumeStatus) bool {
		return s.NodesUp == 6 && s.DegradedStripes == 0
	})
	m.umount(daemon)
	t.Logf("of %d KB that nodes 1 and 2 had lost, %d KB are there again after everything was read", 2*before>>10, refilled()>>10)

	must(t, os.RemoveAll(folder(3)))
	must(t, os.RemoveAll(folder(4)))
	m.forgetCaches()
	p := start(t, "up after two more losses", m.command("up", m.mount))
	eventually(t, patience, "up mounts or ends", func() (bool, string) {
		text := p.stderr.String()
		return !p.running() || strings.Contains(text, "qsfs: ready: "), text
	})
	if !p.running() {
		t.Logf("two more folders removed: not mounted: %s", p.stderr.String())
		return
	}
	got, broken := readTree(t, inside), 0
	for path, e := range got {
		if w := want[path]; strings.HasSuffix(e.Err, unix.EIO.Error()) {
			broken++
			e.Err, e.Sum = w.Err, w.Sum
			got[path] = e
		}
	}
	t.Logf("two more folders removed: %d of %d files give an error", broken, len(want))
	if found := differences(want, got); len(found) > 0 {
		t.Errorf("two more folders removed: %d times something else than the right bytes or an error: %.1000q", len(found), found)
	}
	m.umount(p)
}
