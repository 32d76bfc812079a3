package meta

import (
	"maps"
	"slices"
	"sort"
	"syscall"
)

// reference is the same filesystem in plain maps, written without a look at the store: what the store is compared with.
type reference struct {
	inodes map[Ino]*refInode
	next   Ino
}

type refInode struct {
	attr    Attr // Ino, Mode, UID, GID, Rdev, Size of files, times, Parent, DirSeq; the rest is derived
	entries map[string]refEntry
	data    map[uint64]refByte
	xattrs  map[string]string
	target  string
	names   int
}

type refEntry struct {
	ino    Ino
	cookie uint64
}

// refByte is where one byte of a file comes from.
type refByte struct {
	segment uint64
	offset  uint32
	inBlock uint32
}

func newReference(now Time) *reference {
	return &reference{next: 2, inodes: map[Ino]*refInode{RootIno: {
		attr:    Attr{Ino: RootIno, Mode: syscall.S_IFDIR | 0o755, Atime: now, Mtime: now, Ctime: now, Btime: now, Parent: RootIno, DirSeq: 3},
		entries: map[string]refEntry{}, names: 1,
	}}}
}

// full derives what an inode's attributes must be.
func (r *reference) full(in *refInode) Attr {
	a := in.attr
	a.Nlink = uint32(in.names)
	switch {
	case a.IsDir() && in.names > 0:
		a.Nlink = 2
		for _, e := range in.entries {
			if r.inodes[e.ino].attr.IsDir() {
				a.Nlink++
			}
		}
	case a.IsRegular():
		a.AllocBytes = uint64(len(in.data))
	}
	if a.IsDir() {
		a.SizeBytes = uint64(len(in.entries))
	}
	for name := range in.xattrs {
		a.XattrCount++
		a.XattrNameBytes += uint32(len(name) + 1)
	}
	return a
}

func (r *reference) dir(ino Ino) (*refInode, error) {
	in := r.inodes[ino]
	switch {
	case in == nil:
		return nil, ErrStale
	case !in.attr.IsDir():
		return nil, ErrNotDir
	case in.names == 0:
		return nil, ErrNotExist
	}
	return in, nil
}

func (r *reference) add(dir *refInode, name string, ino Ino, now Time) {
	dir.entries[name] = refEntry{ino, dir.attr.DirSeq}
	dir.attr.DirSeq++
	dir.attr.Mtime, dir.attr.Ctime = now, now
	r.inodes[ino].names++
}

func (r *reference) create(parent Ino, name string, n New, now Time) (Ino, error) {
	dir, err := r.dir(parent)
	if err != nil {
		return 0, err
	}
	if _, ok := dir.entries[name]; ok {
		return 0, ErrExist
	}
	ino := r.orphan(n, now)
	in := r.inodes[ino]
	if dir.attr.Mode&syscall.S_ISGID != 0 {
		in.attr.GID = dir.attr.GID
		if in.attr.IsDir() {
			in.attr.Mode |= syscall.S_ISGID
		}
	}
	if in.attr.IsDir() {
		in.attr.Parent, in.attr.DirSeq = parent, 3
	}
	r.add(dir, name, ino, now)
	return ino, nil
}

func (r *reference) orphan(n New, now Time) Ino {
	ino := r.next
	r.next++
	in := &refInode{
		attr:    Attr{Ino: ino, Mode: n.Mode, UID: n.UID, GID: n.GID, Rdev: n.Rdev, Atime: now, Mtime: now, Ctime: now, Btime: now},
		entries: map[string]refEntry{}, data: map[uint64]refByte{}, xattrs: map[string]string{}, target: n.Target,
	}
	in.attr.SizeBytes = uint64(len(n.Target))
	r.inodes[ino] = in
	return ino
}

func (r *reference) link(ino, parent Ino, name string, now Time) error {
	dir, err := r.dir(parent)
	if err != nil {
		return err
	}
	in := r.inodes[ino]
	if in == nil {
		return ErrStale
	}
	if in.attr.IsDir() {
		return ErrIsDir
	}
	if _, ok := dir.entries[name]; ok {
		return ErrExist
	}
	r.add(dir, name, ino, now)
	in.attr.Ctime = now
	return nil
}

func (r *reference) remove(parent Ino, name string, wantDir bool, now Time) error {
	dir, err := r.dir(parent)
	if err != nil {
		return err
	}
	e, ok := dir.entries[name]
	if !ok {
		return ErrNotExist
	}
	in := r.inodes[e.ino]
	switch {
	case !wantDir && in.attr.IsDir():
		return ErrIsDir
	case wantDir && !in.attr.IsDir():
		return ErrNotDir
	case wantDir && len(in.entries) > 0:
		return ErrNotEmpty
	}
	delete(dir.entries, name)
	dir.attr.Mtime, dir.attr.Ctime = now, now
	in.names--
	in.attr.Ctime = now
	return nil
}

func (r *reference) below(ino, top Ino) bool {
	for ; ino != top; ino = r.inodes[ino].attr.Parent {
		if ino == RootIno {
			return false
		}
	}
	return true
}

func (r *reference) rename(op Ino, on string, np Ino, nn string, flags RenameFlags, now Time) error {
	od, err := r.dir(op)
	if err != nil {
		return err
	}
	nd, err := r.dir(np)
	if err != nil {
		return err
	}
	oe, ok := od.entries[on]
	if !ok {
		return ErrNotExist
	}
	ne, exists := nd.entries[nn]
	src, dst := r.inodes[oe.ino], r.inodes[ne.ino]
	exchange := flags&RenameExchange != 0
	if !exists && exchange {
		return ErrNotExist
	}
	if exists && flags&RenameNoReplace != 0 {
		return ErrExist
	}
	if exists && src == dst {
		return nil
	}
	if src.attr.IsDir() && r.below(np, oe.ino) {
		return ErrInvalid
	}
	if exchange && dst.attr.IsDir() && r.below(op, ne.ino) {
		return ErrInvalid
	}
	if exists && !exchange {
		switch {
		case src.attr.IsDir() && !dst.attr.IsDir():
			return ErrNotDir
		case !src.attr.IsDir() && dst.attr.IsDir():
			return ErrIsDir
		case len(dst.entries) > 0:
			return ErrNotEmpty
		}
		dst.names--
	}
	delete(od.entries, on)
	if exists {
		nd.entries[nn] = refEntry{oe.ino, ne.cookie}
		dst.attr.Ctime = now
	} else {
		src.names--
		r.add(nd, nn, oe.ino, now)
	}
	if exchange {
		od.entries[on] = refEntry{ne.ino, oe.cookie}
		if dst.attr.IsDir() {
			dst.attr.Parent = op
		}
	}
	if src.attr.IsDir() {
		src.attr.Parent = np
	}
	src.attr.Ctime = now
	od.attr.Mtime, od.attr.Ctime, nd.attr.Mtime, nd.attr.Ctime = now, now, now, now
	return nil
}

func (r *reference) file(ino Ino) (*refInode, error) {
	in := r.inodes[ino]
	switch {
	case in == nil:
		return nil, ErrStale
	case in.attr.IsDir():
		return nil, ErrIsDir
	case !in.attr.IsRegular():
		return nil, ErrInvalid
	}
	return in, nil
}

func (r *reference) write(ino Ino, exts []Extent, size uint64) error {
	in, err := r.file(ino)
	if err != nil {
		return err
	}
	for _, e := range exts {
		for i := range e.Length {
			in.data[e.FileOffset+uint64(i)] = refByte{e.Block.Segment, e.Block.Offset, e.BlockOffset + i}
		}
		size = max(size, e.End())
	}
	in.attr.SizeBytes = max(in.attr.SizeBytes, size)
	return nil
}

func (r *reference) punch(ino Ino, off, length uint64) error {
	in, err := r.file(ino)
	if err != nil {
		return err
	}
	maps.DeleteFunc(in.data, func(at uint64, _ refByte) bool { return at >= off && at < off+length })
	return nil
}

func (r *reference) resize(ino Ino, size uint64, now Time) error {
	if err := r.punch(ino, size, 1<<40); err != nil {
		return err
	}
	a := &r.inodes[ino].attr
	a.SizeBytes, a.Mtime, a.Ctime = size, now, now
	return nil
}

func (r *reference) reclaim(ino Ino) error {
	in := r.inodes[ino]
	if in == nil {
		return ErrStale
	}
	if in.names > 0 {
		return ErrInvalid
	}
	delete(r.inodes, ino)
	return nil
}

// listing is the entries of a directory in the order of their cookies.
func (in *refInode) listing(r *reference) []DirEntry {
	var list []DirEntry
	for name, e := range in.entries {
		list = append(list, DirEntry{Name: name, Ino: e.ino, Type: r.inodes[e.ino].attr.Type(), Cookie: e.cookie})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Cookie < list[j].Cookie })
	return list
}

func sortedKeys[K ~uint64 | ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
