package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// recovery brings a store from what is on disk to a state it can go on from.
type recovery struct {
	*Store
	found []foundFile
	torn  []keptRecord // whole records behind a tear in the last file
}

// foundFile is a data file met at open.
type foundFile struct {
	id        fileID
	sizeBytes int64
	header    fileHeader
	damaged   bool // the header can't be read
}

// keptRecord is a record that is written again.
type keptRecord struct {
	offset int64
	header recordHeader
}

const replayBatchRecords = 1024

func (r *recovery) run() error {
	if err := r.readHeaders(); err != nil {
		return err
	}
	r.files = newFiles(r.opts.FS, r.dir, r.id)
	if err := r.openIndexOrRebuild(); err != nil {
		return err
	}
	if r.id == (storeID{}) { // nothing is here yet
		if _, err := io.ReadFull(rand.Reader, r.id[:]); err != nil {
			return err
		}
		r.files.store = r.id
		r.setMeta(meta{Store: r.id, NextSequence: 1})
		return r.becomeActive()
	}
	from, err := r.startingPoint()
	if err != nil {
		return err
	}
	if err := r.replay(from, nil); err != nil {
		return err
	}
	if err := r.settleSpace(); err != nil {
		return err
	}
	return r.becomeActive()
}

// readHeaders finds the data files, the store's id and the end of each file.
func (r *recovery) readHeaders() error {
	ids, err := listFiles(r.opts.FS, r.dir)
	if err != nil {
		return diskError(err)
	}
	anyRecords := false
	var all []foundFile
	for _, id := range ids {
		f, err := r.readHeader(id)
		if err != nil {
			return err
		}
		if f.header.Flags&fileFloor != 0 {
			if err := r.removeVoid(all); err != nil {
				return err
			}
			all = nil
		}
		all = append(all, f)
	}
	for _, f := range all {
		id := f.id
		if !f.damaged {
			if f.otherMode(r.opts.Sequential) && (f.sizeBytes > fileHeaderBytes || f.header.FirstSequence > 1) {
				return fmt.Errorf("data file %d: %w", id, zdb.ErrWrongMode)
			}
			if r.id != (storeID{}) && r.id != f.header.Store {
				return fmt.Errorf("data file %d is of another store: %w", id, zdb.ErrCorrupt)
			}
			r.id = f.header.Store
		}
		anyRecords = anyRecords || f.sizeBytes > fileHeaderBytes
		r.found = append(r.found, f)
		r.lastID = id
	}
	// A crash while a file was created leaves one without a header and without records.
	if n := len(r.found); n > 0 && r.found[n-1].damaged && r.found[n-1].sizeBytes <= fileHeaderBytes {
		last := r.found[n-1]
		r.opts.Log.Info("unfinished data file removed", "dir", r.dir, "file", last.id)
		if err := r.opts.FS.Remove(r.opts.FS.PathJoin(r.dir, fileName(last.id))); err != nil {
			return diskError(err)
		}
		r.found = r.found[:n-1]
	}
	if r.id == (storeID{}) {
		// All headers are damaged or all files gone: the index, if it is whole, knows the
		// id. Its keys then answer ErrCorrupt, as they must.
		id, err := r.idFromIndex()
		if err != nil && anyRecords {
			return fmt.Errorf("no data file has a readable header: %w", zdb.ErrCorrupt)
		}
		if r.id = id; id != (storeID{}) && len(r.found) == 0 {
			r.damage("data files are gone")
		}
	}
	for _, f := range r.found {
		if f.damaged {
			r.damage("data file header damaged", "file", f.id)
		}
	}
	return nil
}

// removeVoid removes the files that Clear could not get to.
func (r *recovery) removeVoid(void []foundFile) error {
	for _, f := range void {
		if err := r.opts.FS.Remove(r.opts.FS.PathJoin(r.dir, fileName(f.id))); err != nil {
			return diskError(err)
		}
	}
	return nil
}

func (f *foundFile) otherMode(sequential bool) bool {
	return (f.header.Flags&fileSequential != 0) != sequential
}

func (r *recovery) readHeader(id fileID) (foundFile, error) {
	f := foundFile{id: id}
	file, err := r.opts.FS.Open(r.opts.FS.PathJoin(r.dir, fileName(id)))
	if err != nil {
		return f, diskError(err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return f, diskError(err)
	}
	f.sizeBytes = st.Size()
	var b [fileHeaderBytes]byte
	if _, err := file.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return f, diskError(err)
	}
	f.header, err = decodeFileHeader(b[:])
	if errors.Is(err, zdb.ErrTooNew) {
		return f, fmt.Errorf("data file %d: %w", id, err)
	}
	f.damaged = err != nil || f.header.ID != id
	return f, nil
}

func (r *recovery) idFromIndex() (storeID, error) {
	if _, err := r.opts.FS.Stat(r.indexDir()); err != nil {
		return storeID{}, err
	}
	ix, err := r.openIndex()
	if err != nil {
		return storeID{}, err
	}
	defer ix.close()
	m, ok, err := ix.meta()
	if err == nil && !ok {
		err = errIndexDamaged
	}
	return m.Store, err
}

func (r *recovery) damage(msg string, attrs ...any) {
	r.damages.Add(1)
	r.lastErrorUnix.Store(r.opts.Now().Unix())
	r.opts.Log.Error(msg, append([]any{"dir", r.dir}, attrs...)...)
}

func (s *Store) openIndex() (*index, error) {
	return openIndex(s.opts.FS, s.indexDir(), s.caches, s.opts.Log, s.fail, s.markDamaged)
}

// openIndexOrRebuild opens the index, or an empty one where the old is damaged.
func (r *recovery) openIndexOrRebuild() error {
	ix, err := r.openIndex()
	if err == nil {
		if _, err = r.opts.FS.Stat(r.rebuildMark()); err == nil {
			err = errIndexDamaged
		} else if m, ok, merr := ix.meta(); merr != nil {
			err = merr
		} else if ok && m.Store != r.id {
			err = fmt.Errorf("index of another store: %w", errIndexDamaged)
		} else if err = ix.loadSpace(&r.space); err != nil {
			r.space.reset()
		} else {
			r.ix = ix
			return nil
		}
		ix.close()
	} else if isDiskTrouble(err) {
		return diskError(err)
	}
	r.opts.Log.Warn("index is built anew from the data files", "dir", r.dir, "reason", err)
	return r.emptyIndex()
}

// emptyIndex puts an empty index in the place of the old one.
func (s *Store) emptyIndex() error {
	if err := s.opts.FS.RemoveAll(s.indexDir()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return diskError(err)
	}
	ix, err := s.openIndex()
	if err != nil {
		return diskError(err)
	}
	s.ix = ix
	return nil
}

// rebuildMark is a file whose presence says that the index is not to be trusted.
func (s *Store) rebuildMark() string { return s.opts.FS.PathJoin(s.dir, "index.damaged") }

// startingPoint is where the data files are read from.
func (r *recovery) startingPoint() (position, error) {
	m, ok, err := r.ix.meta()
	if err != nil {
		return position{}, err
	}
	if !ok {
		m = meta{Store: r.id, NextSequence: 1}
	}
	for _, f := range r.found {
		m.NextSequence = max(m.NextSequence, f.header.FirstSequence)
	}
	r.setMeta(m)
	r.lastRecord = m.LastRecord
	return m.Reached, nil
}

// endOf is where the i-th file found ends: what lies behind was never acknowledged.
func (r *recovery) endOf(i int) int64 {
	f := r.found[i]
	if i+1 < len(r.found) {
		if next := r.found[i+1].header; next.Previous == f.id {
			return min(f.sizeBytes, int64(next.PreviousEnd))
		}
	}
	return f.sizeBytes
}

// settleSpace brings the figures of the data files in line with the files that are there.
func (r *recovery) settleSpace() error {
	there := make(map[fileID]bool)
	for i, f := range r.found {
		end := r.endOf(i)
		if f.id == r.activeID {
			end = r.end
		}
		r.space.ends(f.id, max(end, fileHeaderBytes))
		there[f.id] = true
	}
	return r.forgetFiles(func(id fileID) bool { return !there[id] })
}

// becomeActive makes the store ready to append: in the last file where that is whole,
// else in a new one.
func (r *recovery) becomeActive() error {
	r.durable = r.end
	n := len(r.found)
	if n > 0 && r.found[n-1].id == r.activeID && !r.found[n-1].damaged {
		last := r.found[n-1]
		file, err := r.opts.FS.OpenReadWrite(r.files.path(r.activeID), vfs.WriteCategoryUnspecified)
		if err != nil {
			return diskError(err)
		}
		// Replayed records may not be on disk yet if only the process had died.
		if err := file.SyncData(); err != nil {
			file.Close()
			return diskError(err)
		}
		if last.sizeBytes == r.end && len(r.torn) == 0 && last.header.version == fileVersion && !last.otherMode(r.opts.Sequential) {
			r.active = r.files.add(r.activeID, file)
			r.highest.Store(uint32(r.activeID))
			return nil
		}
		defer file.Close()
		tornAt := r.end
		if err := r.beginFile(); err != nil {
			return diskError(err)
		}
		if err := r.writeKept(file, last.id); err != nil {
			return err
		}
		if tornAt < last.sizeBytes {
			truncate(file, tornAt)
		}
		return nil
	}
	r.lastID = max(r.lastID, r.activeID)
	if err := r.beginFile(); err != nil {
		return diskError(err)
	}
	return nil
}

// writeKept writes the records behind a tear again.
func (r *recovery) writeKept(from vfs.File, id fileID) error {
	s := newSeed(r.id, id)
	for _, k := range r.torn {
		b := make([]byte, k.header.sizeBytes())
		if _, err := from.ReadAt(b, k.offset); err != nil {
			return diskError(err)
		}
		h, key, err := decodeRecord(b, s)
		if err != nil {
			return err
		}
		old, ok, err := find(r.ix.db, key)
		if err != nil {
			return err
		}
		if h.Delete && !(ok && old.live()) {
			continue
		}
		c := &change{key: key, value: b[recordHeaderBytes+len(key):], head: h}
		if ok {
			c.old = &old
		}
		if err := r.append([]*change{c}); err != nil {
			return err
		}
		if err := r.applyChanges([]*change{c}); err != nil {
			return diskError(err)
		}
	}
	return nil
}
