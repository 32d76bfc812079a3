package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/qsfs/qsfs/zdb"
)

// Target is what an import writes to. Get and Set are called at the same time for user keys.
type Target interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	// Set stores a value with its time, durably or so that Sync makes it so. An empty key is for
	// a new id of a sequential target. It gives the key, and whether anything was written.
	Set(ctx context.Context, key, value []byte, unixTime int64) (stored []byte, changed bool, err error)
	Del(ctx context.Context, key []byte) error
	// NextID is the id that the next new value of a sequential target gets.
	NextID(ctx context.Context) (uint64, error)
	Sync(ctx context.Context) error
}

// ImportOptions of Import.
type ImportOptions struct {
	// NewIDs is told what became of each id of a sequential stream, and lets the ids be
	// others. nil: they have to be the same.
	NewIDs   func(was, is uint64) error
	Progress func(records, valueBytes int64)
}

// How much an import writes at the same time.
const (
	writers        = 64
	inFlightBytes  = 32 << 20
	minWriteWeight = 4 << 10
)

// Import stores all records of a stream. When it returns nil they are durable.
func Import(ctx context.Context, t *Reader, to Target, o ImportOptions) (Result, error) {
	m := &importer{t: t, to: to, o: o}
	var err error
	switch {
	case !t.Header.Sequential:
		err = m.userKeys(ctx)
	case o.NewIDs != nil:
		err = m.newIDs(ctx)
	default:
		err = m.sameIDs(ctx)
	}
	if err == nil {
		err = to.Sync(ctx)
	}
	return m.result, err
}

type importer struct {
	t  *Reader
	to Target
	o  ImportOptions

	mu     sync.Mutex // guards result while there are several writers
	result Result
}

func (m *importer) done(r *Record, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.result.Records++
	m.result.ValueBytes += int64(len(r.Value))
	if changed {
		m.result.Written++
	}
	if m.o.Progress != nil {
		m.o.Progress(m.result.Records, m.result.ValueBytes)
	}
}

// userKeys writes with many at a time; those of one key are the work of one writer, in the
// order of the stream.
func (m *importer) userKeys(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	memory := semaphore.NewWeighted(inFlightBytes)
	var queues [writers]chan Record
	for i := range queues {
		queues[i] = make(chan Record, 4)
		group.Go(func() error {
			for r := range queues[i] {
				_, changed, err := m.to.Set(ctx, r.Key, r.Value, r.UnixTime)
				if err != nil {
					return fmt.Errorf("key %s: %w", strconv.Quote(string(r.Key)), err)
				}
				m.done(&r, changed)
				memory.Release(weight(&r))
			}
			return nil
		})
	}
	err := m.feed(ctx, memory, &queues)
	for _, q := range queues {
		close(q) // what was read is still written, whatever follows in the stream
	}
	return cmp.Or(group.Wait(), err)
}

// feed reads the stream and hands each record to the writer of its key.
func (m *importer) feed(ctx context.Context, memory *semaphore.Weighted, queues *[writers]chan Record) error {
	seed := maphash.MakeSeed()
	for {
		r, err := m.t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := memory.Acquire(ctx, weight(&r)); err != nil {
			return err
		}
		select {
		case queues[maphash.Bytes(seed, r.Key)%writers] <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func weight(r *Record) int64 {
	return min(max(int64(len(r.Key)+len(r.Value)), minWriteWeight), inFlightBytes)
}

// Verify reads a stream to its end without keeping anything: ErrDamaged when it is not whole.
func Verify(ctx context.Context, r io.Reader, progress func(records, valueBytes int64)) (Header, Result, error) {
	var result Result
	t, err := NewReader(r)
	if err != nil {
		return Header{}, result, err
	}
	for {
		rec, err := t.Next()
		if errors.Is(err, io.EOF) {
			return t.Header, result, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return t.Header, result, err
		}
		result.Records++
		result.ValueBytes += int64(len(rec.Value))
		if progress != nil {
			progress(result.Records, result.ValueBytes)
		}
	}
}

// isGone says that there is no value.
func isGone(err error) bool { return errors.Is(err, zdb.ErrNotFound) }
