package client

import (
	"bytes"
	"context"

	"github.com/qsfs/qsfs/zdb"
)

// Put is SET in all its forms. An empty key asks a sequential namespace for a new id; such a
// request is not sent again when its connection breaks, or there might be two. A unix time
// other than 0 is that of the write, which only an administrator may set. It gives the key,
// and whether the value was not there already.
func (c *Client) Put(ctx context.Context, key, value []byte, unixTime int64) (stored []byte, changed bool, err error) {
	switch {
	case len(key) > zdb.MaxKeyBytes:
		return nil, false, zdb.ErrKeyTooLarge
	case len(value) > zdb.MaxValueBytes:
		return nil, false, zdb.ErrValueTooLarge
	}
	again := repeat
	if len(key) == 0 {
		again = once
	}
	args := []any{key, value}
	if unixTime != 0 {
		args = append(args, unixTime)
	}
	out, err := c.do(ctx, again, "SET", args...)
	if err != nil {
		return nil, false, err
	}
	if out.reply == nil {
		return key, false, nil
	}
	stored, ok := out.reply.([]byte)
	if !ok || len(stored) == 0 || len(key) > 0 && !bytes.Equal(stored, key) {
		return nil, false, c.unexpected("SET", out.reply)
	}
	return stored, true, nil
}
