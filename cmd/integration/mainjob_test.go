package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMainJob is what qsfs is for: a tree survives the loss of any two nodes,
// of what was cached, and in the end of everything but the words and four nodes.
// After each loss every byte and attribute is compared.
func TestMainJob(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	sample := filepath.Join(dir, "sample")
	makeSample(t, sample)
	want := readTree(t, sample)
	t.Logf("sample: %d entries, %d MB", len(want), want.bytes()>>20)

	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "machine"))
	words := m.initVolume("home", nodes)
	daemon := m.mountVolume("home")
	inside := filepath.Join(m.mount, "sample")

	done := stage(t, "cp -a into the volume")
	tool(t, "cp", "-a", sample, m.mount)
	done()
	done = stage(t, "qsfs sync")
	m.qsfs("sync", "home")
	done()
	if s := m.status("home"); s.StagedBytes != 0 || s.DegradedStripes != 0 || s.NodesUp != 6 {
		t.Fatalf("after sync: %+v", s)
	}
	sameTree(t, "through the mount it was written by", want, inside)

	nodes[0].kill()
	nodes[1].kill()
	daemon = m.remountCold("home", daemon)
	sameTree(t, "without nodes 0 and 1, with cold caches", want, inside)

	changeSample(t, sample)
	changeSample(t, inside)
	want = readTree(t, sample)
	m.qsfs("sync", "home")
	if s := m.status("home"); s.StagedBytes != 0 || s.DegradedStripes == 0 || s.NodesUp != 4 {
		t.Errorf("after a sync to four of six nodes: %+v", s)
	}

	nodes[0].start()
	nodes[1].start()
	done = stage(t, "all stripes whole again")
	m.awaitStatus("home", "6 nodes up and no stripe degraded", func(s volumeStatus) bool {
		return s.NodesUp == 6 && s.DegradedStripes == 0
	})
	done()

	nodes[2].kill()
	nodes[3].kill()
	daemon = m.remountCold("home", daemon)
	sameTree(t, "without nodes 2 and 3, with cold caches", want, inside)

	m.qsfs("sync", "home")
	m.umount(daemon)
	kept, err := os.ReadFile(words)
	must(t, err)
	must(t, os.RemoveAll(m.dir)) // the fire

	m = newMachine(t, filepath.Join(dir, "new machine"))
	words = filepath.Join(m.dir, "words")
	must(t, os.WriteFile(words, kept, 0o600))
	dropPageCache(t)
	done = stage(t, "restore and mount")
	m.qsfs("restore", "home", "--node", nodes[5].url("home"), "--phrase-file", words)
	daemon = m.mountVolume("home")
	done()
	inside = filepath.Join(m.mount, "sample")
	sameTree(t, "restored from the words and one address, without nodes 2 and 3", want, inside)

	// It is a volume like any other: what is written to it stays.
	must(t, os.WriteFile(filepath.Join(m.mount, "after"), []byte("the fire"), 0o600))
	m.qsfs("sync", "home")
	daemon = m.remountCold("home", daemon)
	if got, err := os.ReadFile(filepath.Join(m.mount, "after")); string(got) != "the fire" {
		t.Errorf("written after the restore: %q, %v", got, err)
	}
	m.umount(daemon)
}

// TestMachineLost: a machine burns while its volume is mounted. Nobody unmounts and nobody gives back the lease; what was
// synced is there on the next machine all the same, and the old one, should it come back, is refused.
func TestMachineLost(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "lost"))
	words := m.initVolume("home", nodes)
	daemon := m.mountVolume("home")
	sample := filepath.Join(dir, "sample")
	makeRare(t, sample)
	want := readTree(t, sample)
	tool(t, "cp", "-a", sample, m.mount)

	// The last checkpoint is made while two nodes are down, and completed when they are back.
	nodes[4].kill()
	nodes[5].kill()
	m.qsfs("sync", "home")
	daemon = m.remountCold("home", daemon)
	nodes[4].start()
	nodes[5].start()
	m.awaitStatus("home", "6 nodes up and no stripe degraded", func(s volumeStatus) bool {
		return s.NodesUp == 6 && s.DegradedStripes == 0
	})

	must(t, os.WriteFile(filepath.Join(m.mount, "never synced"), []byte("lost"), 0o600))
	daemon.kill()
	m.qsfs("umount", m.mount)
	nodes[0].kill()
	nodes[1].kill()

	next := newMachine(t, filepath.Join(dir, "next"))
	done := stage(t, "restore and mount, while the lost machine's lease ends")
	next.qsfs("restore", "home", "--node", nodes[2].url("home"), "--phrase-file", words)
	newDaemon := next.mountVolume("home")
	done()
	sameTree(t, "on the next machine", want, filepath.Join(next.mount, "sample"))
	must(t, os.WriteFile(filepath.Join(next.mount, "life"), []byte("goes on"), 0o600))
	next.qsfs("sync", "home")

	refused(t, m.try("mount", "home", m.mount), 11, true, "in use")
	next.umount(newDaemon)
	// It has changes that no node saw, and the volume went on without them: somebody has to choose.
	refused(t, m.try("mount", "home", m.mount), 11, true, "written elsewhere")
}

// remountCold unmounts a volume and mounts it again, with nothing left in the
// page cache or in the volume's own cache.
func (m *machine) remountCold(name string, daemon *process) *process {
	m.t.Helper()
	began := time.Now()
	m.umount(daemon)
	m.forgetCaches()
	m.t.Logf("unmounted after %.1fs; the state folder holds %d MB", time.Since(began).Seconds(), diskBytes(m.t, m.state)>>20)
	began = time.Now()
	daemon = m.mountVolume(name)
	m.t.Logf("mounted again after %.1fs", time.Since(began).Seconds())
	return daemon
}
