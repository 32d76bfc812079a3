package client

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Version is a value that a key has or had.
type Version struct {
	Value []byte
	Time  time.Time // of the write
	Older []byte    // leads to the version before, nil when there is none: see HistoryAt
}

// historyCursorBytes is the length of Version.Older.
const historyCursorBytes = 8

// History walks the versions of a key, the present one first. A key without a value is
// zdb.ErrNotFound. How far back it goes is the server's affair: compaction ends it.
func (c *Client) History(ctx context.Context, key []byte) iter.Seq2[Version, error] {
	return c.versions(ctx, key, checkKey(key))
}

// HistoryAt returns one version of a key: the present one with a nil cursor, else the
// one that Older of a later version leads to.
//
// Errors: zdb.ErrNotFound, zdb.ErrBadCursor when nothing is there or no longer,
// zdb.ErrOtherKey when it is a version of another key, zdb.ErrNoMoreData, zdb.ErrCorrupt.
func (c *Client) HistoryAt(ctx context.Context, key, cursor []byte) (Version, error) {
	if err := checkKey(key); err != nil {
		return Version{}, err
	}
	return c.version(ctx, key, cursor)
}

// History walks the versions of the value of an id, as Client.History does.
func (c *Sequential) History(ctx context.Context, id uint64) iter.Seq2[Version, error] {
	return c.versions(ctx, encodeID(id), nil)
}

// HistoryAt returns one version of the value of an id, as Client.HistoryAt does.
func (c *Sequential) HistoryAt(ctx context.Context, id uint64, cursor []byte) (Version, error) {
	return c.version(ctx, encodeID(id), cursor)
}

func (c *base) versions(ctx context.Context, key []byte, bad error) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		if bad != nil {
			yield(Version{}, bad)
			return
		}
		var cursor []byte
		for {
			v, err := c.version(ctx, key, cursor)
			if err == nil && cursor != nil && bytes.Equal(v.Older, cursor) {
				err = c.unexpected("HISTORY", v.Older) // it would never end
			}
			if err != nil {
				yield(Version{}, err)
				return
			}
			if !yield(v, nil) || v.Older == nil {
				return
			}
			cursor = v.Older
		}
	}
}

func (c *base) version(ctx context.Context, key, cursor []byte) (Version, error) {
	args := []any{key}
	if cursor != nil {
		if len(cursor) != historyCursorBytes {
			return Version{}, zdb.ErrBadCursor
		}
		args = append(args, cursor)
	}
	out, err := c.do(ctx, repeat, "HISTORY", args...)
	if errors.Is(err, zdb.ErrNotFound) {
		return Version{}, zdb.ErrNotFound
	}
	if err != nil {
		return Version{}, err
	}
	v, ok := decodeVersion(out.reply)
	if !ok {
		return Version{}, c.unexpected("HISTORY", out.reply)
	}
	return v, nil
}

// decodeVersion takes *3: cursor of 8 bytes or nil, unix time as a decimal string, value.
func decodeVersion(reply any) (Version, bool) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 3 {
		return Version{}, false
	}
	older, hasOlder := parts[0].([]byte)
	seconds, timeOK := parts[1].([]byte)
	value, valueOK := parts[2].([]byte)
	if hasOlder && len(older) != historyCursorBytes || !hasOlder && parts[0] != nil || !timeOK || !valueOK {
		return Version{}, false
	}
	unix, err := strconv.ParseInt(string(seconds), 10, 64)
	if err != nil {
		return Version{}, false
	}
	return Version{Value: value, Time: time.Unix(unix, 0), Older: older}, true
}
