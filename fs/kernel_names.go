package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/qsfs/qsfs/fs/meta"
)

// create makes an inode and its name.
func (k *kernel) create(op string, h *fuse.InHeader, name string, n meta.New, out *fuse.EntryOut) fuse.Status {
	if err := k.v.changeable(true); err != nil {
		return k.status(op, h.NodeId, err)
	}
	n.UID, n.GID = h.Uid, h.Gid
	a, err := k.v.store.Create(meta.Ino(h.NodeId), name, n)
	if err != nil {
		return k.status(op, h.NodeId, err)
	}
	k.fillEntry(&a, out)
	return fuse.OK
}

func (k *kernel) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return k.create("mknod", &in.InHeader, name, meta.New{Mode: in.Mode, Rdev: in.Rdev}, out)
}

func (k *kernel) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return k.create("mkdir", &in.InHeader, name, meta.New{Mode: in.Mode&^syscall.S_IFMT | syscall.S_IFDIR}, out)
}

func (k *kernel) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return k.create("symlink", h, name, meta.New{Mode: syscall.S_IFLNK | 0o777, Target: target}, out)
}

func (k *kernel) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return k.create("create", &in.InHeader, name, meta.New{Mode: in.Mode&^syscall.S_IFMT | syscall.S_IFREG}, &out.EntryOut)
}

func (k *kernel) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	if err := k.v.changeable(true); err != nil {
		return k.status("tmpfile", in.NodeId, err)
	}
	n := meta.New{Mode: in.Mode&^syscall.S_IFMT | syscall.S_IFREG, UID: in.Uid, GID: in.Gid}
	parent, err := k.v.store.GetAttr(meta.Ino(in.NodeId))
	if err != nil {
		return k.status("tmpfile", in.NodeId, err)
	}
	if parent.Mode&syscall.S_ISGID != 0 {
		n.GID = parent.GID
	}
	a, err := k.v.store.CreateOrphan(n)
	if err != nil {
		return k.status("tmpfile", in.NodeId, err)
	}
	k.fillEntry(&a, &out.EntryOut)
	k.v.orphans.add(a.Ino)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (k *kernel) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if err := k.v.changeable(true); err != nil {
		return k.status("link", in.NodeId, err)
	}
	a, err := k.v.store.Link(meta.Ino(in.Oldnodeid), meta.Ino(in.NodeId), name)
	if err != nil {
		return k.status("link", in.NodeId, err)
	}
	k.v.orphans.named(a.Ino)
	k.v.applyPending(&a)
	k.fillEntry(&a, out)
	return fuse.OK
}

func (k *kernel) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if err := k.v.changeable(false); err != nil {
		return k.status("unlink", h.NodeId, err)
	}
	a, err := k.v.store.Unlink(meta.Ino(h.NodeId), name)
	if err == nil && a.Nlink == 0 {
		k.v.orphans.add(a.Ino)
	}
	return k.status("unlink", h.NodeId, err)
}

func (k *kernel) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if err := k.v.changeable(false); err != nil {
		return k.status("rmdir", h.NodeId, err)
	}
	a, err := k.v.store.Rmdir(meta.Ino(h.NodeId), name)
	if err == nil {
		k.v.orphans.add(a.Ino)
	}
	return k.status("rmdir", h.NodeId, err)
}

func (k *kernel) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	err := k.v.rename(meta.Ino(in.NodeId), oldName, meta.Ino(in.Newdir), newName, in.Flags)
	return k.status("rename", in.NodeId, err)
}

// rename puts the data of what is moved into the log first: programs that
// replace a file by writing a new one and renaming it over expect that a crash
// leaves the old or the new content.
func (v *Volume) rename(oldParent meta.Ino, oldName string, newParent meta.Ino, newName string, flags uint32) error {
	if err := v.changeable(false); err != nil {
		return err
	}
	const known = uint32(meta.RenameNoReplace | meta.RenameExchange)
	if flags&^known != 0 {
		return meta.ErrInvalid // RENAME_WHITEOUT is for overlay filesystems on the kernel's side
	}
	if a, err := v.store.Lookup(oldParent, oldName); err == nil && a.IsRegular() {
		if n := v.inodes.find(a.Ino); n != nil {
			err := v.flush(n)
			v.inodes.put(n)
			if err != nil {
				return err
			}
		}
	}
	r, err := v.store.Rename(oldParent, oldName, newParent, newName, meta.RenameFlags(flags))
	if err != nil {
		return err
	}
	if r.Replaced.Ino != 0 && r.Replaced.Nlink == 0 {
		v.orphans.add(r.Replaced.Ino)
	}
	return nil
}

func (k *kernel) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	target, err := k.v.store.Readlink(meta.Ino(h.NodeId))
	if err != nil {
		return nil, k.status("readlink", h.NodeId, err)
	}
	return []byte(target), fuse.OK
}

// OpenDir is not needed: a cookie is all the state that reading a directory has.
func (k *kernel) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.ENOSYS
}

func (k *kernel) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return k.readDir(in, func(e fuse.DirEntry) bool { return out.AddDirEntry(e) })
}

func (k *kernel) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return k.readDir(in, func(e fuse.DirEntry) bool {
		if e.Off < meta.FirstCookie { // "." and "..": the kernel wants no reference to these
			return out.AddDirLookupEntry(e) != nil
		}
		a, err := k.v.GetAttr(meta.Ino(e.Ino))
		if err != nil { // removed meanwhile: the name alone, the kernel looks it up
			return out.AddDirLookupEntry(e) != nil
		}
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		k.fillEntry(&a, entry)
		return true
	})
}

// readDir adds the entries behind in.Offset until add has no more room. The
// offsets are 1 and 2 for "." and "..", and cookies from then on.
func (k *kernel) readDir(in *fuse.ReadIn, add func(fuse.DirEntry) bool) fuse.Status {
	dir := meta.Ino(in.NodeId)
	if in.Offset < 2 {
		a, err := k.v.store.GetAttr(dir)
		if err != nil {
			return k.status("readdir", in.NodeId, err)
		}
		if in.Offset < 1 && !add(fuse.DirEntry{Mode: syscall.S_IFDIR, Name: ".", Ino: uint64(dir), Off: 1}) {
			return fuse.OK
		}
		if !add(fuse.DirEntry{Mode: syscall.S_IFDIR, Name: "..", Ino: uint64(a.Parent), Off: 2}) {
			return fuse.OK
		}
	}
	err := k.v.store.ReadDir(dir, max(in.Offset, meta.FirstCookie-1), func(e meta.DirEntry) bool {
		return add(fuse.DirEntry{Mode: e.Type, Name: e.Name, Ino: uint64(e.Ino), Off: e.Cookie})
	})
	return k.status("readdir", in.NodeId, err)
}

func (k *kernel) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := newRequest(cancel)
	defer ctx.finish()
	return k.status("fsyncdir", in.NodeId, k.v.syncLog(ctx))
}
