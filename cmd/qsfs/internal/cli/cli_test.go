package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/settings"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/phrase"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

func sample() (mounted, unmounted volume) {
	info := fs.Info{
		Version: 1, Name: "home", VolumeID: "000102030405060708090a0b0c0d0e0f", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Data: 4, Parity: 2,
		Nodes: []fs.InfoNode{{ID: 1, URL: "zdb://192.0.2.1:9900/home", Group: "a"}, {ID: 2, URL: "zdb://192.0.2.2:9900/home"}},
	}
	status := fs.Status{
		Name: "home", VolumeID: info.VolumeID, Mountpoint: "/mnt/home", Generation: 12, Epoch: 3, Data: 4, Parity: 2,
		Nodes: []fs.NodeStatus{
			{ID: 1, URL: "zdb://192.0.2.1:9900/home", Group: "a", Up: true, UsedBytes: 5 << 20, FreeBytes: 1 << 40},
			{ID: 2, URL: "zdb://192.0.2.2:9900/home", LastError: "set 192.0.2.2:9900/home: zdb: node unavailable (not asked): zdb: node unavailable: connection refused", FreeBytes: -1},
		},
		NodesUp: 1, StagedBytes: 1258291, OldestStagedSeconds: 75, StagedError: "too few nodes", Stripes: 100, DegradedStripes: 2,
		UsedBytes: 16 << 20, FreeBytes: 3 << 40, Inodes: 42, ReadOnly: true, ReadOnlyReason: "the lease was lost",
	}
	mounted = volume{Name: "home", StateDir: "/var/lib/qsfs/home", Mounted: true, Mountpoint: "/mnt/home", PID: 4711, Info: &info, Status: &status}
	unmounted = volume{Name: "work", StateDir: "/var/lib/qsfs/work", Info: &info}
	return mounted, unmounted
}

// TestStatusGolden proves that what programs and people read stays as it is.
func TestStatusGolden(t *testing.T) {
	mounted, unmounted := sample()
	var out bytes.Buffer
	if err := writeJSON(&out, volumeList{listVersion, []volume{mounted, unmounted}}); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", out.String())

	out.Reset()
	quiet := mounted
	calm := *mounted.Status
	calm.ReadOnly, calm.StagedBytes, calm.StagedError, calm.DegradedStripes = false, 0, "", 0
	calm.Nodes, calm.NodesUp = calm.Nodes[:1], 1
	quiet.Status = &calm
	lost := unmounted
	lost.Problem = "its daemon is gone"
	for _, v := range []volume{mounted, quiet, unmounted, lost} {
		if err := writeScreen(&out, v); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "--\n%s\n==\n", inShort(v))
	}
	golden(t, "status.txt", out.String())
}

func TestRestoreGolden(t *testing.T) {
	var out, stderr bytes.Buffer
	a := &app{stdout: &out, stderr: &stderr, asJSON: true}
	report := fs.RestoreReport{
		Name: "home", VolumeName: "home", VolumeID: "00", Generation: 9, Epoch: 4, Writer: "host (process 1)",
		WrittenAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Data: 4, Parity: 2, NodesUp: 4, Nodes: 6, Inodes: 10, UsedBytes: 2048,
	}
	if err := a.reportRestore("home", report, true); err != nil {
		t.Fatal(err)
	}
	golden(t, "restore.json", out.String())
}

// TestEveryVerbIsDocumented proves that each verb has help, an example and its exit codes, and each flag a text.
func TestEveryVerbIsDocumented(t *testing.T) {
	root := newRoot(&app{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)})
	verbs := []string{"up", "init", "mount", "umount", "restore", "status", "sync", "ls", "version", "completion"}
	for _, cmd := range root.Commands() {
		if i := slices.Index(verbs, cmd.Name()); i >= 0 {
			verbs = slices.Delete(verbs, i, i+1)
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: short %q, example %q", cmd.Name(), cmd.Short, cmd.Example)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", cmd.Name(), line)
			}
		}
		for _, code := range strings.Fields(cmd.Annotations[exitNote]) {
			if !slices.ContainsFunc(exit.Meanings, func(m exit.Meaning) bool { return fmt.Sprint(m.Code) == code }) {
				t.Errorf("%s: exit code %s has no meaning", cmd.Name(), code)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no text", cmd.Name(), f.Name)
			}
		})
		if !strings.Contains(exitStatus(cmd), "  130  interrupted") {
			t.Errorf("%s: %s", cmd.Name(), exitStatus(cmd))
		}
	}
	if len(verbs) > 0 {
		t.Errorf("no verbs %v", verbs)
	}
}

// TestConfigurationKeysAreFlags proves that each key of a configuration file is a flag of mount and of up.
func TestConfigurationKeysAreFlags(t *testing.T) {
	root := newRoot(&app{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)})
	for _, verb := range []string{"mount", "up"} {
		cmd, _, err := root.Find([]string{verb})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range settings.Keys {
			if cmd.Flags().Lookup(key) == nil && cmd.InheritedFlags().Lookup(key) == nil {
				t.Errorf("%s has no flag --%s", verb, key)
			}
		}
	}
}

func testPhrase(t *testing.T) phrase.Phrase {
	t.Helper()
	words, err := phrase.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return words
}

func TestShowWords(t *testing.T) {
	words := testPhrase(t)
	var out bytes.Buffer
	if err := showWords(&out, "home", words); err != nil {
		t.Fatal(err)
	}
	for i, word := range words.Words() {
		if !strings.Contains(out.String(), fmt.Sprintf("%2d. %s ", i+1, word)) {
			t.Errorf("word %d is not shown:\n%s", i+1, &out)
		}
	}
}

func TestWriteWords(t *testing.T) {
	words := testPhrase(t)
	path := filepath.Join(t.TempDir(), "words")
	if err := writeWords(path, words); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != words.Reveal()+"\n" {
		t.Errorf("the file does not hold the words: %v", err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := writeWords(path, testPhrase(t)); err == nil {
		t.Error("words were written over a file")
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, text) {
		t.Error("the file changed")
	}
}

// answers is a person at the terminal: it reads which word is asked for and types what answer says.
type answers struct {
	words  []string
	answer func(position int, right string) string
	typed  chan []byte
	rest   []byte
	asked  int
}

func (p *answers) Write(prompt []byte) (int, error) {
	var position int
	if n, _ := fmt.Sscanf(string(prompt), "word %d:", &position); n == 1 {
		p.asked++
		p.typed <- []byte(p.answer(position, p.words[position-1]) + "\n")
	}
	return len(prompt), nil
}

func (p *answers) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		p.rest = <-p.typed
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestAskBack(t *testing.T) {
	words := testPhrase(t)
	wrongOnce := map[int]bool{}
	for _, tc := range []struct {
		name   string
		answer func(position int, right string) string
		asked  int
		fails  bool
	}{
		{"right", func(_ int, right string) string { return right }, 3, false},
		{"upper case and blanks", func(_ int, right string) string { return "  " + strings.ToUpper(right) + " " }, 3, false},
		{"wrong once each", func(position int, right string) string {
			if !wrongOnce[position] {
				wrongOnce[position] = true
				return "wrong"
			}
			return right
		}, 6, false},
		{"wrong", func(int, string) string { return "wrong" }, 3, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			person := &answers{words: words.Words(), answer: tc.answer, typed: make(chan []byte, 8)}
			err := askBack(t.Context(), person, person, words)
			if (err != nil) != tc.fails || person.asked != tc.asked {
				t.Errorf("got %v after %d questions, want %d", err, person.asked, tc.asked)
			}
			if code, hint := exit.Of(err); tc.fails && (code != exit.WrongKey || hint == "") {
				t.Errorf("code %d, hint %q", code, hint)
			}
		})
	}
	t.Run("leaves what follows", func(t *testing.T) {
		in := strings.NewReader("one\ntwo\n")
		line, err := readLine(t.Context(), in)
		rest := new(bytes.Buffer)
		rest.ReadFrom(in)
		if err != nil || line != "one" || rest.String() != "two\n" {
			t.Errorf("got %q, %v, rest %q", line, err, rest)
		}
	})
	t.Run("end of input", func(t *testing.T) {
		if err := askBack(t.Context(), strings.NewReader(""), new(bytes.Buffer), words); err == nil {
			t.Error("nothing typed was taken for an answer")
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		silent := &answers{typed: make(chan []byte)}
		if err := askBack(ctx, silent, new(bytes.Buffer), words); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func testPlaces(t *testing.T) places.Places {
	t.Helper()
	base := t.TempDir()
	p, err := places.Find(places.Given{StateDir: filepath.Join(base, "deep", "state"), CacheDir: filepath.Join(base, "cache"), Env: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestClaim proves that a volume that could not be made leaves nothing behind, and takes nothing away that was there.
func TestClaim(t *testing.T) {
	a := &app{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}
	t.Run("failure leaves nothing", func(t *testing.T) {
		p := testPlaces(t)
		c, err := a.claimVolume(p, "home")
		if err != nil {
			t.Fatal(err)
		}
		words := filepath.Join(t.TempDir(), "words")
		os.WriteFile(words, nil, 0o600)
		c.owns(words)
		node := filepath.Join(t.TempDir(), "nodes", "1")
		c.made.watch(node)
		os.MkdirAll(filepath.Join(node, "data"), 0o700)
		os.WriteFile(filepath.Join(p.StateOf("home"), "volume.json"), nil, 0o600)
		if err := c.done(false); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{filepath.Dir(p.State), words, filepath.Dir(node)} {
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there", path)
			}
		}
	})
	t.Run("failure keeps what was there", func(t *testing.T) {
		p := testPlaces(t)
		config := filepath.Join(p.StateOf("home"), "config.toml")
		os.MkdirAll(filepath.Dir(config), 0o700)
		os.WriteFile(config, []byte("x"), 0o600)
		node := filepath.Join(t.TempDir(), "1")
		os.MkdirAll(node, 0o700)
		c, err := a.claimVolume(p, "home")
		if err != nil {
			t.Fatal(err)
		}
		c.made.watch(node)
		c.done(false)
		for _, path := range []string{config, node} {
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("%s is gone: %v", path, err)
			}
		}
	})
	t.Run("two at a time", func(t *testing.T) {
		p := testPlaces(t)
		first, err := a.claimVolume(p, "home")
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.claimVolume(p, "home")
		if code, _ := exit.Of(err); code != exit.Locked {
			t.Errorf("got %v, code %d", err, code)
		}
		if err := first.done(true); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(p.StateOf("home"), markName)); err == nil {
			t.Error("the mark stayed")
		}
	})
	t.Run("success", func(t *testing.T) {
		p := testPlaces(t)
		c, err := a.claimVolume(p, "home")
		if err != nil {
			t.Fatal(err)
		}
		info := fmt.Sprintf(`{"version":1,"name":"home","volume_id":%q}`, strings.Repeat("0", 32))
		os.WriteFile(filepath.Join(p.StateOf("home"), "volume.json"), []byte(info), 0o600)
		if _, err := a.readFinished(p, "home"); !errors.Is(err, fs.ErrVolumeNotFound) {
			t.Errorf("a volume that is being made is shown: %v", err)
		}
		if err := c.done(true); err != nil {
			t.Fatal(err)
		}
		if _, err := a.readFinished(p, "home"); err != nil {
			t.Errorf("the volume is not there: %v", err)
		}
		if _, err := a.claimVolume(p, "home"); !errors.Is(err, fs.ErrVolumeExists) {
			t.Errorf("a volume was claimed twice: %v", err)
		}
	})
}

func TestNodesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes")
	os.WriteFile(path, []byte("# the first room\nzdb://192.0.2.1:9900/home?group=a # old\n\n  zdb://192.0.2.2:9900/home\r\n"), 0o600)
	f := nodeFlags{file: path, urls: []string{"dir:///srv/3"}}
	nodes, err := f.nodes()
	if err != nil {
		t.Fatal(err)
	}
	want := []fs.NodeConfig{{ID: 1, URL: "zdb://192.0.2.1:9900/home?group=a", Group: "a"}, {ID: 2, URL: "zdb://192.0.2.2:9900/home"}, {ID: 3, URL: "dir:///srv/3"}}
	if diff := cmp.Diff(want, nodes); diff != "" {
		t.Error(diff)
	}
	for name, f := range map[string]nodeFlags{
		"none":  {},
		"twice": {urls: []string{"dir:///srv/3", "dir:///srv/./3"}},
		"wrong": {urls: []string{"srv/3"}},
		"gone":  {file: path + "x"},
	} {
		if _, err := f.nodes(); err == nil {
			t.Errorf("%s: no error", name)
		} else if code, _ := exit.Of(err); code != exit.Usage {
			t.Errorf("%s: %v, code %d", name, err, code)
		}
	}
}

func TestNodePassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	os.WriteFile(path, []byte("open sesame\n"), 0o600)
	f := nodeFlags{urls: []string{"zdb://192.0.2.1:9900/home?password-file=" + path}}
	nodes, err := f.nodes()
	if err != nil || nodes[0].Password != "open sesame" || strings.Contains(nodes[0].URL, "sesame") {
		t.Errorf("got %+v, %v", nodes, err)
	}
	os.Chmod(path, 0o644)
	if _, err := f.nodes(); err == nil {
		t.Error("a password file that others can read was used")
	}
}

func TestCgroupLimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"none", nil, 0},
		{"v2, the smallest of all above", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "2000\n",
		}, 1000},
		{"v2 without limits", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		{"v2 in a container", map[string]string{"proc/self/cgroup": "0::/host/path\n", "sys/fs/cgroup/memory.max": "500\n"}, 500},
		{"v1", map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:hugetlb,memory:/m\n", "sys/fs/cgroup/memory/m/memory.limit_in_bytes": "700\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 700},
		{"v1 without limit", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"garbage", map[string]string{"proc/self/cgroup": "x\n0::\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tc.files {
				path := filepath.Join(root, name)
				os.MkdirAll(filepath.Dir(path), 0o755)
				os.WriteFile(path, []byte(text), 0o644)
			}
			if got := cgroupLimit(root); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestLineLog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newLineHandler(&out, slog.LevelInfo))
	log.Debug("not written")
	log.Warn("node is down", "node", 1, "error", errors.Join(errors.New("a"), errors.New("b\x1b[2J")))
	log.With("volume", "home").WithGroup("g").Info("ready", "x", 1, slog.Group("h", "y", 2))
	log.Error("alone")
	want := "qsfs: warning: node is down: node=1 error=a; b [2J\nqsfs: info: ready: volume=home g.x=1 g.h.y=2\nqsfs: error: alone\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestJSONFlagIsSeenWhenFlagsAreWrong proves that a program that asked for JSON gets its error as JSON.
func TestJSONFlagIsSeenWhenFlagsAreWrong(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{args: []string{"qsfs", "status", "--nosuch", "--json"}, stdin: os.Stdin, stdout: new(bytes.Buffer), stderr: &stderr}
	if code := a.run(t.Context()); code != int(exit.Usage) || !strings.HasPrefix(stderr.String(), `{"type":"exit_error","code":2,`) {
		t.Errorf("code %d, %s", code, &stderr)
	}
}

func TestMountFlags(t *testing.T) {
	for _, tc := range []struct {
		args string
		uid  int
		want exit.Code
	}{
		{"", 1000, exit.OK}, {"--suid --dev", 0, exit.OK}, {"--suid", 1000, exit.NotPermitted}, {"--memory 1MiB", 0, exit.Usage}, {"--upload-delay 0s", 0, exit.Usage},
	} {
		f := &mountFlags{}
		cmd := &cobra.Command{}
		f.register(cmd.Flags())
		if err := cmd.ParseFlags(strings.Fields(tc.args)); err != nil {
			t.Fatal(err)
		}
		if got, _ := exit.Of(f.check(tc.uid)); got != tc.want {
			t.Errorf("%q as %d: code %d, want %d", tc.args, tc.uid, got, tc.want)
		}
	}
}
