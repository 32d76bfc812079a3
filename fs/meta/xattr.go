package meta

import (
	"fmt"
	"strings"
)

// XattrFlags say what SetXattr expects; the values are those of setxattr(2).
type XattrFlags uint32

const (
	// XattrCreate refuses with ErrXattrExists when the attribute exists.
	XattrCreate XattrFlags = 1
	// XattrReplace refuses with ErrNoXattr when it does not.
	XattrReplace XattrFlags = 2
)

func checkXattrName(name string) error {
	switch {
	case len(name) > MaxNameBytes:
		return ErrNameTooLong
	case name == "" || strings.IndexByte(name, 0) >= 0:
		return ErrInvalid
	}
	return nil
}

// xattr reads a value; ok is false when there is none.
func (s *Store) xattr(ino Ino, name string) (value []byte, ok bool, err error) {
	var key [maxKeyBytes]byte
	value, ok, err = s.get(appendKeyName(key[:0], kindXattr, ino, name), nil)
	if err == nil && ok {
		value, err = decodeOpaque(value)
	}
	if err != nil {
		return nil, false, fmt.Errorf("extended attribute of inode %d: %w", ino, err)
	}
	return value, ok, nil
}

// GetXattr returns the value of an extended attribute, or ErrNoXattr.
func (s *Store) GetXattr(ino Ino, name string) ([]byte, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	if err := checkXattrName(name); err != nil {
		return nil, err
	}
	a, err := s.attr(ino)
	if err != nil {
		return nil, err
	}
	if a.XattrCount == 0 {
		return nil, ErrNoXattr
	}
	value, ok, err := s.xattr(ino, name)
	if err == nil && !ok {
		err = ErrNoXattr
	}
	return value, err
}

// ListXattr returns the names of all extended attributes of an inode, in order.
func (s *Store) ListXattr(ino Ino) ([]string, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	a, err := s.attr(ino)
	if err != nil || a.XattrCount == 0 {
		return nil, err
	}
	names := make([]string, 0, min(a.XattrCount, 1024))
	err = scan(s.db, appendKey(nil, kindXattr, uint64(ino)), appendKeyEnd(nil, kindXattr, uint64(ino)), func(key, _ []byte) (bool, error) {
		names = append(names, string(key[9:]))
		return true, checkKey(key)
	})
	if err != nil {
		return nil, fmt.Errorf("extended attributes of inode %d: %w", ino, err)
	}
	return names, nil
}

// SetXattr sets an extended attribute.
func (s *Store) SetXattr(ino Ino, name string, value []byte, flags XattrFlags) error {
	if err := checkXattrName(name); err != nil {
		return err
	}
	if flags&^(XattrCreate|XattrReplace) != 0 || flags == XattrCreate|XattrReplace {
		return ErrInvalid
	}
	if len(value) > MaxXattrBytes {
		return ErrXattrTooBig
	}
	return s.update(false, func(t *txn) error {
		in, err := t.inode(ino)
		if err != nil {
			return err
		}
		exists := false
		if in.XattrCount > 0 {
			if _, exists, err = s.xattr(ino, name); err != nil {
				return err
			}
		}
		switch {
		case exists && flags == XattrCreate:
			return ErrXattrExists
		case !exists && flags == XattrReplace:
			return ErrNoXattr
		case !exists:
			in.XattrCount++
			in.XattrNameBytes += uint32(len(name)) + 1
			if in.XattrNameBytes > MaxXattrNamesBytes {
				return ErrXattrsFull
			}
		}
		t.value = appendOpaque(t.value[:0], value)
		t.set(appendKeyName(t.key[:0], kindXattr, ino, name), t.value)
		in.Ctime = t.now
		in.dirty = true
		return nil
	})
}

// RemoveXattr removes an extended attribute, or returns ErrNoXattr.
func (s *Store) RemoveXattr(ino Ino, name string) error {
	if err := checkXattrName(name); err != nil {
		return err
	}
	return s.update(false, func(t *txn) error {
		in, err := t.inode(ino)
		if err != nil {
			return err
		}
		if in.XattrCount == 0 {
			return ErrNoXattr
		}
		if _, ok, err := s.xattr(ino, name); err != nil {
			return err
		} else if !ok {
			return ErrNoXattr
		}
		if in.XattrNameBytes < uint32(len(name))+1 {
			return fmt.Errorf("%w: extended attributes of inode %d", ErrCorrupt, ino)
		}
		in.XattrCount--
		in.XattrNameBytes -= uint32(len(name)) + 1
		t.del(appendKeyName(t.key[:0], kindXattr, ino, name))
		in.Ctime = t.now
		in.dirty = true
		return nil
	})
}
