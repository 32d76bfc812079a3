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

// IDEntry is one id of a scan of a sequential namespace.
type IDEntry struct {
	ID        uint64
	SizeBytes int // of its value
	Time      time.Time
}

// Commands that give a page of entries.
const (
	forward  = "SCAN"
	backward = "RSCAN"
)

// Scan walks all keys of the namespace in the order in which they were last written.
// A key written during the walk may come again; one that stays put comes once. The
// walk ends with the first error. Memory is one page, whose size the server chooses.
func (c *Client) Scan(ctx context.Context) iter.Seq2[Entry, error] { return c.walk(ctx, forward, nil) }

// ScanFrom is Scan from behind the entry that a cursor names: one of ScanPage, RScanPage
// or KeyCursor. It holds when that entry is overwritten or deleted.
func (c *Client) ScanFrom(ctx context.Context, cursor []byte) iter.Seq2[Entry, error] {
	return c.walk(ctx, forward, cursor)
}

// RScan is Scan from the last entry back to the first.
func (c *Client) RScan(ctx context.Context) iter.Seq2[Entry, error] {
	return c.walk(ctx, backward, nil)
}

// RScanFrom is RScan from before the entry that a cursor names.
func (c *Client) RScanFrom(ctx context.Context, cursor []byte) iter.Seq2[Entry, error] {
	return c.walk(ctx, backward, cursor)
}

// ScanPage returns the entries after cursor, as many as the server likes to give, and
// the cursor of the next page. A nil cursor begins. The end is zdb.ErrNoMoreData. A
// cursor stays good when keys change; only the server that gave it understands it.
func (c *Client) ScanPage(ctx context.Context, cursor []byte) ([]Entry, []byte, error) {
	return c.page(ctx, forward, cursor)
}

// RScanPage is ScanPage the other way: the entries before cursor, the nearest first.
func (c *Client) RScanPage(ctx context.Context, cursor []byte) ([]Entry, []byte, error) {
	return c.page(ctx, backward, cursor)
}

// Scan walks all ids that have a value, in their order; an overwrite keeps its place.
// What Client.Scan says of errors and memory holds here too.
func (c *Sequential) Scan(ctx context.Context) iter.Seq2[IDEntry, error] {
	return c.ids(c.walk(ctx, forward, nil))
}

// ScanFrom is Scan from behind the id that a cursor names: one of KeyCursor.
func (c *Sequential) ScanFrom(ctx context.Context, cursor []byte) iter.Seq2[IDEntry, error] {
	return c.ids(c.walk(ctx, forward, cursor))
}

// RScan is Scan from the last id back to the first.
func (c *Sequential) RScan(ctx context.Context) iter.Seq2[IDEntry, error] {
	return c.ids(c.walk(ctx, backward, nil))
}

// RScanFrom is RScan from before the id that a cursor names.
func (c *Sequential) RScanFrom(ctx context.Context, cursor []byte) iter.Seq2[IDEntry, error] {
	return c.ids(c.walk(ctx, backward, cursor))
}

// ids makes ids of keys.
func (c *Sequential) ids(entries iter.Seq2[Entry, error]) iter.Seq2[IDEntry, error] {
	return func(yield func(IDEntry, error) bool) {
		for e, err := range entries {
			id, ok := decodeID(e.Key)
			if err == nil && !ok {
				err = c.unexpected("SCAN", e.Key)
			}
			if err != nil {
				yield(IDEntry{}, err)
				return
			}
			if !yield(IDEntry{ID: id, SizeBytes: e.SizeBytes, Time: e.Time}, nil) {
				return
			}
		}
	}
}

// walk asks for page after page.
func (c *base) walk(ctx context.Context, command string, cursor []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		cursor := cursor // each walk begins anew
		for {
			page, next, err := c.page(ctx, command, cursor)
			if errors.Is(err, zdb.ErrNoMoreData) {
				return
			}
			if err == nil && bytes.Equal(next, cursor) {
				err = c.unexpected(command, next) // it would never end
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

func (c *base) page(ctx context.Context, command string, cursor []byte) ([]Entry, []byte, error) {
	var args []any
	if len(cursor) > 0 {
		args = append(args, cursor)
	}
	out, err := c.do(ctx, repeat, command, args...)
	if err != nil {
		return nil, nil, err
	}
	entries, next, ok := decodePage(out.reply)
	if !ok {
		return nil, nil, c.unexpected(command, out.reply)
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

// KScan returns the keys that begin with prefix, and whether they are all: a server may
// stop at what it holds for enough. The original's release build answers
// zdb.ErrNotSupported.
func (c *Client) KScan(ctx context.Context, prefix []byte) (keys [][]byte, all bool, err error) {
	if err := checkKey(prefix); err != nil {
		return nil, false, err
	}
	out, err := c.do(ctx, repeat, "KSCAN", prefix)
	if errors.Is(err, zdb.ErrNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	keys, all, ok := decodeKeys(out.reply)
	if !ok {
		return nil, false, c.unexpected("KSCAN", out.reply)
	}
	return keys, all, nil
}

// decodeKeys takes *2: "0" when these are all and "1" when there are more, array of keys.
func decodeKeys(reply any) (keys [][]byte, all, ok bool) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return nil, false, false
	}
	more, moreOK := parts[0].([]byte)
	rows, rowsOK := parts[1].([]any)
	if !moreOK || !rowsOK || string(more) != "0" && string(more) != "1" {
		return nil, false, false
	}
	for _, row := range rows {
		key, ok := row.([]byte)
		if !ok || checkKey(key) != nil {
			return nil, false, false
		}
		keys = append(keys, key)
	}
	return keys, string(more) == "0", true
}
