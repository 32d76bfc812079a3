package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a computer with qsfs, as far as qsfs can tell: it has state, cache
// and runtime folders of its own.
type machine struct {
	t                        *testing.T
	dir                      string
	state, cache, run, mount string
	mounted                  string // the volume whose daemon is at work, for leavesNothing
}

func newMachine(t *testing.T, dir string) *machine {
	t.Helper()
	m := &machine{t: t, dir: dir}
	for name, path := range map[string]*string{"state": &m.state, "cache": &m.cache, "run": &m.run, "mnt": &m.mount} {
		*path = filepath.Join(dir, name)
	}
	must(t, os.MkdirAll(filepath.Join(dir, "home"), 0o700))
	t.Cleanup(func() {
		for _, path := range mountsBelow(t, dir) {
			unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	})
	return m
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(programs.qsfs, args...)
	cmd.Dir = m.dir
	cmd.Env = m.env()
	return cmd
}

func (m *machine) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(m.dir, "home"), "TMPDIR=" + os.TempDir(),
		"STATE_DIRECTORY=" + m.state, "CACHE_DIRECTORY=" + m.cache, "RUNTIME_DIRECTORY=" + m.run,
	}
}

// try runs a verb of qsfs, however it ends.
func (m *machine) try(args ...string) outcome {
	m.t.Helper()
	return run(m.t, m.command(args...))
}

// qsfs runs a verb that must succeed.
func (m *machine) qsfs(args ...string) outcome {
	m.t.Helper()
	o := m.try(args...)
	if o.code != 0 {
		m.t.Fatalf("qsfs %s: exit code %d:\n%s", strings.Join(args, " "), o.code, o.stderr)
	}
	return o
}

// begin starts a verb that stays in front, and waits until its volume is mounted.
func (m *machine) begin(args ...string) *process {
	m.t.Helper()
	p := start(m.t, "qsfs "+strings.Join(args, " "), m.command(args...))
	eventually(m.t, patience, "qsfs "+strings.Join(args, " ")+" is ready", func() (bool, string) {
		text := p.stderr.String()
		if !p.running() {
			m.t.Fatalf("qsfs %s ended with %d:\n%s", strings.Join(args, " "), p.code, text)
		}
		return strings.Contains(text, "qsfs: ready: "), text
	})
	m.t.Cleanup(func() {
		// Without a mount the daemon ends; start kills it when it does not.
		if p.running() {
			p.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-p.ended:
			case <-time.After(20 * time.Second):
			}
		}
	})
	return p
}

// mountVolume mounts a volume on m.mount.
func (m *machine) mountVolume(name string, flags ...string) *process {
	m.t.Helper()
	return m.begin(append([]string{"mount", name, m.mount}, flags...)...)
}

// umount unmounts m.mount and checks that its daemon ends well.
func (m *machine) umount(p *process) outcome {
	m.t.Helper()
	o := m.qsfs("umount", m.mount)
	if code := p.wait(m.t); code != 0 {
		m.t.Fatalf("the daemon ended with %d after qsfs umount:\n%s", code, p.stderr.String())
	}
	return o
}

// volumeStatus is what the tests read of qsfs status --json.
type volumeStatus struct {
	Name            string `json:"name"`
	Mountpoint      string `json:"mountpoint"`
	NodesUp         int    `json:"nodes_up"`
	StagedBytes     int64  `json:"staged_bytes"`
	StagedError     string `json:"staged_error"`
	Stripes         int64  `json:"stripes"`
	DegradedStripes int64  `json:"degraded_stripes"`
	Inodes          int64  `json:"inodes"`
	ReadOnly        bool   `json:"read_only"`
	ReadOnlyReason  string `json:"read_only_reason"`
	Nodes           []struct {
		URL       string `json:"url"`
		Up        bool   `json:"up"`
		LastError string `json:"last_error"`
	} `json:"nodes"`
}

// status asks for the status of a mounted volume.
func (m *machine) status(name string) volumeStatus {
	m.t.Helper()
	var all struct {
		Version int `json:"version"`
		Volumes []struct {
			Name    string        `json:"name"`
			Mounted bool          `json:"mounted"`
			PID     int           `json:"pid"`
			Status  *volumeStatus `json:"status"`
		} `json:"volumes"`
	}
	text := m.qsfs("status", "--json", name).stdout
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		m.t.Fatalf("qsfs status --json: %v in\n%s", err, text)
	}
	if all.Version != 1 || len(all.Volumes) != 1 || all.Volumes[0].Name != name || !all.Volumes[0].Mounted || all.Volumes[0].Status == nil {
		m.t.Fatalf("qsfs status --json %s: not one mounted volume of that name:\n%s", name, text)
	}
	return *all.Volumes[0].Status
}

// awaitStatus asks for the status until it is as wished.
func (m *machine) awaitStatus(name, what string, ok func(volumeStatus) bool) {
	m.t.Helper()
	eventually(m.t, patience, what, func() (bool, string) {
		s := m.status(name)
		text, _ := json.Marshal(s)
		return ok(s), string(text)
	})
}

// forgetCaches drops the page cache and the volume's own cache of what the nodes have. Nothing may be mounted.
func (m *machine) forgetCaches() {
	m.t.Helper()
	must(m.t, os.RemoveAll(m.cache))
	dropPageCache(m.t)
}

// initVolume makes a 4+2 volume on the nodes and gives the file with its words.
func (m *machine) initVolume(name string, nodes []*node) (words string) {
	m.t.Helper()
	words = filepath.Join(m.dir, name+".words")
	m.qsfs(append([]string{"init", name, "--data", "4", "--parity", "2", "--new-phrase-file", words}, urls(nodes, name)...)...)
	return words
}
