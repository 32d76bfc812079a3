package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const mebibyte = 1 << 20

// fill writes files of a mebibyte, each fsynced, until there is no space, and gives those that were written whole.
func fill(t *testing.T, dir string, atMost int) (whole []string) {
	t.Helper()
	for i := range atMost {
		path := filepath.Join(dir, fmt.Sprintf("%d-%03d", len(dir), i))
		err := writeSynced(path, contents(filepath.Base(path), mebibyte))
		if errors.Is(err, unix.ENOSPC) {
			t.Logf("no space left after %d files of 1 MiB", i)
			os.Remove(path)
			return whole
		}
		if err != nil {
			t.Fatalf("after %d files of 1 MiB: %v, want ENOSPC in the end", i, err)
		}
		whole = append(whole, path)
	}
	t.Fatalf("%d MiB were written, and still there is space", atMost)
	return nil
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func intact(t *testing.T, when string, files []string) {
	t.Helper()
	for _, path := range files {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, contents(filepath.Base(path), mebibyte)) {
			t.Fatalf("%s: %s: %d bytes, %v", when, path, len(got), err)
		}
	}
}

// TestLocalDiskFull: the disk under the state folder is full. Writes fail with ENOSPC, nothing that was fsynced is lost,
// files can be deleted, and once there is room again the writing goes on.
func TestLocalDiskFull(t *testing.T) {
	needMounts(t)
	again := func(m *machine) func() (bool, string) {
		return func() (bool, string) {
			path := filepath.Join(m.mount, "again")
			err := writeSynced(path, []byte("again"))
			os.Remove(path)
			return err == nil, fmt.Sprint(err)
		}
	}
	remains := func(t *testing.T, m *machine, daemon *process, whole []string) {
		t.Helper()
		if o := m.try("umount", m.mount); o.code != 0 {
			t.Errorf("umount: exit code %d: %s", o.code, o.stderr)
		}
		if code := daemon.wait(t); code != 0 {
			t.Errorf("the daemon ended with %d: %s", code, tail(daemon.stderr.String()))
		}
		m.forgetCaches()
		daemon = m.mountVolume("home")
		intact(t, "mounted again", whole)
		within(t, time.Minute, "a write after the next mount", again(m))
		m.umount(daemon)
	}

	// The nodes have room: the disk is needed only until they have everything.
	t.Run("of qsfs itself", func(t *testing.T) {
		m := onSmallDisk(t)
		daemon := m.mountVolume("home")
		whole := fill(t, m.mount, 400)
		intact(t, "when the local disk is full", whole)
		must(t, os.Remove(whole[0]))
		if o := m.try("sync", "home"); o.code != 0 {
			t.Errorf("sync with a full local disk and nodes that have room: exit code %d: %s", o.code, o.stderr)
		}
		within(t, time.Minute, "room to write again, now that the nodes have everything", again(m))
		remains(t, m, daemon, whole[1:])
	})
	// Not one byte is left for the log and the metadata store.
	t.Run("of something else", func(t *testing.T) {
		m := onSmallDisk(t)
		daemon := m.mountVolume("home")
		var whole []string
		for i := range 5 {
			path := filepath.Join(m.mount, fmt.Sprintf("before-%d", i))
			must(t, writeSynced(path, contents(filepath.Base(path), mebibyte)))
			whole = append(whole, path)
		}
		other := filepath.Join(m.state, "something else")
		if err := os.WriteFile(other, make([]byte, 200*mebibyte), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("the small disk is not small: %v", err)
		}
		whole = append(whole, fill(t, m.mount, 400)...)
		intact(t, "when the local disk is full", whole)
		must(t, os.Remove(whole[0]))
		whole = whole[1:]
		if !daemon.running() {
			t.Fatal("the daemon died")
		}
		must(t, os.Remove(other))
		within(t, time.Minute, "room to write again, now that the disk has room", again(m))
		if s := m.status("home"); s.ReadOnly {
			t.Errorf("read-only: %s", s.ReadOnlyReason)
		}
		remains(t, m, daemon, whole)
	})
}

// onSmallDisk makes a volume on six nodes with room, on a machine whose state folder has little.
func onSmallDisk(t *testing.T) *machine {
	t.Helper()
	dir := scratch(t)
	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "machine"))
	must(t, os.MkdirAll(m.state, 0o700))
	must(t, unix.Mount("none", m.state, "tmpfs", 0, "size=160m,mode=700"))
	t.Cleanup(func() { unix.Unmount(m.state, unix.MNT_DETACH) })
	m.initVolume("home", nodes)
	return m
}

// TestNodesFull: the nodes take no more. Sync says so with its exit code, writes fail with ENOSPC once as much is staged
// as may be, nothing that was fsynced is lost, files can be deleted, and the volume can be mounted again.
func TestNodesFull(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	nodes := startNodes(t, dir, 6, "--maxsize", "12MiB")
	m := newMachine(t, filepath.Join(dir, "machine"))
	m.initVolume("home", nodes)
	daemon := m.mountVolume("home", "--max-staged", "64MiB")
	early := filepath.Join(m.mount, "early")
	must(t, os.Mkdir(early, 0o755))
	for i := range 4 {
		path := filepath.Join(early, fmt.Sprint(i))
		must(t, writeSynced(path, contents(filepath.Base(path), mebibyte)))
	}
	m.qsfs("sync", "home")
	whole := fill(t, m.mount, 400)
	if !daemon.running() {
		t.Fatal("the daemon died")
	}
	intact(t, "when the nodes are full", whole)
	refused(t, m.try("sync", "home"), 15, true, "space")
	if s := m.status("home"); s.ReadOnly || s.StagedBytes == 0 || s.StagedError == "" {
		t.Errorf("status with full nodes: %+v", s)
	}
	must(t, os.Remove(whole[0]))
	whole = whole[1:]
	o := m.umount(daemon)
	t.Logf("qsfs umount said: %s", o.stderr)
	daemon = m.mountVolume("home", "--max-staged", "64MiB")
	intact(t, "mounted again", whole)
	for i := range 4 {
		intact(t, "synced early", []string{filepath.Join(early, fmt.Sprint(i))})
	}
	m.umount(daemon)
}
