package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// This file has the commands about keys, in both modes. The keys are good: a caller's
// own (userkey.go), or ids (sequential.go).

// mgetKeys is how many keys one MGET asks for.
const mgetKeys = 64

func (c *base) get(ctx context.Context, key []byte) ([]byte, error) {
	out, err := c.do(ctx, repeat, "GET", key)
	if err != nil {
		return nil, err
	}
	if out.reply == nil {
		return nil, zdb.ErrNotFound
	}
	value, ok := out.reply.([]byte)
	if !ok {
		return nil, c.unexpected("GET", out.reply)
	}
	return value, nil
}

// set stores value under key; the time is now unless it is given.
func (c *base) set(ctx context.Context, key, value []byte, at time.Time) error {
	args, err := setArguments(key, value, at)
	if err != nil {
		return err
	}
	out, err := c.do(ctx, repeat, "SET", args...)
	if errors.Is(err, zdb.ErrWorm) && out.resent {
		// The first try may have been carried out: then the value is there.
		if stored, readErr := c.get(ctx, key); readErr == nil && bytes.Equal(stored, value) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	// The reply is the key, or nil when this very value is stored already.
	if out.reply == nil {
		return nil
	}
	if stored, ok := out.reply.([]byte); !ok || !slices.Equal(stored, key) {
		return c.unexpected("SET", out.reply)
	}
	return nil
}

// setArguments are those of SET key value [timestamp].
func setArguments(key, value []byte, at time.Time) ([]any, error) {
	if len(value) > zdb.MaxValueBytes {
		return nil, zdb.ErrValueTooLarge
	}
	if key == nil {
		key = []byte{} // redigo sends nil as an empty string too; this one is meant
	}
	return timed([]any{key, value}, at)
}

// timed appends a time to the arguments of SET or DEL, unless it is zero. Servers keep
// 32 bits of it, or more.
func timed(args []any, at time.Time) ([]any, error) {
	if at.IsZero() {
		return args, nil
	}
	seconds := at.Unix()
	if seconds < 0 || seconds > 1<<32-1 {
		return nil, fmt.Errorf("time %s is not one that 0-db can keep", at.UTC().Format(time.RFC3339))
	}
	return append(args, strconv.FormatInt(seconds, 10)), nil
}

func (c *base) del(ctx context.Context, key []byte, at time.Time) error {
	args, err := timed([]any{key}, at)
	if err != nil {
		return err
	}
	out, err := c.do(ctx, repeat, "DEL", args...)
	if errors.Is(err, zdb.ErrNotFound) {
		if out.resent {
			return nil // the first try may have deleted it
		}
		return zdb.ErrNotFound
	}
	return c.ok("DEL", out, err)
}

func (c *base) exists(ctx context.Context, key []byte) (bool, error) {
	n, err := c.integer(ctx, "EXISTS", key)
	if err == nil && n != 0 && n != 1 {
		err = c.unexpected("EXISTS", n)
	}
	return n == 1, err
}

func (c *base) check(ctx context.Context, key []byte) error {
	n, err := c.integer(ctx, "CHECK", key)
	switch {
	case err != nil:
		return err
	case n == 1:
		return nil
	}
	return fmt.Errorf("check %s: %w", c.target, zdb.ErrCorrupt)
}

func (c *base) length(ctx context.Context, key []byte) (int, error) {
	n, err := c.integer(ctx, "LENGTH", key)
	if err == nil && (n < 0 || n > zdb.MaxValueBytes) {
		return 0, c.unexpected("LENGTH", n)
	}
	return int(n), err
}

func (c *base) keyTime(ctx context.Context, key []byte) (time.Time, error) {
	n, err := c.integer(ctx, "KEYTIME", key)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0), nil
}

func (c *base) mget(ctx context.Context, keys [][]byte) ([][]byte, error) {
	values := make([][]byte, 0, len(keys))
	for part := range slices.Chunk(keys, mgetKeys) {
		args := make([]any, len(part))
		for i, key := range part {
			args[i] = key
		}
		out, err := c.do(ctx, repeat, "MGET", args...)
		if err != nil {
			return nil, err
		}
		replies, ok := out.reply.([]any)
		if !ok || len(replies) != len(part) {
			return nil, c.unexpected("MGET", out.reply)
		}
		for _, reply := range replies {
			value, err := c.mgetValue(reply)
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
	}
	return values, nil
}

// mgetValue takes one of MGET's replies. A value that can't be read is an error among
// the others.
func (c *base) mgetValue(reply any) ([]byte, error) {
	switch r := reply.(type) {
	case nil:
		return nil, nil
	case []byte:
		return r, nil
	case error:
		return nil, fmt.Errorf("mget %s: %w", c.target, zdb.FromText(printable(r.Error())))
	}
	return nil, c.unexpected("MGET", reply)
}

func (c *base) keyCursor(ctx context.Context, key []byte) ([]byte, error) {
	cursor, err := c.text(ctx, "KEYCUR", key)
	if errors.Is(err, zdb.ErrNotFound) {
		return nil, zdb.ErrNotFound
	}
	if err == nil && len(cursor) == 0 {
		return nil, c.unexpected("KEYCUR", cursor)
	}
	return cursor, err
}

// idBytes is the length of a key of a sequential namespace.
const idBytes = 8

func encodeID(id uint64) []byte { return binary.LittleEndian.AppendUint64(nil, id) }

func decodeID(key []byte) (uint64, bool) {
	if len(key) != idBytes {
		return 0, false
	}
	return binary.LittleEndian.Uint64(key), true
}
