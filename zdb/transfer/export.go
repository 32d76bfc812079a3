package transfer

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/qsfs/qsfs/zdb"
)

// Entry is what a source's scan tells of a value.
type Entry struct {
	Key        []byte
	ValueBytes int
	UnixTime   int64
}

// Source is what an export reads. Its methods are called at the same time.
type Source interface {
	// Page gives some entries behind a cursor and the cursor of the last of them. A nil
	// cursor begins; the end is zdb.ErrNoMoreData.
	Page(ctx context.Context, cursor []byte) ([]Entry, []byte, error)
	// Get gives a value: zdb.ErrNotFound when it was deleted since, zdb.ErrCorrupt when the
	// source can't give it any more.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// NextID is the id that the next new value of a sequential source gets.
	NextID(ctx context.Context) (uint64, error)
}

// ExportOptions of Export. The zero value stops at the first damaged value.
type ExportOptions struct {
	// Damaged is told of a value that can't be read, which is then left out. nil: the
	// export ends with an error.
	Damaged  func(key []byte, err error)
	Progress func(records, valueBytes int64)
}

// Result is what an export or import did.
type Result struct {
	Records    int64
	ValueBytes int64
	Written    int64 // import: values that the target did not have
	Filled     int64 // import: ids used up for nothing
	Skipped    int64 // export: values left out because they are damaged
}

// How much an export reads at the same time.
const (
	readAhead      = 32
	readAheadBytes = 32 << 20
	minReadBytes   = 4 << 10
)

// value is an entry whose value is on its way.
type value struct {
	Entry
	weight int64
	data   []byte
	err    error
	ready  chan struct{}
}

// Export writes all of a source. The stream is complete only when it returns nil.
func Export(ctx context.Context, src Source, t *Writer, o ExportOptions) (Result, error) {
	e := &exporter{src: src, o: o, queue: make(chan *value, readAhead), memory: semaphore.NewWeighted(readAheadBytes)}
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return e.scan(within, group) })
	group.Go(func() error { return e.drain(within, t) })
	if err := group.Wait(); err != nil {
		return e.result, err
	}
	if t.h.Sequential {
		next, err := src.NextID(ctx)
		if err != nil {
			return e.result, err
		}
		t.NextID = next
	}
	return e.result, t.Close()
}

type exporter struct {
	src    Source
	o      ExportOptions
	queue  chan *value // in the order of the scan
	memory *semaphore.Weighted
	result Result
}

func (e *exporter) scan(ctx context.Context, group *errgroup.Group) error {
	defer close(e.queue)
	var cursor []byte
	for {
		page, next, err := e.src.Page(ctx, cursor)
		if errors.Is(err, zdb.ErrNoMoreData) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if string(next) == string(cursor) {
			return errors.New("scan: the source gives the same place again and again")
		}
		cursor = next
		for _, entry := range page {
			v := &value{Entry: entry, weight: min(max(int64(entry.ValueBytes), minReadBytes), readAheadBytes), ready: make(chan struct{})}
			if err := e.memory.Acquire(ctx, v.weight); err != nil {
				return err
			}
			select {
			case e.queue <- v:
			case <-ctx.Done():
				return ctx.Err()
			}
			group.Go(func() error {
				defer close(v.ready)
				v.data, v.err = e.src.Get(ctx, v.Key)
				return nil
			})
		}
	}
}

func (e *exporter) drain(ctx context.Context, t *Writer) error {
	for v := range e.queue {
		select {
		case <-v.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := e.write(ctx, v, t); err != nil {
			return err
		}
		e.memory.Release(v.weight)
		v.data = nil
		if e.o.Progress != nil {
			e.o.Progress(e.result.Records, e.result.ValueBytes)
		}
	}
	return ctx.Err()
}

func (e *exporter) write(ctx context.Context, v *value, t *Writer) error {
	switch {
	case v.err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(v.err, zdb.ErrNotFound):
		return nil // deleted since it was listed
	case errors.Is(v.err, zdb.ErrCorrupt) && e.o.Damaged != nil:
		e.result.Skipped++
		e.o.Damaged(v.Key, v.err)
		return nil
	default:
		return fmt.Errorf("value of key %s: %w", strconv.Quote(string(v.Key)), v.err)
	}
	if err := t.Write(Record{Key: v.Key, Value: v.data, UnixTime: v.UnixTime}); err != nil {
		return err
	}
	e.result.Records++
	e.result.ValueBytes += int64(len(v.data))
	return nil
}
