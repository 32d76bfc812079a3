package integration

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// programs are the paths of the programs under test, built once.
var programs struct{ qsfs, zdbd string }

// seed is where all random choices of a run come from.
var seed = uint64(time.Now().UnixNano())

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if text := os.Getenv("QSFS_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			fmt.Fprintln(os.Stderr, "QSFS_TEST_SEED:", err)
			return 2
		}
	}
	if dir := os.Getenv("QSFS_TEST_PROGRAMS"); dir != "" {
		programs.qsfs, programs.zdbd = filepath.Join(dir, "qsfs"), filepath.Join(dir, "zdbd")
	} else if missing() == "" {
		dir, err := os.MkdirTemp("", "qsfs-programs-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		args := append([]string{"build", "-o", dir + "/"}, strings.Fields(os.Getenv("QSFS_TEST_BUILD_FLAGS"))...)
		build := exec.Command("go", append(args, "../qsfs", "../zdbd")...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the programs:", err)
			return 1
		}
		programs.qsfs, programs.zdbd = filepath.Join(dir, "qsfs"), filepath.Join(dir, "zdbd")
	}
	return m.Run()
}

// missing says what this machine lacks to mount; nothing is "".
func missing() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	device.Close()
	return ""
}

// needMounts skips the test where nothing can be mounted, and fails it in CI.
func needMounts(t *testing.T) {
	t.Helper()
	reason := missing()
	switch {
	case reason == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("CI=true, and yet these tests can't run: %s", reason)
	default:
		t.Skipf("needs root and /dev/fuse: %s", reason)
	}
}

// random gives the test's own source of random choices, and prints how to get the same again.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	t.Logf("QSFS_TEST_SEED=%d", seed)
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}

// scratch makes a folder on a disk. When the test ends everything that is
// still mounted below is taken away, and then the folder.
func scratch(t *testing.T) string {
	t.Helper()
	base := os.Getenv("QSFS_TEST_DIR")
	if base == "" {
		base = os.TempDir()
		if inMemory(base) {
			base = "/var/tmp"
		}
	}
	dir, err := os.MkdirTemp(base, "qsfs-integration-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, path := range mountsBelow(t, dir) {
			t.Errorf("%s was left mounted", path)
			if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				t.Errorf("unmount %s: %v", path, err)
			}
		}
		if left := mountsBelow(t, dir); len(left) > 0 {
			return // never remove files through a mount
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func inMemory(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC)
}

// mountsBelow lists what is mounted below dir, the last mounted first (proc(5), mountinfo).
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			paths = append([]string{fields[4]}, paths...)
		}
	}
	return paths
}

// dropPageCache makes the kernel forget what it can read again. Some
// containers forbid it; a volume that was unmounted has nothing there anyway.
func dropPageCache(t *testing.T) {
	t.Helper()
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0); err != nil {
		t.Logf("page cache not dropped: %v", err)
	}
}

// fsyncFolder makes a folder, and with the log everything before it, durable. sync(2) and syncfs(2) do not: the kernel
// does not pass them on to a FUSE filesystem.
func fsyncFolder(t *testing.T, path string) {
	t.Helper()
	folder, err := os.Open(path)
	must(t, err)
	defer folder.Close()
	must(t, folder.Sync())
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks until the answer is yes, since what is waited for is another
// process's doing. The answer's text tells what was seen last. When it takes
// too long the test ends.
func eventually(t *testing.T, patience time.Duration, what string, ask func() (bool, string)) {
	t.Helper()
	if !within(t, patience, what, ask) {
		t.FailNow()
	}
}

// within is eventually for a test that can go on without.
func within(t *testing.T, patience time.Duration, what string, ask func() (bool, string)) bool {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		done, seen := ask()
		if done {
			return true
		}
		if time.Since(began) > patience {
			t.Errorf("waited %v in vain for: %s; last seen: %s", patience, what, seen)
			return false
		}
	}
}

// stage logs how long a part of a test took.
func stage(t *testing.T, name string) func() {
	began := time.Now()
	return func() {
		t.Helper()
		t.Logf("%6.1fs  %s", time.Since(began).Seconds(), name)
	}
}

// diskBytes is what the files below dir hold.
func diskBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var total int64
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}
