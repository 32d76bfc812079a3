package transfer

import (
	"bytes"
	"context"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

// Store is an embedded store as a source and a target.
type Store struct{ *store.Store }

// pageEntries is how many entries one look into the index gives.
const pageEntries = 512

// Page is a piece of a scan.
func (s Store) Page(ctx context.Context, cursor []byte) (page []Entry, next []byte, err error) {
	var last store.Item
	err = s.Scan(ctx, store.ScanOptions{After: cursor}, func(i store.Item) bool {
		page = append(page, Entry{Key: bytes.Clone(i.Key), ValueBytes: i.ValueBytes, UnixTime: i.UnixTime})
		last = i
		return len(page) < pageEntries
	})
	if err != nil {
		return nil, nil, err
	}
	if len(page) == 0 {
		return nil, nil, zdb.ErrNoMoreData
	}
	at := last.Cursor()
	return page, at[:], nil
}

// Set stores a value.
func (s Store) Set(ctx context.Context, key, value []byte, unixTime int64) ([]byte, bool, error) {
	w := &store.Write{Key: key, Value: value, UnixTime: unixTime}
	if err := s.Submit(ctx, w); err != nil {
		return nil, false, err
	}
	if err := w.Wait(ctx); err != nil {
		return nil, false, err
	}
	return w.Key, w.Changed, nil
}

// NextID is the id of the next new value.
func (s Store) NextID(context.Context) (uint64, error) { return s.Stats().NextID, nil }
