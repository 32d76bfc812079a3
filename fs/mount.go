package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	maxRequestBytes = 1 << 20 // the most that the kernel reads or writes at once
	readAheadKiB    = 1024
	maxBackground   = 64
	// capHandleKillPriv is FUSE_HANDLE_KILLPRIV_V2 of linux/fuse.h: without it the
	// kernel asks for security.capability before every write.
	capHandleKillPriv = fuse.CAP_HANDLE_KILLPRIV_V2
)

// MountOptions says how a volume is mounted. The zero value is good.
type MountOptions struct {
	AllowOther bool // others than the mounting user may look in, as permissions allow
	Suid, Dev  bool // set-user-ID programs and device nodes work; for root only
	ReadOnly   bool
	FsName     string // shown by df; "" means qsfs:NAME
	Debug      bool   // log every request
}

// Mount is a volume under a mount point.
type Mount struct {
	server     *fuse.Server
	v          *Volume
	mountpoint string
}

// CheckMountpoint returns an error that is ErrMountpoint unless dir is an empty
// directory that nothing is mounted on, and FUSE is there.
func CheckMountpoint(dir string) error {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return withHint(fmt.Errorf("%w: no FUSE here: %w", ErrMountpoint, err), `load the kernel module ("modprobe fuse"), or give the container access to /dev/fuse`)
	} else if err := f.Close(); err != nil {
		return err
	}
	var st, parent unix.Stat_t
	if err := unix.Stat(dir, &st); errors.Is(err, unix.ENOTCONN) {
		return withHint(fmt.Errorf("%w: %s is what an ended mount left behind", ErrMountpoint, dir), `"qsfs umount %s" clears it`, dir)
	} else if err != nil {
		return withHint(fmt.Errorf("%w: %s: %w", ErrMountpoint, dir, err), "make the directory first")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return withHint(fmt.Errorf("%w: %s is not a directory", ErrMountpoint, dir), "name an empty directory")
	}
	if err := unix.Stat(filepath.Join(dir, ".."), &parent); err == nil && (parent.Dev != st.Dev || parent.Ino == st.Ino) {
		return withHint(fmt.Errorf("%w: something is mounted on %s already", ErrMountpoint, dir), `unmount it first, or name another directory`)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMountpoint, err)
	}
	if len(names) > 0 {
		return withHint(fmt.Errorf("%w: %s is not empty", ErrMountpoint, dir), "name an empty directory: what is in this one would be hidden")
	}
	return nil
}

// Mount puts the volume under mountpoint, which must be an empty directory.
func (v *Volume) Mount(mountpoint string, mo MountOptions) (*Mount, error) {
	mountpoint, err := filepath.Abs(mountpoint)
	if err != nil {
		return nil, err
	}
	if err := CheckMountpoint(mountpoint); err != nil {
		return nil, err
	}
	if mo.FsName == "" {
		mo.FsName = "qsfs:" + v.name
	}
	opts := &fuse.MountOptions{
		FsName: mo.FsName, Name: "qsfs", AllowOther: mo.AllowOther, Debug: mo.Debug,
		MaxWrite: maxRequestBytes, MaxReadAhead: readAheadKiB << 10, MaxBackground: maxBackground,
		DirectMount: true, DirectMountFlags: directFlags(mo),
		// The kernel drops cached pages only when told to: nobody else changes files.
		ExplicitDataCacheControl: true, EnableSymlinkCaching: true,
		DisableSplice:     true, // answers come from memory, never from a file descriptor
		ExtraCapabilities: capHandleKillPriv,
		Options:           []string{"default_permissions"},
		PanicHandler: func(p any) fuse.Status {
			// A fault of ours: what was answered so far is right, what comes next may not be.
			v.o.Log.Error("panic in a request", "panic", p)
			reason := fmt.Sprintf("internal error: %v", p)
			v.readOnly.CompareAndSwap(nil, &reason)
			return fuse.EIO
		},
	}
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("fusermount3"); err != nil {
			if _, err := exec.LookPath("fusermount"); err != nil {
				return nil, withHint(fmt.Errorf("%w: only root can mount without fusermount3", ErrMountpoint), "install the package fuse3")
			}
		}
	}
	if mo.ReadOnly {
		opts.DirectMountFlags |= syscall.MS_RDONLY
		if os.Geteuid() != 0 {
			opts.Options = append(opts.Options, "ro")
		}
	}
	server, err := fuse.NewServer(newKernel(v), mountpoint, opts)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrMountpoint, mountpoint, err)
		if mo.AllowOther && os.Geteuid() != 0 {
			return nil, withHint(err, `"--allow-other" needs the line user_allow_other in /etc/fuse.conf`)
		}
		return nil, err
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMountpoint, mountpoint, err)
	}
	raiseReadAhead(mountpoint)
	v.mountpoint.Store(&mountpoint)
	return &Mount{server: server, v: v, mountpoint: mountpoint}, nil
}

func directFlags(mo MountOptions) uintptr {
	flags := uintptr(syscall.MS_MGC_VAL)
	if !mo.Suid {
		flags |= syscall.MS_NOSUID
	}
	if !mo.Dev {
		flags |= syscall.MS_NODEV
	}
	return flags
}

// raiseReadAhead lets sequential readers ask for more than the kernel's default
// of 128 KiB at a time. It needs root; without it, reads are smaller.
func raiseReadAhead(mountpoint string) {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(mountpoint, &st) != nil {
		return
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	_ = os.WriteFile(path, fmt.Appendf(nil, "%d\n", readAheadKiB), 0o644) // a matter of speed only
}

// Wait returns when the mount point is unmounted, by whomever.
func (m *Mount) Wait() {
	m.server.Wait()
	m.v.mountpoint.Store(nil)
}

// Unmount unmounts; an error says that it is busy.
func (m *Mount) Unmount() error {
	if err := m.server.Unmount(); err != nil {
		if strings.Contains(err.Error(), "busy") {
			err = fmt.Errorf("%w: %w", syscall.EBUSY, err)
		}
		return fmt.Errorf("unmount %s: %w", m.mountpoint, err)
	}
	return nil
}
