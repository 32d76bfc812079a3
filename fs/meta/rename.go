package meta

import "fmt"

// RenameFlags change what Rename does when the new name exists; the values are those of renameat2(2).
type RenameFlags uint32

const (
	// RenameNoReplace refuses with ErrExist when the new name exists.
	RenameNoReplace RenameFlags = 1 << 0
	// RenameExchange swaps what the two names stand for; both must exist.
	RenameExchange RenameFlags = 1 << 1
)

// Renamed is what a rename did. An Ino of 0 means none.
type Renamed struct {
	Moved     Attr
	Replaced  Attr // had the new name before; with Nlink 0 it is an orphan now
	Exchanged Attr // has the old name now
}

// Rename moves a name, also to another directory, as renameat2(2) does. A name that existed keeps its cookie.
func (s *Store) Rename(oldParent Ino, oldName string, newParent Ino, newName string, flags RenameFlags) (Renamed, error) {
	if flags&^(RenameNoReplace|RenameExchange) != 0 || flags == RenameNoReplace|RenameExchange {
		return Renamed{}, ErrInvalid
	}
	if err := checkName(oldName); err != nil {
		return Renamed{}, err
	}
	if err := checkName(newName); err != nil {
		return Renamed{}, err
	}
	var result Renamed
	err := s.update(false, func(t *txn) error {
		m, err := t.readMove(oldParent, oldName, newParent, newName)
		if err != nil {
			return err
		}
		switch {
		case m.other == nil && flags&RenameExchange != 0:
			return ErrNotExist
		case m.other != nil && flags&RenameNoReplace != 0:
			return ErrExist
		case m.other == m.moved: // two names of one inode: POSIX says nothing happens
			result.Moved = m.moved.Attr
			return nil
		}
		if err := m.checkLoop(t, flags&RenameExchange != 0); err != nil {
			return err
		}
		if flags&RenameExchange != 0 {
			err = m.exchange(t)
			result.Exchanged = m.exchanged()
		} else {
			err = m.move(t)
			result.Replaced = m.exchanged()
		}
		result.Moved = m.moved.Attr
		return err
	})
	if err != nil {
		return Renamed{}, err
	}
	return result, nil
}

// renaming is what a rename starts from.
type renaming struct {
	oldDir, newDir   *stagedInode // may be the same
	oldName, newName string
	oldEntry         dentry
	newEntry         dentry
	moved            *stagedInode
	other            *stagedInode // what the new name stands for, or nil
}

func (t *txn) readMove(oldParent Ino, oldName string, newParent Ino, newName string) (m renaming, err error) {
	m.oldName, m.newName = oldName, newName
	if m.oldDir, err = t.dir(oldParent); err != nil {
		return m, err
	}
	if m.newDir, err = t.dir(newParent); err != nil {
		return m, err
	}
	if m.oldEntry, m.moved, err = t.entry(oldParent, oldName); err != nil {
		return m, err
	}
	if m.newEntry, m.other, err = t.entry(newParent, newName); err == ErrNotExist {
		m.other, err = nil, nil
	}
	return m, err
}

func (m *renaming) exchanged() Attr {
	if m.other == nil {
		return Attr{}
	}
	return m.other.Attr
}

// checkLoop refuses to put a directory into its own subtree.
func (m *renaming) checkLoop(t *txn, exchange bool) error {
	if m.oldDir == m.newDir {
		return nil
	}
	if m.moved.IsDir() {
		if inside, err := t.s.inSubtree(m.newDir.Ino, m.moved.Ino); err != nil || inside {
			return orInvalid(err)
		}
	}
	if exchange && m.other.IsDir() {
		if inside, err := t.s.inSubtree(m.oldDir.Ino, m.other.Ino); err != nil || inside {
			return orInvalid(err)
		}
	}
	return nil
}

func orInvalid(err error) error {
	if err == nil {
		err = ErrInvalid
	}
	return err
}

// inSubtree says whether a directory is top or below it. The walk up ends at the root; parents that form a
// ring are found by Brent's algorithm.
func (s *Store) inSubtree(dir, top Ino) (bool, error) {
	marked, steps, limit := dir, 0, 1
	for dir != top {
		if dir == RootIno {
			return false, nil
		}
		a, err := s.attr(dir)
		if err != nil {
			return false, err
		}
		if !a.IsDir() {
			return false, fmt.Errorf("%w: parent %d is not a directory", ErrCorrupt, dir)
		}
		dir = a.Parent
		if dir == marked {
			return false, fmt.Errorf("%w: directory %d is below itself", ErrCorrupt, dir)
		}
		if steps++; steps == limit {
			marked, steps, limit = dir, 0, limit*2
		}
	}
	return true, nil
}

// move gives the new name to the moved inode, in place of the other if there is one.
func (m *renaming) move(t *txn) error {
	if m.other != nil {
		switch {
		case m.moved.IsDir() && !m.other.IsDir():
			return ErrNotDir
		case !m.moved.IsDir() && m.other.IsDir():
			return ErrIsDir
		case m.other.IsDir() && m.other.SizeBytes != 0:
			return ErrNotEmpty
		}
	}
	if m.moved.IsDir() {
		if m.oldDir != m.newDir && m.newDir.Nlink >= MaxLinks && m.other == nil {
			return ErrTooManyLinks
		}
		m.oldDir.Nlink--
		m.newDir.Nlink++
		m.moved.Parent = m.newDir.Ino
		if m.other != nil {
			m.newDir.Nlink--
		}
	}
	if err := t.removeEntry(m.oldDir, m.oldName, m.oldEntry); err != nil {
		return err
	}
	entry := dentry{ino: m.moved.Ino, typ: m.moved.Type()}
	if m.other == nil {
		t.addEntry(m.newDir, m.newName, entry)
	} else {
		entry.cookie = m.newEntry.cookie
		t.setEntry(m.newDir, m.newName, entry)
		if err := t.unlinked(m.other); err != nil {
			return err
		}
	}
	m.moved.Ctime = t.now
	m.moved.dirty = true
	return nil
}

// exchange swaps the two names; each keeps its place in its directory.
func (m *renaming) exchange(t *txn) error {
	if m.oldDir != m.newDir && m.moved.IsDir() != m.other.IsDir() {
		from, to := m.oldDir, m.newDir // of the one directory
		if m.other.IsDir() {
			from, to = to, from
		}
		if to.Nlink >= MaxLinks {
			return ErrTooManyLinks
		}
		from.Nlink--
		to.Nlink++
	}
	if m.moved.IsDir() {
		m.moved.Parent = m.newDir.Ino
	}
	if m.other.IsDir() {
		m.other.Parent = m.oldDir.Ino
	}
	t.setEntry(m.newDir, m.newName, dentry{ino: m.moved.Ino, typ: m.moved.Type(), cookie: m.newEntry.cookie})
	t.setEntry(m.oldDir, m.oldName, dentry{ino: m.other.Ino, typ: m.other.Type(), cookie: m.oldEntry.cookie})
	m.moved.Ctime, m.other.Ctime = t.now, t.now
	m.moved.dirty, m.other.dirty = true, true
	return nil
}
