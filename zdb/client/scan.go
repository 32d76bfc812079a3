package client

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Entry is one key of a scan.
type Entry struct {
	Key       []byte
	SizeBytes int // of its value
	Time      time.Time
}

// Scan walks all keys of the namespace in the order in which they were last written.
// A key written during the walk may come again; one that stays put comes once. The
// walk ends with the first error. Memory is one page, whose size the server chooses.
func (c *Client) Scan(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var cursor []byte
		for {
			page, next, err := c.ScanPage(ctx, cursor)
			if errors.Is(err, zdb.ErrNoMoreData) {
				return
			}
			if err == nil && bytes.Equal(next, cursor) {
				err = c.unexpected("SCAN", next) // it would never end
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			cursor = next
		}
	}
}

// ScanPage returns the entries after cursor, as many as the server likes to give, and
// the cursor of the next page. A nil cursor begins. The end is zdb.ErrNoMoreData. A
// cursor stays good when keys change; only the server that gave it understands it.
func (c *Client) ScanPage(ctx context.Context, cursor []byte) ([]Entry, []byte, error) {
	var args []any
	if len(cursor) > 0 {
		args = append(args, cursor)
	}
	out, err := c.do(ctx, repeat, "SCAN", args...)
	if err != nil {
		return nil, nil, err
	}
	entries, next, ok := decodePage(out.reply)
	if !ok {
		return nil, nil, c.unexpected("SCAN", out.reply)
	}
	return entries, next, nil
}

// decodePage takes *2: next cursor, array of *3: key, length, unix time.
func decodePage(reply any) ([]Entry, []byte, bool) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return nil, nil, false
	}
	next, ok := parts[0].([]byte)
	if !ok || len(next) == 0 {
		return nil, nil, false
	}
	rows, ok := parts[1].([]any)
	if !ok {
		return nil, nil, false
	}
	entries := make([]Entry, 0, len(rows))
	for _, row := range rows {
		cells, ok := row.([]any)
		if !ok || len(cells) != 3 {
			return nil, nil, false
		}
		key, keyOK := cells[0].([]byte)
		size, sizeOK := cells[1].(int64)
		unix, timeOK := cells[2].(int64)
		if !keyOK || !sizeOK || !timeOK || checkKey(key) != nil || size < 0 || size > zdb.MaxValueBytes {
			return nil, nil, false
		}
		entries = append(entries, Entry{Key: key, SizeBytes: int(size), Time: time.Unix(unix, 0)})
	}
	return entries, next, true
}
