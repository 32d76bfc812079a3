package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/wal"
)

// Options says where a store is and what it may use. Dir is required; the zero value of the rest is good.
type Options struct {
	Dir           string
	FS            vfs.FS           // nil means the disk
	CacheBytes    int64            // blocks of table files in memory; 0 means 16 MiB
	MemTableBytes int64            // of which there are at most four; 0 means 16 MiB
	Journal       Journal          // nil until SetJournal: no change is possible, only Replay
	Now           func() time.Time // nil means time.Now
	Log           *slog.Logger     // nil means none
}

// Store is the metadata of one volume. All methods may be called concurrently.
type Store struct {
	db            *pebble.DB
	slog          *slog.Logger
	now           func() time.Time
	memTableBytes int64
	pointDeletes  int // pointDeletes and payloadRoom, smaller in tests
	payloadRoom   int

	gate    *gate
	closed  atomic.Bool
	closing context.Context // done when Close begins
	close   context.CancelFunc

	attrs *attrCache

	// What Usage and Position tell without waiting for a writer.
	usedBytes, inodes atomic.Uint64

	// mu serialises changes. It guards what follows and everything in pebble. Lock order: mu, then log.mu, flush.mu or
	// a shard of attrs, which are leaves.
	mu        sync.Mutex
	counters  counters
	failed    error // a change is in the log, but could not be applied
	unsampled int64 // bytes applied since admit looked at the memtables
	tx        txn   // reused by each change

	log struct {
		mu       sync.Mutex
		journal  Journal
		appended wal.Position // end of the last transaction in the log
		synced   wal.Position // the log is durable up to here, as far as asked
		reached  wal.Position // end of the last transaction applied
		durable  wal.Position // the store on disk has reached at least this
	}

	flush flushes
}

// Open opens the store in a directory and creates it when absent. The state is that of the last flush: before anything else,
// Replay what the log has behind Position.
func Open(o Options) (*Store, error) {
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	s := &Store{
		slog: o.Log, now: o.Now, memTableBytes: o.MemTableBytes,
		pointDeletes: pointDeletes, payloadRoom: payloadRoom,
		gate: newGate(), attrs: newAttrCache(attrCacheEntries),
	}
	if s.slog == nil {
		s.slog = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.closing, s.close = context.WithCancel(context.Background())
	s.flush.changed = make(chan struct{})
	s.log.journal = o.Journal

	opts := s.databaseOptions(o)
	defer opts.Cache.Unref()
	db, err := pebble.Open(o.Dir, opts)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open metadata store: %w", corrupt(err))
	}
	s.db = db
	if err := s.load(); err != nil {
		s.close()
		return nil, fmt.Errorf("open metadata store: %w", errors.Join(err, db.Close()))
	}
	return s, nil
}

// load reads the position and the counters. An empty store has neither.
func (s *Store) load() error {
	value, ok, err := s.get(keyPosition, nil)
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	if ok {
		p, err := decodePosition(value)
		if err != nil {
			return fmt.Errorf("position: %w", err)
		}
		s.log.mu.Lock() // a compaction may be at work already
		s.log.reached, s.log.durable, s.log.synced = p, p, p
		s.log.mu.Unlock()
	}
	value, ok, err = s.get(keyCounters, nil)
	if err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	if ok {
		c, err := decodeCounters(value)
		if err != nil {
			return fmt.Errorf("counters: %w", err)
		}
		s.setCounters(c)
	}
	return nil
}

func (s *Store) setCounters(c counters) {
	s.counters = c
	s.usedBytes.Store(c.usedBytes)
	s.inodes.Store(c.inodes)
}

// SetJournal attaches the journal after replay. From then on the store can be changed, and Replay is refused.
func (s *Store) SetJournal(j Journal) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.journal = j
}

// Position is the end, in the log, of the last transaction applied.
func (s *Store) Position() wal.Position {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.reached
}

// DurablePosition is how far the log is not needed any more to open this store: what is on disk reached at least this.
func (s *Store) DurablePosition() wal.Position {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.durable
}

// Usage returns the bytes that extents of all files take, before compression, and the number of inodes.
func (s *Store) Usage() (usedBytes, inodes uint64) {
	return s.usedBytes.Load(), s.inodes.Load()
}

// Replay applies a payload from the log without journaling it; after is the position behind it. A payload that the store
// has reached already is skipped. The caller has made the log durable up to after, and goes through it in order.
func (s *Store) Replay(payload []byte, after wal.Position) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.mu.Lock()
	journal, reached := s.log.journal, s.log.reached
	s.log.mu.Unlock()
	switch {
	case s.failed != nil:
		return s.failed
	case journal != nil:
		return fmt.Errorf("replay: %w: a journal is attached", ErrInvalid)
	case after.Compare(reached) <= 0:
		return nil
	}
	if err := s.admit(0); err != nil {
		return err
	}
	// What the transaction says about cached state is decoded first, so that nothing is applied if it is wrong.
	var inodes []Attr
	var gone []Ino
	total := s.counters
	err := decodePayload(payload, func(o op) error {
		var err error
		switch {
		case o.kind == opSet && o.key[0] == kindCounters:
			total, err = decodeCounters(o.value)
		case o.kind == opSet && o.key[0] == kindInode:
			n, _ := keyNumbers(o.key)
			var a Attr
			a, err = decodeAttr(Ino(n), o.value)
			inodes = append(inodes, a)
		case o.kind == opDelete && o.key[0] == kindInode:
			n, _ := keyNumbers(o.key)
			gone = append(gone, Ino(n))
		case o.kind != opSet && o.key[0] == kindCounters, o.kind == opDeleteRange && o.key[0] == kindInode:
			err = fmt.Errorf("%w: no transaction deletes %x", ErrCorrupt, o.key)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := s.apply(payload, after); err != nil {
		return err
	}
	for i := range inodes {
		s.attrs.put(&inodes[i])
	}
	for _, ino := range gone {
		s.attrs.drop(ino)
	}
	s.setCounters(total)
	return nil
}

// Flush puts all transactions applied so far on disk. It returns the error if background work fails meanwhile; the
// store goes on trying, and Flush may be called again.
func (s *Store) Flush(ctx context.Context) error {
	_, err := s.flushTo(ctx)
	return err
}

// flushPatience is how many failed attempts make a Flush fail. The first may have begun before.
const flushPatience = 2

// flushTo is Flush, and says up to where.
func (s *Store) flushTo(ctx context.Context) (wal.Position, error) {
	if err := s.gate.enter(); err != nil {
		return wal.Position{}, err
	}
	defer s.gate.leave()
	// What is applied before the memtable is rotated can only be more than reached says.
	s.log.mu.Lock()
	reached, durable := s.log.reached, s.log.durable
	s.log.mu.Unlock()
	if reached.Compare(durable) <= 0 {
		return durable, nil
	}
	before, changed, _ := s.flush.state()
	flushed, err := s.rotate()
	if err != nil {
		return wal.Position{}, err
	}
	for done := false; !done; {
		select {
		case <-flushed:
			done = true
			continue
		case <-changed:
		case <-ctx.Done():
			return wal.Position{}, fmt.Errorf("flush metadata: %w", ctx.Err())
		case <-s.closing.Done():
			return wal.Position{}, ErrClosed
		}
		var failures uint64
		if failures, changed, err = s.flush.state(); err != nil && failures >= before+flushPatience {
			return wal.Position{}, fmt.Errorf("flush metadata: %w", err)
		}
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if reached.Compare(s.log.durable) > 0 {
		s.log.durable = reached
	}
	return reached, nil
}

// rotate makes pebble flush what it has in memory, and returns what is closed when that is done.
func (s *Store) rotate() (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsampled = s.memTableBytes // each rotation is a memtable more
	if err := s.admit(flushPatience); err != nil {
		return nil, err
	}
	s.unsampled = s.memTableBytes
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return nil, fmt.Errorf("flush metadata: %w", err)
	}
	return flushed, nil
}

// Checkpoint flushes and then makes a copy of the store in a new directory, with hard links where possible. Changes go on meanwhile.
func (s *Store) Checkpoint(dir string) error {
	_, err := s.CheckpointPosition(context.Background(), dir)
	return err
}

// CheckpointPosition is Checkpoint that can be cancelled while it flushes. It also returns a position which the
// copy has reached; the copy may have more, and knows it: replaying from the position returned is always right.
func (s *Store) CheckpointPosition(ctx context.Context, dir string) (wal.Position, error) {
	if err := s.gate.enter(); err != nil {
		return wal.Position{}, err
	}
	defer s.gate.leave()
	reached, err := s.flushTo(ctx)
	if err != nil {
		return wal.Position{}, err
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return wal.Position{}, fmt.Errorf("checkpoint metadata: %w", err)
	}
	return reached, nil
}

// Close waits for running operations and closes the store. What was not flushed is in the log.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	s.close()
	s.gate.close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close metadata store: %w", err)
	}
	return nil
}
