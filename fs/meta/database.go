package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// formatVersion is pebble's, fixed so that an upgrade of the library alone changes nothing on disk. This one has
	// a checksum in the footer of each table; nothing newer is needed.
	formatVersion = pebble.FormatTableFormatV6

	defaultCacheBytes    = 16 << 20
	defaultMemTableBytes = 16 << 20
	// memTables is how many memtables there may be, the one being written included; then writers wait for a flush.
	memTables = 4
)

// databaseOptions tunes pebble for metadata: small values, point look-ups of names that often do not exist (a create
// looks first), bursts of writes. The block cache is made larger by what memtables take of it, since pebble reserves their memory there.
func (s *Store) databaseOptions(o Options) *pebble.Options {
	base := o.FS
	if base == nil {
		base = vfs.Default
	}
	opts := &pebble.Options{
		FS:                          &writeAheadFS{FS: base, store: s},
		Cache:                       pebble.NewCache(o.CacheBytes + memTables*o.MemTableBytes),
		Comparer:                    pebble.DefaultComparer,
		FormatMajorVersion:          formatVersion,
		DisableWAL:                  true,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: memTables + 1, // never reached: admit waits before
		BytesPerSync:                1 << 30,       // no sync in the middle of a table: on an encrypting FS it is a real one, and ends a run of frames
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       40,
		MaxOpenFiles:                512,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      databaseLog{s.slog},
		EventListener: &pebble.EventListener{
			BackgroundError: s.backgroundError,
			FlushEnd:        s.flushEnded,
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.slog.Error("metadata store: corrupt file", "path", i.Path, "err", i.Details)
			},
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].FilterType = pebble.TableFilter
	}
	return opts
}

// databaseLog passes pebble's errors on and drops its chatter.
type databaseLog struct{ log *slog.Logger }

func (l databaseLog) Infof(string, ...any) {}

func (l databaseLog) Errorf(format string, args ...any) {
	l.log.Error("metadata store", "err", fmt.Sprintf(format, args...))
}

// Fatalf is called when pebble can't say any more what is on disk, such as after a failed write of its manifest. Going
// on could lose acknowledged changes; the process ends, and the next one replays the log.
func (l databaseLog) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.log.Error("metadata store: fatal", "err", text)
	panic("meta: " + text)
}

// backgroundError is told of each failed flush or compaction. Only the first of a series is logged.
func (s *Store) backgroundError(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		return
	}
	s.flush.mu.Lock()
	defer s.flush.mu.Unlock()
	if s.flush.err == nil {
		s.slog.Error("metadata store: background work failed, retrying", "err", err)
	}
	s.flush.err = err
	s.flush.failures++
	s.flush.broadcast()
}

func (s *Store) flushEnded(info pebble.FlushInfo) {
	s.flush.mu.Lock()
	defer s.flush.mu.Unlock()
	if s.flush.err != nil && info.Err == nil {
		s.flush.err = nil
		s.slog.Info("metadata store: background work succeeds again")
	}
	s.flush.broadcast()
}

// flushes is what is known of background work.
type flushes struct {
	mu       sync.Mutex
	err      error         // of the last attempt, until a flush succeeds
	failures uint64        // of attempts, ever
	changed  chan struct{} // closed at the next end of an attempt
}

func (f *flushes) broadcast() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *flushes) state() (failures uint64, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failures, f.changed, f.err
}

// admit waits while there are as many memtables as allowed, for one to be flushed, and returns the error if that fails: left to
// itself pebble would wait for ever. patience is how many more failures to sit out. The caller holds mu. Pebble is asked
// only after a good part of a memtable was written.
func (s *Store) admit(patience uint64) error {
	if s.unsampled < s.memTableBytes/16 {
		return nil
	}
	before, _, _ := s.flush.state()
	for {
		failures, changed, err := s.flush.state()
		if s.db.Metrics().MemTable.Size < uint64(memTables*s.memTableBytes) {
			s.unsampled = 0
			return nil
		}
		if err != nil && failures >= before+patience {
			return fmt.Errorf("metadata can't be written to disk: %w", err)
		}
		select {
		case <-changed:
		case <-s.closing.Done():
			return ErrClosed
		}
	}
}

// corrupt marks pebble's own findings of corruption with our sentinel.
func corrupt(err error) error {
	if err != nil && pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// get reads a value into buf, which may be nil. ok is false when there is none.
func (s *Store) get(key, buf []byte) (value []byte, ok bool, err error) {
	return getFrom(s.db, key, buf)
}

func getFrom(r pebble.Reader, key, buf []byte) (value []byte, ok bool, err error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, corrupt(err)
	}
	value = append(buf[:0], v...)
	return value, true, closer.Close()
}

// scan calls fn with each key from from to before to, in order, until fn says no more. The slices are valid during fn.
func scan(r pebble.Reader, from, to []byte, fn func(key, value []byte) (bool, error)) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return corrupt(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return corrupt(errors.Join(err, it.Close()))
		}
		more, err := fn(it.Key(), value)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	return corrupt(it.Close())
}
