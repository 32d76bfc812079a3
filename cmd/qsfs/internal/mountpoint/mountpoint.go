// Package mountpoint looks after the folder a volume is mounted on: whether it can be used, what is mounted there, who
// uses it, and how to take a mount away.
//
// It does not look into a folder that is a mount of ours: one whose daemon is stuck would let us wait for it. What is
// mounted is read from /proc/self/mountinfo (proc(5)).
package mountpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
)

// SourcePrefix starts the source of our mounts, as df shows it; the volume's name follows.
const SourcePrefix = "qsfs:"

// Prepared is a folder that can be mounted on.
type Prepared struct {
	Path string // absolute, symbolic links resolved
	made bool
}

// Undo removes the folder when Prepare has made it and nothing was mounted.
func (p Prepared) Undo() {
	if p.made {
		os.Remove(p.Path)
	}
}

// Prepare checks that something can be mounted on path: an empty folder that is not a mount point, made when it is
// missing and its parent is there. A mount that a killed daemon left behind is taken away; warn is told. None of the
// folders in avoid may hold path or lie in it.
func Prepare(ctx context.Context, path string, avoid []string, warn func(string)) (Prepared, error) {
	abs, err := Resolve(path)
	if err != nil {
		return Prepared{}, err
	}
	mounts, err := List()
	if err != nil {
		return Prepared{}, err
	}
	for {
		m, mounted := mounts.At(abs)
		if !mounted {
			break
		}
		if !m.Ours() || !m.Dead() {
			hint := "choose another folder"
			if m.Ours() {
				hint = fmt.Sprintf("it is volume %s; \"qsfs umount %s\" unmounts it", m.Volume(), abs)
			}
			return Prepared{}, exit.New(exit.Mountpoint, hint, "%s is already a mount point (%s)", abs, m.Type)
		}
		warn(fmt.Sprintf("%s was left mounted by a daemon that is gone: unmounted", abs))
		if err := Unmount(ctx, abs, true); err != nil {
			return Prepared{}, err
		}
		if mounts, err = List(); err != nil {
			return Prepared{}, err
		}
	}
	for _, dir := range avoid {
		if within(abs, dir) || within(dir, abs) {
			return Prepared{}, exit.New(exit.Mountpoint, "choose a folder outside of it", "%s and qsfs's own folder %s lie in each other", abs, dir)
		}
	}
	switch err := os.Mkdir(abs, 0o755); {
	case err == nil:
		return Prepared{Path: abs, made: true}, nil
	case !errors.Is(err, fs.ErrExist):
		if errors.Is(err, fs.ErrNotExist) {
			return Prepared{}, exit.New(exit.Mountpoint, "mkdir -p "+filepath.Dir(abs), "%s: the folder above it does not exist", abs)
		}
		return Prepared{}, exit.New(exit.Mountpoint, "choose a folder you may write to", "mount point: %w", err)
	}
	if err := checkEmpty(abs); err != nil {
		return Prepared{}, err
	}
	return Prepared{Path: abs}, nil
}

func checkEmpty(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return exit.New(exit.Mountpoint, "choose a folder you may read", "mount point: %w", err)
	}
	defer dir.Close()
	if info, err := dir.Stat(); err != nil || !info.IsDir() {
		return exit.New(exit.Mountpoint, "choose a folder", "%s is not a folder", path)
	}
	if names, _ := dir.Readdirnames(1); len(names) > 0 {
		return exit.New(exit.Mountpoint, "choose an empty folder, or one that does not exist yet", "%s is not empty", path)
	}
	return nil
}

// Resolve gives the absolute path, symbolic links resolved, without touching what may be mounted there.
func Resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("mount point: %w", err)
	}
	mounts, err := List()
	if err != nil {
		return "", err
	}
	if _, mounted := mounts.At(abs); mounted {
		return abs, nil
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		return target, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs, nil // the caller meets the missing parent itself
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

func within(path, dir string) bool {
	if dir == "" {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// CheckFUSE says whether this user can mount at all.
func CheckFUSE(device string, uid int, allowOther bool) error {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		file.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return exit.New(exit.Mountpoint, `load it with "modprobe fuse"; in a container give it --device /dev/fuse --cap-add SYS_ADMIN`, "the kernel's FUSE device is missing: %w", err)
	default:
		return exit.New(exit.NotPermitted, "in a container give it --device /dev/fuse --cap-add SYS_ADMIN", "the kernel's FUSE device can't be opened: %w", err)
	}
	if uid == 0 {
		return nil
	}
	if _, err := fusermount(); err != nil {
		return exit.New(exit.Mountpoint, "install it: apt install fuse3", "%w", err)
	}
	if allowOther && !userAllowOther("/etc/fuse.conf") {
		return exit.New(exit.NotPermitted, `write the line "user_allow_other" into /etc/fuse.conf, or mount without --allow-other`, "other users may not be let in: /etc/fuse.conf does not allow it")
	}
	return nil
}

func userAllowOther(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		if string(bytes.TrimSpace(line)) == "user_allow_other" {
			return true
		}
	}
	return false
}

func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount3, with which users mount, is not installed")
}

// Unmount takes the mount at path away, as root directly and for users with fusermount3. Lazy takes it out of the tree at
// once, whoever uses it. A mount in use gives an error that unwraps to EBUSY.
func Unmount(ctx context.Context, path string, lazy bool) error {
	flags, option := unix.UMOUNT_NOFOLLOW, "-u"
	if lazy {
		flags, option = flags|unix.MNT_DETACH, "-uz"
	}
	err := unix.Unmount(path, flags)
	if err == nil {
		return nil
	}
	if !errors.Is(err, syscall.EPERM) || os.Geteuid() == 0 {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	program, lookErr := fusermount()
	if lookErr != nil {
		return exit.New(exit.Mountpoint, "install it: apt install fuse3", "unmount %s: %w", path, lookErr)
	}
	output, runErr := exec.CommandContext(ctx, program, option, "--", path).CombinedOutput()
	if runErr == nil {
		return nil
	}
	text := strings.TrimSpace(string(output))
	if strings.Contains(text, "busy") {
		return fmt.Errorf("unmount %s: %w", path, syscall.EBUSY)
	}
	return fmt.Errorf("unmount %s: %s: %w", path, text, runErr)
}

// Abort cuts the connection of a FUSE mount: every program that still uses it gets an error, and no request reaches the
// daemon any more (kernel, filesystems/fuse.rst, "Interrupting filesystem operations"). It works after a lazy unmount too.
func Abort(m Mount) error { return abort("/sys/fs/fuse/connections", m) }

func abort(connections string, m Mount) error {
	minor, found := strings.CutPrefix(m.Device, "0:")
	if _, err := strconv.ParseUint(minor, 10, 32); !found || err != nil {
		return fmt.Errorf("abort %s: device %q is not of a FUSE mount", m.Path, m.Device)
	}
	file, err := os.OpenFile(filepath.Join(connections, minor, "abort"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("abort %s: %w", m.Path, err)
	}
	_, err = file.WriteString("1\n")
	return errors.Join(err, file.Close())
}
