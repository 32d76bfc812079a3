package meta

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/qsfs/qsfs/fs/wal"
)

// txn is one change under construction. It lives under the store's mutex.
type txn struct {
	s       *Store
	now     Time
	payload payload
	total   counters
	staged  [maxStaged]stagedInode
	count   int
	key     [maxKeyBytes]byte // scratch
	end     [maxKeyBytes]byte // scratch
	value   []byte            // scratch
}

// maxStaged is more inodes than any change touches: rename has two parents and two victims.
const maxStaged = 6

// stagedInode is an inode as the change leaves it.
type stagedInode struct {
	Attr
	dirty bool // to be written
	gone  bool // to be deleted
}

// update runs one change: build reads the state and puts operations into the transaction, which is then journaled and
// applied. If build fails nothing has happened.
func (s *Store) update(lazy bool, build func(t *txn) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.log.mu.Lock()
	journal := s.log.journal
	s.log.mu.Unlock()
	if journal == nil {
		return ErrReadOnly
	}
	if err := s.admit(0); err != nil {
		return err
	}
	t := &s.tx
	t.s, t.now, t.total, t.count = s, TimeOf(s.now()), s.counters, 0
	t.payload.reset()
	if err := build(t); err != nil {
		return err
	}
	return t.commit(journal, lazy)
}

// commit journals and applies what the transaction has gathered.
func (t *txn) commit(journal Journal, lazy bool) error {
	s := t.s
	for i := range t.staged[:t.count] {
		switch in := &t.staged[i]; {
		case in.gone:
			t.del(appendKey(t.key[:0], kindInode, uint64(in.Ino)))
		case in.dirty:
			t.value = appendAttr(t.value[:0], &in.Attr)
			t.set(appendKey(t.key[:0], kindInode, uint64(in.Ino)), t.value)
		}
	}
	if t.total != s.counters {
		t.value = appendCounters(t.value[:0], t.total)
		t.set(keyCounters, t.value)
	}
	if t.payload.count == 0 {
		return nil
	}
	payload := t.payload.finish()
	if len(payload) > MaxPayloadBytes {
		return fmt.Errorf("%w: %d bytes", ErrTooBig, len(payload))
	}
	after, err := journal.AppendTxn(payload, lazy)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	s.log.mu.Lock()
	s.log.appended = after
	s.log.mu.Unlock()
	if err := s.apply(payload, after); err != nil {
		return err
	}
	for i := range t.staged[:t.count] {
		switch in := &t.staged[i]; {
		case in.gone:
			s.attrs.drop(in.Ino)
		case in.dirty:
			s.attrs.put(&in.Attr)
		}
	}
	s.setCounters(t.total)
	return nil
}

// apply puts a payload that is in the log into pebble, with the position it reaches. A failure is final: the log is ahead of
// this process from then on, and only a new one that replays can go on.
func (s *Store) apply(payload []byte, after wal.Position) error {
	b := s.db.NewBatchWithSize(len(payload) + 64)
	defer b.Close()
	err := decodePayload(payload, func(o op) error {
		switch o.kind {
		case opSet:
			return b.Set(o.key, o.value, nil)
		case opDelete:
			return b.Delete(o.key, nil)
		default:
			return b.DeleteRange(o.key, o.value, nil)
		}
	})
	if err == nil {
		var value [positionBytes]byte
		err = b.Set(keyPosition, appendPosition(value[:0], after), nil)
	}
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	if err != nil {
		s.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		s.slog.Error("metadata store: a logged change could not be applied", "err", err)
		return s.failed
	}
	s.unsampled += int64(len(payload))
	s.log.mu.Lock()
	s.log.reached = after
	s.log.mu.Unlock()
	return nil
}

// inode stages an inode for reading and changing. Changes count once dirty or gone is set.
func (t *txn) inode(ino Ino) (*stagedInode, error) {
	for i := range t.staged[:t.count] {
		if in := &t.staged[i]; in.Ino == ino {
			return in, nil
		}
	}
	a, err := t.s.attr(ino)
	if err != nil {
		return nil, err
	}
	return t.stage(a), nil
}

// stage adds an inode that is known not to be staged.
func (t *txn) stage(a Attr) *stagedInode {
	in := &t.staged[t.count]
	t.count++
	*in = stagedInode{Attr: a}
	return in
}

// dir stages a directory in which entries can be made.
func (t *txn) dir(ino Ino) (*stagedInode, error) {
	in, err := t.inode(ino)
	switch {
	case err != nil:
		return nil, err
	case !in.IsDir():
		return nil, ErrNotDir
	case in.Nlink == 0:
		return nil, ErrNotExist
	}
	return in, nil
}

// newInode stages a new inode with the next number.
func (t *txn) newInode(a Attr) *stagedInode {
	a.Ino = t.total.nextIno
	t.total.nextIno++
	t.total.inodes++
	in := t.stage(a)
	in.dirty = true
	return in
}

func (t *txn) set(key, value []byte)    { t.payload.set(key, value) }
func (t *txn) del(key []byte)           { t.payload.del(key) }
func (t *txn) delRange(from, to []byte) { t.payload.delRange(from, to) }

// touch sets mtime and ctime, as a change of a directory's entries does.
func (t *txn) touch(in *stagedInode) {
	in.Mtime, in.Ctime = t.now, t.now
	in.dirty = true
}

// unlinked takes one link of an inode away and makes it an orphan when that was the last.
func (t *txn) unlinked(in *stagedInode) error {
	if in.Nlink == 0 {
		return fmt.Errorf("%w: inode %d has a name but no link", ErrCorrupt, in.Ino)
	}
	in.Nlink--
	if in.IsDir() {
		in.Nlink = 0 // the last name and its own "."
	}
	if in.Nlink == 0 {
		t.value = appendOpaque(t.value[:0], nil)
		t.set(appendKey(t.key[:0], kindOrphan, uint64(in.Ino)), t.value)
	}
	in.Ctime = t.now
	in.dirty = true
	return nil
}
