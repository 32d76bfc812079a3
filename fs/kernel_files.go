package fs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/fs/meta"
)

// Open is not needed: it tells the kernel to open files by itself from now on.
func (k *kernel) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

// Flush is not needed: nothing happens when a file is closed. The kernel has
// sent the pages of shared mappings before it asks.
func (k *kernel) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

func (k *kernel) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	ctx := newRequest(cancel)
	defer ctx.finish()
	n, err := k.v.Read(ctx, meta.Ino(in.NodeId), int64(in.Offset), buf)
	if err != nil {
		return nil, k.status("read", in.NodeId, err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (k *kernel) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := k.v.dropPrivileges(meta.Ino(in.NodeId)); err != nil {
			return 0, k.status("write", in.NodeId, err)
		}
	}
	ctx := newRequest(cancel)
	defer ctx.finish()
	fromCache := in.WriteFlags&fuse.WRITE_CACHE != 0
	if err := k.v.Write(ctx, meta.Ino(in.NodeId), int64(in.Offset), data, fromCache); err != nil {
		return 0, k.status("write", in.NodeId, err)
	}
	return uint32(len(data)), fuse.OK
}

func (k *kernel) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := newRequest(cancel)
	defer ctx.finish()
	return k.status("fsync", in.NodeId, k.v.Fsync(ctx, meta.Ino(in.NodeId)))
}

// Fallocate: blocks are found when they are written, in a log that never
// overwrites, so that reserving them beforehand means nothing; what a caller
// can see of it, the size, is done.
func (k *kernel) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	ino, off, length := meta.Ino(in.NodeId), int64(in.Offset), int64(in.Length)
	if off < 0 || length <= 0 || off > maxFileBytes-length {
		return fuse.Status(syscall.EFBIG)
	}
	grow := in.Mode&unix.FALLOC_FL_KEEP_SIZE == 0
	switch in.Mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0:
	case unix.FALLOC_FL_PUNCH_HOLE:
		if grow {
			return fuse.Status(syscall.EOPNOTSUPP)
		}
		return k.status("punch hole", in.NodeId, k.v.Punch(ino, off, length))
	case unix.FALLOC_FL_ZERO_RANGE:
		if err := k.v.Punch(ino, off, length); err != nil {
			return k.status("zero range", in.NodeId, err)
		}
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if !grow {
		return fuse.OK
	}
	return k.status("fallocate", in.NodeId, k.v.growTo(ino, uint64(off+length)))
}

// growTo makes a file at least so large.
func (v *Volume) growTo(ino meta.Ino, sizeBytes uint64) error {
	if err := v.changeable(true); err != nil {
		return err
	}
	n := v.inodes.get(ino)
	defer v.inodes.put(n)
	n.io.Lock()
	defer n.io.Unlock()
	if err := v.flushLocked(n); err != nil {
		return err
	}
	a, err := v.store.GetAttr(ino)
	if err != nil || a.SizeBytes >= sizeBytes {
		return err
	}
	now := meta.TimeOf(time.Now())
	_, err = v.store.SetAttr(ino, meta.Change{Mask: meta.ChangeSize | meta.ChangeMtime | meta.ChangeCtime, SizeBytes: sizeBytes, Mtime: now, Ctime: now})
	return err
}

func (k *kernel) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	off, err := k.v.seek(meta.Ino(in.NodeId), in.Offset, in.Whence)
	out.Offset = off
	return k.status("lseek", in.NodeId, err)
}

// seek finds the next data or hole. Dirty data goes to the log first, so that
// the stored extents tell the whole truth.
func (v *Volume) seek(ino meta.Ino, off uint64, whence uint32) (uint64, error) {
	if n := v.inodes.find(ino); n != nil {
		err := v.flush(n)
		v.inodes.put(n)
		if err != nil {
			return 0, err
		}
	}
	switch whence {
	case unix.SEEK_DATA:
		return v.store.NextData(ino, off)
	case unix.SEEK_HOLE:
		return v.store.NextHole(ino, off)
	}
	return 0, fmt.Errorf("whence %d: %w", whence, meta.ErrInvalid)
}

// storableXattr says whether a name is of a class that is kept. Access control
// lists are not: they would be stored and not obeyed.
func storableXattr(name string) bool {
	for _, class := range []string{"user.", "trusted.", "security."} {
		if strings.HasPrefix(name, class) && len(name) > len(class) {
			return true
		}
	}
	return false
}

func (k *kernel) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !storableXattr(name) {
		return 0, fuse.Status(syscall.EOPNOTSUPP)
	}
	value, err := k.v.store.GetXattr(meta.Ino(h.NodeId), name)
	if err != nil {
		return 0, k.status("getxattr", h.NodeId, err)
	}
	return copyOut(dest, value)
}

func (k *kernel) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	names, err := k.v.store.ListXattr(meta.Ino(h.NodeId))
	if err != nil {
		return 0, k.status("listxattr", h.NodeId, err)
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return copyOut(dest, list)
}

// copyOut answers with b, or with its size when there is no room for it.
func copyOut(dest, b []byte) (uint32, fuse.Status) {
	if len(dest) < len(b) {
		return uint32(len(b)), fuse.ERANGE
	}
	return uint32(copy(dest, b)), fuse.OK
}

func (k *kernel) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if !storableXattr(name) {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if err := k.v.changeable(true); err != nil {
		return k.status("setxattr", in.NodeId, err)
	}
	return k.status("setxattr", in.NodeId, k.v.store.SetXattr(meta.Ino(in.NodeId), name, data, meta.XattrFlags(in.Flags)))
}

func (k *kernel) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if !storableXattr(name) {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if err := k.v.changeable(false); err != nil {
		return k.status("removexattr", h.NodeId, err)
	}
	err := k.v.store.RemoveXattr(meta.Ino(h.NodeId), name)
	if errors.Is(err, meta.ErrNoXattr) {
		return fuse.Status(syscall.ENODATA)
	}
	return k.status("removexattr", h.NodeId, err)
}
