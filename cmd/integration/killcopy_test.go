package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKillDuringCopy kills the daemon with kill -9 in the middle of a copy, again and again. After the next mount
// everything whose fsync returned is there, byte for byte; what was not fsynced may lack, but never holds bytes
// that were not written there; the tree can be read from end to end; and the writing goes on.
func TestKillDuringCopy(t *testing.T) {
	needMounts(t)
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	if text := os.Getenv("QSFS_KILL_ROUNDS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		must(t, err)
	}
	t.Run("nodes in other processes", func(t *testing.T) {
		dir := scratch(t)
		nodes := startNodes(t, dir, 6)
		m := newMachine(t, filepath.Join(dir, "machine"))
		words := m.initVolume("home", nodes)
		killRounds(t, m, rounds, "mount", "home", m.mount)

		// What survived here is on the nodes too.
		want := readTree(t, m.mount)
		daemon := m.mountedAgain("mount", "home", m.mount)
		m.qsfs("sync", "home")
		m.umount(daemon)
		next := newMachine(t, filepath.Join(dir, "next"))
		next.qsfs("restore", "home", "--node", nodes[1].url("home"), "--phrase-file", words)
		daemon = next.mountVolume("home")
		sameTree(t, "restored", want, next.mount)
		next.umount(daemon)
	})
	t.Run("nodes in the daemon", func(t *testing.T) {
		m := newMachine(t, filepath.Join(scratch(t), "machine"))
		killRounds(t, m, max(rounds/2, 1), "up", m.mount)
	})
}

// mountedAgain ends the daemon of the mount, whichever it is, in order, and mounts anew.
func (m *machine) mountedAgain(args ...string) *process {
	m.t.Helper()
	m.qsfs("umount", m.mount)
	return m.begin(args...)
}

// killRounds leaves the volume mounted, its daemon well.
func killRounds(t *testing.T, m *machine, rounds int, args ...string) {
	choose := random(t)
	daemon := m.begin(args...)
	writers := []*crashWriter{newCrashWriter(m.mount, "a", 7), newCrashWriter(m.mount, "b", 3)}
	kills := 0
	for round := range rounds {
		var group sync.WaitGroup
		for _, w := range writers {
			group.Go(func() { w.write(round) })
		}
		goroot := strings.TrimSpace(run(t, exec.Command("go", "env", "GOROOT")).stdout)
		copier := exec.Command("cp", "-a", filepath.Join(goroot, "src", "crypto"), filepath.Join(m.mount, fmt.Sprintf("copy-%d", round)))
		copier.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(t, copier.Start())

		synced := func() (n int64) {
			for _, w := range writers {
				n += w.synced.Load()
			}
			return n
		}
		before, target := synced(), int64(20+choose.IntN(120))
		delay := time.Duration(choose.IntN(20)) * time.Millisecond
		eventually(t, patience, "files are written and fsynced", func() (bool, string) {
			return synced()-before >= target, fmt.Sprint(synced()-before, " of ", target)
		})
		time.Sleep(delay)
		daemon.kill()
		kills++
		group.Wait()
		copier.Process.Kill()
		copier.Wait()
		for _, w := range writers {
			if w.err != nil {
				t.Fatalf("before the kill: %v", w.err)
			}
		}

		if round%2 == 1 {
			m.qsfs("umount", m.mount)
		} // else the mount cleans up what the dead daemon left
		if round%3 == 2 {
			must(t, os.RemoveAll(m.cache))
		}
		began := time.Now()
		daemon = m.begin(args...)
		took := time.Since(began)
		for _, w := range writers {
			w.check(t)
		}
		consistent(t, m.mount)
		if t.Failed() {
			t.Fatalf("after kill %d", kills)
		}
		t.Logf("kill %d: %d fsyncs had returned; mounted again after %.1fs", kills, synced(), took.Seconds())
	}
}

// crashWriter writes files whose bytes are known, and remembers what was promised about them.
type crashWriter struct {
	dir    string
	every  int // each so-many-th file is fsynced
	next   int
	synced atomic.Int64 // calls of fsync that returned
	err    error        // anything but the daemon's death

	files    []crashFile
	versions map[string]*crashVersion
}

// crashFile is a file that was written from front to back, once.
type crashFile struct {
	path          string
	written, safe int // bytes tried, bytes whose fsync returned; -1: not even its name is promised
}

// crashVersion is a file that is replaced by renaming another one over it.
type crashVersion struct{ safe, tried int }

func newCrashWriter(mount, name string, every int) *crashWriter {
	return &crashWriter{dir: filepath.Join(mount, name), every: every, versions: map[string]*crashVersion{}}
}

// write writes until the daemon dies.
func (w *crashWriter) write(round int) {
	for {
		w.next++
		dir := filepath.Join(w.dir, fmt.Sprintf("round-%d", round), fmt.Sprint(w.next/50))
		err := os.MkdirAll(dir, 0o755)
		if err == nil && w.next%5 == 0 {
			err = w.replace(fmt.Sprintf("version-%d", w.next%4))
		} else if err == nil {
			err = w.create(filepath.Join(dir, fmt.Sprintf("file-%06d", w.next)))
		}
		if err == nil {
			continue
		}
		if !gone(err) {
			w.err = err
		}
		return
	}
}

// gone tells an error that the death of a daemon causes (kernel, fs/fuse/dev.c).
func gone(err error) bool {
	for _, errno := range []unix.Errno{unix.ENOTCONN, unix.ECONNABORTED, unix.EIO, unix.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// create writes a new file in a few pieces, some of them followed by fsync.
func (w *crashWriter) create(path string) error {
	content := contents(w.rel(path), (w.next*7919)%150_000)
	w.files = append(w.files, crashFile{path: path, safe: -1})
	state := &w.files[len(w.files)-1]
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	pieces := 1 + w.next%3
	for piece := range pieces {
		end := len(content) * (piece + 1) / pieces
		start := state.written
		state.written = end
		if _, err := file.Write(content[start:end]); err != nil {
			return err
		}
		if w.next%w.every == 0 {
			if err := file.Sync(); err != nil {
				return err
			}
			state.safe = end
			w.synced.Add(1)
		}
	}
	return nil
}

// replace does what editors and databases do: write, fsync, rename over, fsync the folder.
func (w *crashWriter) replace(name string) error {
	path := filepath.Join(w.dir, name)
	v := w.versions[path]
	if v == nil {
		v = &crashVersion{}
		w.versions[path] = v
	}
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(w.version(path, v.tried+1)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	v.tried++
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	folder, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return err
	}
	v.safe = v.tried
	w.synced.Add(1)
	return nil
}

func (w *crashWriter) version(path string, number int) []byte {
	return contents(fmt.Sprintf("%s version %d", w.rel(path), number), 10_000+number*13)
}

func (w *crashWriter) rel(path string) string {
	rel, err := filepath.Rel(w.dir, path)
	if err != nil {
		panic(err)
	}
	return rel
}

// check holds the volume to its promises.
func (w *crashWriter) check(t *testing.T) {
	t.Helper()
	faults, whole, kept := 0, 0, 0
	fault := func(format string, args ...any) {
		if faults++; faults <= 10 {
			t.Errorf(format, args...)
		}
	}
	for _, f := range w.files {
		got, err := os.ReadFile(f.path)
		if err != nil {
			if f.safe >= 0 || !os.IsNotExist(err) {
				fault("%s: fsynced up to %d: %v", f.path, f.safe, err)
			}
			continue
		}
		want := contents(w.rel(f.path), (number(f.path)*7919)%150_000)
		switch {
		case len(got) > f.written:
			fault("%s: %d bytes, and only %d were written", f.path, len(got), f.written)
		case f.safe > 0 && (len(got) < f.safe || !bytes.Equal(got[:f.safe], want[:f.safe])):
			fault("%s: %d bytes, the first %d were fsynced and are not all there", f.path, len(got), f.safe)
		case !partOf(got, want):
			fault("%s: bytes that were never written there", f.path)
		}
		if kept++; len(got) == f.written {
			whole++
		}
	}
	for path, v := range w.versions {
		got, err := os.ReadFile(path)
		if os.IsNotExist(err) && v.safe == 0 {
			continue
		}
		found := -1
		for number := v.safe; number <= v.tried; number++ {
			if number > 0 && bytes.Equal(got, w.version(path, number)) {
				found = number
			}
		}
		if found < 0 {
			fault("%s: none of the versions %d to %d: %d bytes, %v", path, v.safe, v.tried, len(got), err)
			continue
		}
		v.safe, v.tried = found, found // what was seen after a crash stays
	}
	t.Logf("%s: %d files tried, %d there, %d of them whole", filepath.Base(w.dir), len(w.files), kept, whole)
}

// partOf tells whether got is want as far as it goes, with zeros where data did not arrive.
func partOf(got, want []byte) bool {
	if bytes.HasPrefix(want, got) {
		return true
	}
	for i, b := range got {
		if b != 0 && b != want[i] {
			return false
		}
	}
	return true
}

func number(path string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), "file-"))
	return n
}

// consistent reads everything in a tree: no entry may give an error, and each file has as many names as it says.
func consistent(t *testing.T, root string) {
	t.Helper()
	names := map[string]uint64{}
	all := readTree(t, root)
	for path, e := range all {
		if e.Err != "" {
			t.Errorf("%q: %s", path, e.Err)
		}
		names[e.First]++
	}
	for path, e := range all {
		if e.First != "" && names[e.First] != e.Links {
			t.Errorf("%q: %d links, and %d names", path, e.Links, names[e.First])
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil || st.Blocks == 0 || st.Bfree > st.Blocks {
		t.Errorf("statfs: %+v, %v", st, err)
	}
}
