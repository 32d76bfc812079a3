package meta

import (
	"fmt"
	"strings"
	"syscall"
)

// New is what a new inode begins with.
type New struct {
	Mode   uint32 // type and permissions; no type means a regular file
	UID    uint32
	GID    uint32 // a parent with the set-group-ID bit overrides it
	Rdev   uint32
	Target string // of a symbolic link
	Now    Time   // zero means the store's clock
}

// Format makes the root directory of an empty store.
func (s *Store) Format(rootMode, uid, gid uint32) error {
	return s.update(false, func(t *txn) error {
		if t.total.nextIno != 0 {
			return fmt.Errorf("format: %w", ErrExist)
		}
		t.total.nextIno = RootIno
		t.newInode(Attr{
			Mode: syscall.S_IFDIR | rootMode&permMask, UID: uid, GID: gid, Nlink: 2,
			Atime: t.now, Mtime: t.now, Ctime: t.now, Btime: t.now,
			Parent: RootIno, DirSeq: FirstCookie,
		})
		return nil
	})
}

// attr reads an inode through the cache. The caller is inside the gate.
func (s *Store) attr(ino Ino) (Attr, error) {
	a, ok, version := s.attrs.get(ino)
	if ok {
		return a, nil
	}
	var key [9]byte
	var buf [attrBytes]byte
	value, ok, err := s.get(appendKey(key[:0], kindInode, uint64(ino)), buf[:0])
	if err != nil {
		return Attr{}, fmt.Errorf("inode %d: %w", ino, err)
	}
	if !ok {
		return Attr{}, fmt.Errorf("inode %d: %w", ino, ErrStale)
	}
	if a, err = decodeAttr(ino, value); err != nil {
		return Attr{}, err
	}
	s.attrs.fill(&a, version)
	return a, nil
}

// GetAttr returns an inode, orphans included; ErrStale when there is none of that number.
func (s *Store) GetAttr(ino Ino) (Attr, error) {
	if err := s.gate.enter(); err != nil {
		return Attr{}, err
	}
	defer s.gate.leave()
	return s.attr(ino)
}

// SetAttr changes an inode. A new size cuts off extents or leaves a hole, and then mtime is the store's clock unless
// given; so is ctime always.
func (s *Store) SetAttr(ino Ino, ch Change) (Attr, error) {
	if err := ch.validate(); err != nil {
		return Attr{}, err
	}
	var result Attr
	err := s.update(false, func(t *txn) error {
		in, err := t.inode(ino)
		if err != nil {
			return err
		}
		if ch.has(ChangeSize) {
			if in.IsDir() {
				return ErrIsDir
			}
			if !in.IsRegular() {
				return ErrInvalid
			}
			if err := t.resize(in, ch.SizeBytes); err != nil {
				return err
			}
			in.Mtime = t.now
		}
		in.Ctime = t.now
		ch.apply(&in.Attr)
		in.dirty = true
		result = in.Attr
		return nil
	})
	return result, err
}

// fresh is the attributes that a new inode begins with.
func (t *txn) fresh(n *New) (Attr, error) {
	mode := n.Mode & (syscall.S_IFMT | permMask)
	if mode&syscall.S_IFMT == 0 {
		mode |= syscall.S_IFREG
	}
	if !knownType(mode) || n.Now.Nsec >= 1e9 {
		return Attr{}, ErrInvalid
	}
	now := n.Now
	if now == (Time{}) {
		now = t.now
	}
	a := Attr{Mode: mode, UID: n.UID, GID: n.GID, Nlink: 1, Atime: now, Mtime: now, Ctime: now, Btime: now}
	switch mode & syscall.S_IFMT {
	case syscall.S_IFCHR, syscall.S_IFBLK:
		a.Rdev = n.Rdev
	case syscall.S_IFLNK:
		if n.Target == "" || strings.IndexByte(n.Target, 0) >= 0 {
			return Attr{}, ErrInvalid
		}
		if len(n.Target) > MaxTargetBytes {
			return Attr{}, ErrNameTooLong
		}
		a.SizeBytes = uint64(len(n.Target))
	case syscall.S_IFDIR:
		a.Nlink, a.DirSeq = 2, FirstCookie
	}
	return a, nil
}

// Create makes an inode and its name: a regular file, directory, symbolic link, device, pipe or socket.
func (s *Store) Create(parent Ino, name string, n New) (Attr, error) {
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	var result Attr
	err := s.update(false, func(t *txn) error {
		dir, err := t.dir(parent)
		if err != nil {
			return err
		}
		if _, ok, err := s.dentry(parent, name); err != nil {
			return err
		} else if ok {
			return ErrExist
		}
		a, err := t.fresh(&n)
		if err != nil {
			return err
		}
		if dir.Mode&syscall.S_ISGID != 0 {
			a.GID = dir.GID
			if a.IsDir() {
				a.Mode |= syscall.S_ISGID
			}
		}
		if a.IsDir() {
			if dir.Nlink >= MaxLinks {
				return ErrTooManyLinks
			}
			dir.Nlink++
			a.Parent = parent
		}
		in := t.newInode(a)
		if a.Type() == syscall.S_IFLNK {
			t.value = append(append(t.value[:0], recordVersion), n.Target...)
			t.set(appendKey(t.key[:0], kindTarget, uint64(in.Ino)), t.value)
		}
		t.addEntry(dir, name, dentry{ino: in.Ino, typ: in.Type()})
		dir.Mtime, dir.Ctime = a.Mtime, a.Mtime
		result = in.Attr
		return nil
	})
	return result, err
}

// CreateOrphan makes a regular file without a name (O_TMPFILE). Link can give it one; Reclaim removes it.
func (s *Store) CreateOrphan(n New) (Attr, error) {
	var result Attr
	err := s.update(false, func(t *txn) error {
		if t.total.nextIno == 0 {
			return ErrStale // before Format
		}
		a, err := t.fresh(&n)
		if err != nil {
			return err
		}
		if !a.IsRegular() {
			return ErrInvalid
		}
		in := t.newInode(a)
		if err := t.unlinked(in); err != nil {
			return err
		}
		in.Ctime = a.Ctime
		result = in.Attr
		return nil
	})
	return result, err
}

// Readlink returns the target of a symbolic link.
func (s *Store) Readlink(ino Ino) (string, error) {
	if err := s.gate.enter(); err != nil {
		return "", err
	}
	defer s.gate.leave()
	a, err := s.attr(ino)
	if err != nil {
		return "", err
	}
	if a.Type() != syscall.S_IFLNK {
		return "", ErrInvalid
	}
	var key [9]byte
	value, ok, err := s.get(appendKey(key[:0], kindTarget, uint64(ino)), nil)
	if err == nil && !ok {
		if _, err := s.settled(ino); err != nil { // reclaimed meanwhile
			return "", err
		}
		err = fmt.Errorf("%w: symbolic link without target", ErrCorrupt)
	}
	if err != nil {
		return "", fmt.Errorf("inode %d: %w", ino, err)
	}
	return decodeTarget(value)
}

// settled reads an inode when no change is half done, for a reader that found two reads not to match.
func (s *Store) settled(ino Ino) (Attr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attr(ino)
}

// Reclaim removes an orphan with all that belongs to it. An inode that has a name is ErrInvalid.
func (s *Store) Reclaim(ino Ino) error {
	return s.update(false, func(t *txn) error {
		in, err := t.inode(ino)
		if err != nil {
			return err
		}
		if in.Nlink != 0 {
			return ErrInvalid
		}
		if err := t.dropExtents(in); err != nil {
			return err
		}
		if in.XattrCount > 0 {
			if err := t.dropAll(kindXattr, ino); err != nil {
				return err
			}
		}
		if in.Type() == syscall.S_IFLNK {
			t.del(appendKey(t.key[:0], kindTarget, uint64(ino)))
		}
		t.del(appendKey(t.key[:0], kindOrphan, uint64(ino)))
		t.total.inodes--
		in.gone = true
		return nil
	})
}

// pointDeletes is how many keys are deleted one by one rather than by a range. Many range tombstones slow pebble's
// memtable down: it sorts them anew at the first read after each one.
const pointDeletes = 1024

// dropAll deletes all keys of a kind that belong to an inode.
func (t *txn) dropAll(kind byte, ino Ino) error {
	from := appendKey(nil, kind, uint64(ino))
	to := appendKeyEnd(nil, kind, uint64(ino))
	var keys [][]byte
	err := scan(t.s.db, from, to, func(key, _ []byte) (bool, error) {
		keys = append(keys, append([]byte(nil), key...))
		return len(keys) <= t.s.pointDeletes, nil
	})
	if err != nil {
		return fmt.Errorf("inode %d: %w", ino, err)
	}
	if len(keys) > t.s.pointDeletes {
		t.delRange(keys[0], to)
		return nil
	}
	for _, key := range keys {
		t.del(key)
	}
	return nil
}

// Orphans calls fn with each orphan until it returns false. fn may Reclaim it.
func (s *Store) Orphans(fn func(Ino) bool) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return scan(s.db, []byte{kindOrphan}, []byte{kindOrphan + 1}, func(key, value []byte) (bool, error) {
		if err := checkKey(key); err != nil {
			return false, err
		}
		if _, err := body(value, 1, true); err != nil {
			return false, fmt.Errorf("orphan: %w", err)
		}
		n, _ := keyNumbers(key)
		return fn(Ino(n)), nil
	})
}
