package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markDamaged asks for an index built anew, before the next batch.
func (s *Store) markDamaged(err error) {
	if !s.reindexAsked.CompareAndSwap(false, true) {
		return
	}
	s.opts.Log.Error("index damaged", "dir", s.dir, "err", err)
	s.background.Go(func() {
		select {
		case <-s.queue.lead:
			s.reindexIfDamaged()
			s.queue.lead <- struct{}{}
		case <-s.ending:
		}
	})
}

// reindexIfDamaged builds the index anew from the data files while readers wait.
// It runs on the committer, between batches, where all that is indexed is durable.
func (s *Store) reindexIfDamaged() {
	if !s.reindexAsked.Load() || s.failed.Load() != nil {
		return
	}
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	if s.closed {
		return
	}
	if err := s.reindexLocked(); err != nil {
		s.fail(fmt.Errorf("index not rebuilt: %w", err))
		return
	}
	s.reindexAsked.Store(false)
	s.opts.Log.Warn("index built anew", "dir", s.dir, "entries", s.meta.Entries)
}

func (s *Store) reindexLocked() error {
	// The mark stays until the new index is whole, should the process end before.
	mark, err := s.opts.FS.Create(s.rebuildMark(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	mark.Close()
	if err := syncDir(s.opts.FS, s.dir); err != nil {
		return err
	}
	if err := s.ix.close(); err != nil {
		s.opts.Log.Warn("damaged index not closed cleanly", "dir", s.dir, "err", err)
	}
	active, activeID, end, durable, lastRecord := s.active, s.activeID, s.end, s.durable, s.lastRecord
	next := s.meta.NextSequence
	s.indexBuilds.Add(1)
	s.space.recount()
	if err := s.emptyIndex(); err != nil {
		return err
	}
	ids, err := s.files.list()
	if err != nil {
		return err
	}
	r := recovery{Store: s}
	for _, id := range ids {
		f, err := r.readHeader(id)
		if err != nil {
			return err
		}
		r.found = append(r.found, f)
	}
	s.setMeta(meta{Store: s.id, NextSequence: next})
	err = r.replay(position{}, &position{File: activeID, Offset: uint32(end)})
	s.active, s.activeID, s.end, s.durable, s.lastRecord = active, activeID, end, durable, lastRecord
	if err == nil {
		err = r.settleSpace()
	}
	if err != nil {
		return err
	}
	if err := s.ix.db.Flush(); err != nil {
		return err
	}
	return s.opts.FS.Remove(s.rebuildMark())
}
