package fs

import (
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/qsfs/qsfs/fs/meta"
)

// How long the kernel may keep what it was told. All changes come through the
// one mount of the one writer, so the kernel knows of them; attributes are
// asked again sooner only for the number of blocks, which changes in the
// background.
const (
	entryValid = time.Hour
	attrValid  = time.Minute
)

// kernel answers the requests of the FUSE kernel module. Node ids are inode
// numbers, and nothing is kept for an open file: the kernel is told not to ask
// for opens and closes at all, and its own count of references (see orphans)
// says how long an unlinked file is needed.
type kernel struct {
	fuse.RawFileSystem // what is not here is not supported
	v                  *Volume
}

func newKernel(v *Volume) *kernel {
	return &kernel{RawFileSystem: fuse.NewDefaultRawFileSystem(), v: v}
}

// String names the filesystem in go-fuse's debug output.
func (k *kernel) String() string { return "qsfs" }

// status turns an error into the kernel's form, and logs what is our fault.
func (k *kernel) status(op string, ino uint64, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno := errnoOf(err)
	if errno == syscall.EIO {
		k.v.o.Log.Error("i/o error", "op", op, "inode", ino, "err", err)
	}
	return fuse.Status(errno)
}

func fillAttr(a *meta.Attr, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: uint64(a.Ino), Size: a.SizeBytes, Blocks: (a.AllocBytes + 511) / 512,
		Atime: uint64(a.Atime.Sec), Atimensec: a.Atime.Nsec,
		Mtime: uint64(a.Mtime.Sec), Mtimensec: a.Mtime.Nsec,
		Ctime: uint64(a.Ctime.Sec), Ctimensec: a.Ctime.Nsec,
		Mode: a.Mode, Nlink: a.Nlink, Owner: fuse.Owner{Uid: a.UID, Gid: a.GID}, Rdev: a.Rdev,
		Blksize: blockBytes,
	}
}

// fillEntry tells the kernel of an inode, which counts as a reference to it.
func (k *kernel) fillEntry(a *meta.Attr, out *fuse.EntryOut) {
	k.v.orphans.looked(a.Ino)
	out.NodeId, out.Generation = uint64(a.Ino), 1
	out.SetEntryTimeout(entryValid)
	out.SetAttrTimeout(attrValid)
	fillAttr(a, &out.Attr)
}

func (k *kernel) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	a, err := k.v.store.Lookup(meta.Ino(h.NodeId), name)
	if errors.Is(err, meta.ErrNotExist) {
		out.SetEntryTimeout(entryValid) // node id 0: the kernel remembers that there is none
		return fuse.OK
	}
	if err != nil {
		return k.status("lookup", h.NodeId, err)
	}
	k.v.applyPending(&a)
	k.fillEntry(&a, out)
	return fuse.OK
}

func (k *kernel) Forget(nodeID, nlookup uint64) { k.v.orphans.forget(meta.Ino(nodeID), nlookup) }

func (k *kernel) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	a, err := k.v.GetAttr(meta.Ino(in.NodeId))
	if err != nil {
		return k.status("getattr", in.NodeId, err)
	}
	out.SetTimeout(attrValid)
	fillAttr(&a, &out.Attr)
	return fuse.OK
}

func (k *kernel) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	ino := meta.Ino(in.NodeId)
	ch, err := k.change(ino, &in.SetAttrInCommon)
	if err != nil {
		return k.status("setattr", in.NodeId, err)
	}
	a, err := k.v.SetAttr(ino, ch)
	if err != nil {
		return k.status("setattr", in.NodeId, err)
	}
	if ch.Mask&(meta.ChangeUID|meta.ChangeGID) != 0 {
		if err := k.v.dropCapability(&a); err != nil {
			return k.status("setattr", in.NodeId, err)
		}
	}
	out.SetTimeout(attrValid)
	fillAttr(&a, &out.Attr)
	return fuse.OK
}

// change translates a SETATTR request. With FUSE_HANDLE_KILLPRIV_V2 it is on us
// to clear set-user-ID and set-group-ID on a change of owner, and on a change
// of size when the kernel says so.
func (k *kernel) change(ino meta.Ino, in *fuse.SetAttrInCommon) (meta.Change, error) {
	now := meta.TimeOf(time.Now())
	ch := meta.Change{
		Mask: meta.ChangeCtime, Ctime: now, Mode: in.Mode, UID: in.Uid, GID: in.Gid, SizeBytes: in.Size,
		Atime: meta.Time{Sec: int64(in.Atime), Nsec: in.Atimensec}, Mtime: meta.Time{Sec: int64(in.Mtime), Nsec: in.Mtimensec},
	}
	for _, m := range []struct {
		fattr uint32
		mask  meta.ChangeMask
	}{
		{fuse.FATTR_MODE, meta.ChangeMode}, {fuse.FATTR_UID, meta.ChangeUID}, {fuse.FATTR_GID, meta.ChangeGID},
		{fuse.FATTR_SIZE, meta.ChangeSize}, {fuse.FATTR_ATIME, meta.ChangeAtime}, {fuse.FATTR_MTIME, meta.ChangeMtime},
	} {
		if in.Valid&m.fattr != 0 {
			ch.Mask |= m.mask
		}
	}
	if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
		ch.Mask |= meta.ChangeAtime
		ch.Atime = now
	}
	if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
		ch.Mask |= meta.ChangeMtime
		ch.Mtime = now
	}
	if in.Valid&fuse.FATTR_CTIME != 0 {
		ch.Ctime = meta.Time{Sec: int64(in.Ctime), Nsec: in.Ctimensec}
	}
	kill := in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID|fuse.FATTR_KILL_SUIDGID) != 0
	if kill && in.Valid&fuse.FATTR_MODE == 0 {
		a, err := k.v.store.GetAttr(ino)
		if err != nil {
			return ch, err
		}
		if mode, changed := withoutSetID(&a); changed {
			ch.Mask |= meta.ChangeMode
			ch.Mode = mode
		}
	}
	return ch, nil
}

// withoutSetID is the mode of a file after somebody without the right to keep
// them changed it: no set-user-ID, and no set-group-ID where the group may
// execute (elsewhere that bit means mandatory locking).
func withoutSetID(a *meta.Attr) (mode uint32, changed bool) {
	if a.IsDir() {
		return a.Mode, false
	}
	mode = a.Mode &^ syscall.S_ISUID
	if a.Mode&syscall.S_IXGRP != 0 {
		mode &^= syscall.S_ISGID
	}
	return mode, mode != a.Mode
}

// capabilityXattr is dropped, as set-user-ID is, when a file's owner or data changes.
const capabilityXattr = "security.capability"

func (v *Volume) dropCapability(a *meta.Attr) error {
	if !a.IsRegular() || a.XattrCount == 0 {
		return nil
	}
	if err := v.store.RemoveXattr(a.Ino, capabilityXattr); err != nil && !errors.Is(err, meta.ErrNoXattr) {
		return err
	}
	return nil
}

// dropPrivileges is for a write by somebody who may not keep set-ID bits.
func (v *Volume) dropPrivileges(ino meta.Ino) error {
	a, err := v.store.GetAttr(ino)
	if err != nil {
		return err
	}
	if mode, changed := withoutSetID(&a); changed {
		ch := meta.Change{Mask: meta.ChangeMode | meta.ChangeCtime, Mode: mode, Ctime: meta.TimeOf(time.Now())}
		if _, err := v.SetAttr(ino, ch); err != nil {
			return err
		}
	}
	return v.dropCapability(&a)
}

func (k *kernel) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	used, inodes := k.v.usage()
	free := k.v.freeGridBytes()
	const unit = 4096
	*out = fuse.StatfsOut{
		Bsize: blockBytes, Frsize: unit, NameLen: meta.MaxNameBytes,
		Blocks: uint64(used+free) / unit, Bfree: uint64(free) / unit, Bavail: uint64(free) / unit,
		Files: uint64(inodes) + freeInodes, Ffree: freeInodes,
	}
	return fuse.OK
}

// freeInodes is what statfs says is left: numbers are never used twice and do
// not run out, but programs want a finite count.
const freeInodes = 1 << 40

// Access is not asked: default_permissions lets the kernel decide.
func (k *kernel) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }
