package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/qsfs/qsfs/zdb"
)

// idBytes is the length of a key that a sequential store gives.
const idBytes = 8

func appendID(dst []byte, id uint64) []byte { return binary.LittleEndian.AppendUint64(dst, id) }

// onCommitter runs fn between two batches of writes.
func (s *Store) onCommitter(ctx context.Context, fn func() error) error {
	return s.do(ctx, &Write{run: fn})
}

// Clear removes everything and gives the space back. Ids, sequences and cursors begin anew.
// The new first file says that all before it is void, so a crash leaves the store either as it
// was or empty.
func (s *Store) Clear(ctx context.Context) error {
	s.compactor.mu.Lock()
	defer s.compactor.mu.Unlock()
	return s.onCommitter(ctx, s.clear)
}

func (s *Store) clear() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	void, err := s.files.list()
	if err != nil {
		return diskError(err)
	}
	var id storeID
	if _, err := io.ReadFull(rand.Reader, id[:]); err != nil {
		return err
	}
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if s.closed {
		return zdb.ErrClosed
	}
	before, closed := s.id, s.activeID
	s.endFile()
	s.files.reset(id)
	h := fileHeader{Store: id, CreatedUnix: s.opts.Now().Unix(), FirstSequence: 1, Flags: fileFloor}
	s.activeID = 0 // nothing comes before
	if err := s.startFile(&h); err != nil {
		s.files.reset(before)
		s.activeID = closed
		return diskError(err)
	}
	s.id, s.compactor.condemned, s.undurable = id, 0, false
	s.space.reset()
	s.space.ends(s.activeID, s.end)
	m := meta{Store: id, Reached: position{File: s.activeID, Offset: uint32(s.end)}, NextSequence: 1}
	if err := s.emptyIndexEntries(&m); err != nil {
		s.fail(err)
		return diskError(err)
	}
	s.setMeta(m)
	for _, f := range void {
		// What stays is removed at the next open.
		if err := s.opts.FS.Remove(s.files.path(f)); err != nil {
			s.opts.Log.Warn("void data file not removed", "dir", s.dir, "file", f, "err", err)
		}
	}
	if s.opts.OnJump != nil {
		s.opts.OnJump(uint32(closed), uint32(s.activeID))
	}
	return diskErrorOrNil(syncDir(s.opts.FS, s.dir))
}

func (s *Store) emptyIndexEntries(m *meta) error {
	b := s.ix.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange([]byte{0}, []byte{0xff}, nil); err != nil {
		return err
	}
	if err := b.Set([]byte(keyMeta), m.append(nil), nil); err != nil {
		return err
	}
	return s.ix.db.Apply(b, pebble.NoSync)
}

// Jump ends the active data file and begins the next one; it gives the ids of both.
func (s *Store) Jump(ctx context.Context) (closed, opened uint32, err error) {
	err = s.onCommitter(ctx, func() error {
		if p := s.failed.Load(); p != nil {
			return *p
		}
		closed = uint32(s.activeID)
		if err := s.beginFile(); err != nil {
			return diskError(err)
		}
		opened = uint32(s.activeID)
		return nil
	})
	return closed, opened, err
}

// dirtyFiles are the data files written to since somebody asked.
type dirtyFiles struct {
	mu   sync.Mutex
	list []fileID // ascending
}

func (d *dirtyFiles) add(id fileID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.list); n == 0 || d.list[n-1] != id {
		d.list = append(d.list, id)
	}
}

// Dirty gives the data files that were written to since ResetDirty, or since Open; those
// that compaction removed included.
func (s *Store) Dirty() []uint32 {
	s.dirty.mu.Lock()
	defer s.dirty.mu.Unlock()
	ids := make([]uint32, 0, len(s.dirty.list))
	for _, id := range s.dirty.list {
		ids = append(ids, uint32(id))
	}
	return slices.Clip(ids)
}

// ResetDirty begins to count anew.
func (s *Store) ResetDirty() {
	s.dirty.mu.Lock()
	defer s.dirty.mu.Unlock()
	s.dirty.list = nil
}
