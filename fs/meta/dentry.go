package meta

import (
	"errors"
	"fmt"
	"strings"
)

// DirEntry is one name of a directory.
type DirEntry struct {
	Name   string
	Ino    Ino
	Type   uint32 // S_IFMT bits
	Cookie uint64 // where to go on behind this entry
}

// checkName refuses what can't be the name of an entry.
func checkName(name string) error {
	switch {
	case len(name) > MaxNameBytes:
		return ErrNameTooLong
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return ErrInvalid
	}
	return nil
}

// dentry reads the entry of a name.
func (s *Store) dentry(parent Ino, name string) (d dentry, ok bool, err error) {
	var key [maxKeyBytes]byte
	var buf [dentryBytes]byte
	value, ok, err := s.get(appendKeyName(key[:0], kindDentry, parent, name), buf[:0])
	if err == nil && ok {
		d, err = decodeDentry(value)
	}
	if err != nil {
		return dentry{}, false, fmt.Errorf("entry of directory %d: %w", parent, err)
	}
	return d, ok, nil
}

// Lookup returns the inode that a name stands for.
func (s *Store) Lookup(parent Ino, name string) (Attr, error) {
	if err := s.gate.enter(); err != nil {
		return Attr{}, err
	}
	defer s.gate.leave()
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	a, err := s.lookup(parent, name)
	if errors.Is(err, ErrCorrupt) {
		// An unlink and a Reclaim may have come between the two reads: look again when no change is half done.
		s.mu.Lock()
		defer s.mu.Unlock()
		a, err = s.lookup(parent, name)
	}
	return a, err
}

func (s *Store) lookup(parent Ino, name string) (Attr, error) {
	d, ok, err := s.dentry(parent, name)
	if err != nil {
		return Attr{}, err
	}
	if !ok {
		a, err := s.attr(parent)
		if err == nil && !a.IsDir() {
			err = ErrNotDir
		}
		if err == nil {
			err = ErrNotExist
		}
		return Attr{}, err
	}
	return s.named(parent, d)
}

// named reads the inode of an entry, which must be there and of the type that the entry says.
func (s *Store) named(parent Ino, d dentry) (Attr, error) {
	a, err := s.attr(d.ino)
	if errors.Is(err, ErrStale) || err == nil && (a.Type() != d.typ || a.Nlink == 0) {
		err = fmt.Errorf("%w: entry of directory %d does not match inode %d", ErrCorrupt, parent, d.ino)
	}
	return a, err
}

// entry stages the inode that a name stands for.
func (t *txn) entry(parent Ino, name string) (dentry, *stagedInode, error) {
	d, ok, err := t.s.dentry(parent, name)
	if err != nil {
		return dentry{}, nil, err
	}
	if !ok {
		return dentry{}, nil, ErrNotExist
	}
	if _, err := t.s.named(parent, d); err != nil {
		return dentry{}, nil, err
	}
	in, err := t.inode(d.ino)
	return d, in, err
}

// addEntry puts a new name into a directory, behind all others.
func (t *txn) addEntry(dir *stagedInode, name string, d dentry) {
	d.cookie = dir.DirSeq
	dir.DirSeq++
	dir.SizeBytes++
	t.setEntry(dir, name, d)
}

// setEntry writes both records of a name; a name that was there keeps its cookie in d.
func (t *txn) setEntry(dir *stagedInode, name string, d dentry) {
	t.value = appendDentry(t.value[:0], d)
	t.set(appendKeyName(t.key[:0], kindDentry, dir.Ino, name), t.value)
	t.value = appendCookie(t.value[:0], d, name)
	t.set(appendKey2(t.key[:0], kindCookie, uint64(dir.Ino), d.cookie), t.value)
	t.touch(dir)
}

// removeEntry takes a name out of a directory.
func (t *txn) removeEntry(dir *stagedInode, name string, d dentry) error {
	if dir.SizeBytes == 0 {
		return fmt.Errorf("%w: directory %d counts no entries but has one", ErrCorrupt, dir.Ino)
	}
	dir.SizeBytes--
	t.del(appendKeyName(t.key[:0], kindDentry, dir.Ino, name))
	t.del(appendKey2(t.key[:0], kindCookie, uint64(dir.Ino), d.cookie))
	t.touch(dir)
	return nil
}

// Link gives an inode another name; an orphan is one no more. Directories have one name only: ErrIsDir.
func (s *Store) Link(ino, parent Ino, name string) (Attr, error) {
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	var result Attr
	err := s.update(false, func(t *txn) error {
		dir, err := t.dir(parent)
		if err != nil {
			return err
		}
		in, err := t.inode(ino)
		if err != nil {
			return err
		}
		if in.IsDir() {
			return ErrIsDir
		}
		if _, ok, err := s.dentry(parent, name); err != nil {
			return err
		} else if ok {
			return ErrExist
		}
		if in.Nlink >= MaxLinks {
			return ErrTooManyLinks
		}
		if in.Nlink == 0 {
			t.del(appendKey(t.key[:0], kindOrphan, uint64(ino)))
		}
		in.Nlink++
		in.Ctime = t.now
		in.dirty = true
		t.addEntry(dir, name, dentry{ino: ino, typ: in.Type()})
		result = in.Attr
		return nil
	})
	return result, err
}

// Unlink removes a name of anything but a directory and returns the inode as it is then. With Nlink 0 it is an orphan:
// Reclaim it when nothing has it open.
func (s *Store) Unlink(parent Ino, name string) (Attr, error) {
	return s.remove(parent, name, func(in *stagedInode) error {
		if in.IsDir() {
			return ErrIsDir
		}
		return nil
	})
}

// Rmdir removes an empty directory and returns it as it is then: an orphan, to be reclaimed like a file.
func (s *Store) Rmdir(parent Ino, name string) (Attr, error) {
	return s.remove(parent, name, func(in *stagedInode) error {
		if !in.IsDir() {
			return ErrNotDir
		}
		if in.SizeBytes != 0 {
			return ErrNotEmpty
		}
		return nil
	})
}

func (s *Store) remove(parent Ino, name string, allowed func(*stagedInode) error) (Attr, error) {
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	var result Attr
	err := s.update(false, func(t *txn) error {
		dir, err := t.dir(parent)
		if err != nil {
			return err
		}
		d, in, err := t.entry(parent, name)
		if err != nil {
			return err
		}
		if err := allowed(in); err != nil {
			return err
		}
		if err := t.removeEntry(dir, name, d); err != nil {
			return err
		}
		if in.IsDir() {
			dir.Nlink--
		}
		if err := t.unlinked(in); err != nil {
			return err
		}
		result = in.Attr
		return nil
	})
	return result, err
}

// ReadDir calls fn with the entries of a directory behind a cookie (0: all), in the order of their cookies, until it returns
// false. It shows one state of the directory; changes go on meanwhile, and fn may make some.
func (s *Store) ReadDir(dir Ino, afterCookie uint64, fn func(DirEntry) bool) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	a, err := s.attr(dir)
	if err != nil {
		return err
	}
	if !a.IsDir() {
		return ErrNotDir
	}
	if afterCookie == ^uint64(0) {
		return nil
	}
	from := appendKey2(nil, kindCookie, uint64(dir), afterCookie+1)
	err = scan(s.db, from, appendKeyEnd(nil, kindCookie, uint64(dir)), func(key, value []byte) (bool, error) {
		if err := checkKey(key); err != nil {
			return false, err
		}
		_, cookie := keyNumbers(key)
		d, name, err := decodeCookie(cookie, value)
		if err != nil {
			return false, err
		}
		return fn(DirEntry{Name: string(name), Ino: d.ino, Type: d.typ, Cookie: cookie}), nil
	})
	if err != nil {
		return fmt.Errorf("directory %d: %w", dir, err)
	}
	return nil
}
