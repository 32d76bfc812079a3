package client

import (
	"context"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

func checkKey(key []byte) error {
	switch {
	case len(key) == 0:
		return zdb.ErrKeyEmpty
	case len(key) > zdb.MaxKeyBytes:
		return zdb.ErrKeyTooLarge
	}
	return nil
}

// Get returns the value of key, or zdb.ErrNotFound. The caller owns the value.
func (c *Client) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return c.get(ctx, key)
}

// Set stores value under key, in place of any value before.
func (c *Client) Set(ctx context.Context, key, value []byte) error {
	return c.SetAt(ctx, key, value, time.Time{})
}

// SetAt is Set with the time that is stored, in whole seconds; the zero time means now.
// Only an administrator may give one. Where this very value is stored already nothing
// changes, not the time either.
func (c *Client) SetAt(ctx context.Context, key, value []byte, at time.Time) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return c.set(ctx, key, value, at)
}

// Del deletes key, or returns zdb.ErrNotFound.
func (c *Client) Del(ctx context.Context, key []byte) error {
	return c.DelAt(ctx, key, time.Time{})
}

// DelAt is Del with the time that is stored with the delete marker. Only an
// administrator may give one.
func (c *Client) DelAt(ctx context.Context, key []byte, at time.Time) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return c.del(ctx, key, at)
}

// Exists reports whether key has a value.
func (c *Client) Exists(ctx context.Context, key []byte) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	return c.exists(ctx, key)
}

// Check makes the server read the value of key and compare its checksum. It returns
// nil when the value is good, zdb.ErrCorrupt when it is damaged or can't be read, and
// zdb.ErrNotFound when there is none.
func (c *Client) Check(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return c.check(ctx, key)
}

// Length returns the size of the value of key in bytes, or zdb.ErrNotFound.
func (c *Client) Length(ctx context.Context, key []byte) (int, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	return c.length(ctx, key)
}

// KeyTime returns when the value of key was written, or zdb.ErrNotFound.
func (c *Client) KeyTime(ctx context.Context, key []byte) (time.Time, error) {
	if err := checkKey(key); err != nil {
		return time.Time{}, err
	}
	return c.keyTime(ctx, key)
}

// MGet returns the values of keys in their order; a missing key has a nil value and
// an empty value is not nil. It sends one MGET for each 64 keys, whose values together
// may have 64 MiB: ask for larger ones with Get. One value that can't be read makes all
// of it an error.
func (c *Client) MGet(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
	}
	return c.mget(ctx, keys)
}

// KeyCursor returns the cursor that a scan would have given behind key, or
// zdb.ErrNotFound: ScanFrom and RScanFrom go on from there.
func (c *Client) KeyCursor(ctx context.Context, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return c.keyCursor(ctx, key)
}
