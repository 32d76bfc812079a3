package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mount is a file system that a daemon of ours serves.
type mount struct {
	name  string
	root  string // everything of this target
	point string
	log   string
	exits []int // codes with which the daemon obeys SIGTERM, beside 0
	cmd   *exec.Cmd
	done  chan struct{} // closed when the daemon has ended; then ended says how
	ended error
}

// newMount makes the folders of a target below base.
func newMount(name, base string, folders ...string) (*mount, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(base, "qsfs-bench-")
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	m := &mount{name: name, root: root, point: filepath.Join(root, "mount"), log: filepath.Join(root, "log")}
	for _, folder := range append(folders, "mount") {
		if err := os.Mkdir(filepath.Join(root, folder), 0o700); err != nil {
			return nil, errors.Join(err, os.RemoveAll(root))
		}
	}
	return m, nil
}

// undo closes a mount that did not come to be.
func (m *mount) undo(ctx context.Context, err *error) {
	if *err != nil {
		*err = errors.Join(fmt.Errorf("target %s: %w", m.name, *err), m.close(context.WithoutCancel(ctx)))
	}
}

// start runs the daemon in front and waits for its mount.
func (m *mount) start(ctx context.Context, program string, args ...string) error {
	log, err := os.Create(m.log)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not bound to ctx: a daemon killed at once would leave its mount behind.
	m.cmd = exec.Command(program, args...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for us, and we end the daemon in order.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		m.cmd = nil
		return err
	}
	m.done = make(chan struct{})
	go func() {
		m.ended = m.cmd.Wait()
		close(m.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if mounted, err := isMounted(m.point); err != nil || mounted {
			return err
		}
		select {
		case <-m.done:
			return fmt.Errorf("%s ended before it was mounted: %v: %s", filepath.Base(program), m.ended, m.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not mounted: %w: %s", filepath.Base(program), ctx.Err(), m.tail())
		case <-tick.C:
		}
	}
}

func (m *mount) target(details string) *Target {
	return &Target{Name: m.name, Dir: m.point, Details: details, close: m.close}
}

// tail gives the end of the daemon's log.
func (m *mount) tail() string {
	b, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// close ends the daemon, its mount and its files, in this order.
func (m *mount) close(ctx context.Context) error {
	err := m.stop(ctx)
	if mounted, mountErr := isMounted(m.point); mountErr != nil {
		return errors.Join(err, mountErr)
	} else if mounted {
		if unmountErr := unmountLazily(ctx, m.point); unmountErr != nil {
			return errors.Join(err, unmountErr)
		}
	}
	return errors.Join(err, os.RemoveAll(m.root))
}

// stop asks the daemon to end, then makes it.
func (m *mount) stop(ctx context.Context) error {
	if m.cmd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_ = m.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-m.done:
		if code := m.cmd.ProcessState.ExitCode(); code > 0 && !slices.Contains(m.exits, code) {
			return fmt.Errorf("daemon: %w: %s", m.ended, m.tail())
		}
		return nil // code -1: by the signal itself
	case <-ctx.Done():
	}
	_ = m.cmd.Process.Kill()
	<-m.done
	return fmt.Errorf("daemon did not end within %s and was killed: %s", stopTimeout, m.tail())
}

// unmountLazily takes away a mount whose daemon is gone.
func unmountLazily(ctx context.Context, point string) error {
	if err := unix.Unmount(point, unix.MNT_DETACH); err == nil {
		return nil
	}
	var errs []error
	for _, program := range []string{"fusermount3", "fusermount"} {
		out, err := exec.CommandContext(ctx, program, "-u", "-z", point).CombinedOutput()
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out)))
	}
	return fmt.Errorf("unmount %s: %w", point, errors.Join(errs...))
}

// isMounted looks for the mount point in /proc/self/mountinfo (proc(5)).
func isMounted(point string) (bool, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(point)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == escaped {
			return true, nil
		}
	}
	return false, nil
}

// fileSystemOf names the type of the file system that holds dir.
func fileSystemOf(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return ""
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.FUSE_SUPER_MAGIC: "fuse", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "nfs",
	}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system type %#x", st.Type)
}
