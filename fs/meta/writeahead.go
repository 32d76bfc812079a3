package meta

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/wal"
)

// Journal is what meta needs of the volume log. *wal.Log is one. Neither method may call back into the Store, nor
// wait for something that does: both are called while writers wait.
type Journal interface {
	// AppendTxn appends a payload and returns the position behind it. It does not keep payload. An error means that
	// the payload is not in the log and never will be. lazy: bookkeeping that alone gives no reason to cut a segment.
	AppendTxn(payload []byte, lazy bool) (wal.Position, error)
	// Sync returns when the log is durable on local disk up to a position.
	Sync(ctx context.Context, upTo wal.Position) error
}

// retryDelay spaces the attempts of pebble, which repeats a failed flush or compaction at once and for ever.
const retryDelay = 100 * time.Millisecond

// writeAheadFS keeps the write-ahead rule: no table file of pebble becomes durable before the log is durable up to
// every transaction that the file may hold. If the log can't be synced, the sync of the table file fails, and with it
// the flush; pebble keeps the memtable and tries again.
type writeAheadFS struct {
	vfs.FS
	store *Store
}

func (fs *writeAheadFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	if err != nil {
		return nil, fs.store.pause(err)
	}
	return &writeAheadFile{File: f, store: fs.store}, nil
}

func (fs *writeAheadFS) Unwrap() vfs.FS { return fs.FS }

type writeAheadFile struct {
	vfs.File
	store *Store
}

func (f *writeAheadFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.store.pause(err)
}

func (f *writeAheadFile) Sync() error {
	err := f.store.syncLog()
	if err == nil {
		err = f.File.Sync()
	}
	return f.store.pause(err)
}

func (f *writeAheadFile) SyncData() error {
	err := f.store.syncLog()
	if err == nil {
		err = f.File.SyncData()
	}
	return f.store.pause(err)
}

// pause waits a little if there is an error, and returns it.
func (s *Store) pause(err error) error {
	if err != nil {
		timer := time.NewTimer(retryDelay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closing.Done():
		}
	}
	return err
}

// syncLog makes the log durable up to the last transaction appended.
func (s *Store) syncLog() error {
	s.log.mu.Lock()
	journal, need, synced := s.log.journal, s.log.appended, s.log.synced
	s.log.mu.Unlock()
	if journal == nil || need.Compare(synced) <= 0 {
		return nil
	}
	if err := journal.Sync(s.closing, need); err != nil {
		return fmt.Errorf("sync the log before a table of metadata: %w", err)
	}
	s.log.mu.Lock()
	if need.Compare(s.log.synced) > 0 {
		s.log.synced = need
	}
	s.log.mu.Unlock()
	return nil
}
