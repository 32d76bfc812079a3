package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// mgetKeys is how many keys one MGET asks for.
const mgetKeys = 64

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

// Set stores value under key, in place of any value before.
func (c *Client) Set(ctx context.Context, key, value []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) > zdb.MaxValueBytes {
		return zdb.ErrValueTooLarge
	}
	out, err := c.do(ctx, repeat, "SET", key, value)
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

// Del deletes key, or returns zdb.ErrNotFound.
func (c *Client) Del(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	out, err := c.do(ctx, repeat, "DEL", key)
	if errors.Is(err, zdb.ErrNotFound) {
		if out.resent {
			return nil // the first try may have deleted it
		}
		return zdb.ErrNotFound
	}
	return c.ok("DEL", out, err)
}

// Exists reports whether key has a value.
func (c *Client) Exists(ctx context.Context, key []byte) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	n, err := c.integer(ctx, "EXISTS", key)
	return n == 1, err
}

// Check makes the server read the value of key and compare its checksum. It returns
// nil when the value is good, zdb.ErrCorrupt when it is damaged or can't be read, and
// zdb.ErrNotFound when there is none.
func (c *Client) Check(ctx context.Context, key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	n, err := c.integer(ctx, "CHECK", key)
	switch {
	case err != nil:
		return err
	case n == 1:
		return nil
	}
	return fmt.Errorf("check %s: %w", c.target, zdb.ErrCorrupt)
}

// Length returns the size of the value of key in bytes, or zdb.ErrNotFound.
func (c *Client) Length(ctx context.Context, key []byte) (int, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	n, err := c.integer(ctx, "LENGTH", key)
	if err == nil && (n < 0 || n > zdb.MaxValueBytes) {
		return 0, c.unexpected("LENGTH", n)
	}
	return int(n), err
}

// KeyTime returns when the value of key was written, or zdb.ErrNotFound.
func (c *Client) KeyTime(ctx context.Context, key []byte) (time.Time, error) {
	if err := checkKey(key); err != nil {
		return time.Time{}, err
	}
	n, err := c.integer(ctx, "KEYTIME", key)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0), nil
}

// MGet returns the values of keys in their order; a missing key has a nil value and
// an empty value is not nil. It sends one MGET for each 64 keys, whose values together
// may have 64 MiB: ask for larger ones with Get.
func (c *Client) MGet(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, err
		}
	}
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
			value, ok := reply.([]byte)
			if !ok && reply != nil {
				return nil, c.unexpected("MGET", reply)
			}
			values = append(values, value)
		}
	}
	return values, nil
}

// Ping asks the server for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	out, err := c.do(ctx, repeat, "PING")
	if err != nil {
		return err
	}
	if s, ok := out.reply.(string); !ok || s != "PONG" {
		return c.unexpected("PING", out.reply)
	}
	return nil
}

// integer sends a command about one key; nil is zdb.ErrNotFound.
func (c *Client) integer(ctx context.Context, command string, args ...any) (int64, error) {
	out, err := c.do(ctx, repeat, command, args...)
	if err != nil {
		return 0, err
	}
	switch n := out.reply.(type) {
	case nil:
		return 0, zdb.ErrNotFound
	case int64:
		return n, nil
	}
	return 0, c.unexpected(command, out.reply)
}

// ok takes a reply that can only be OK.
func (c *Client) ok(command string, out outcome, err error) error {
	if err != nil {
		return err
	}
	if s, isText := out.reply.(string); !isText || s != "OK" {
		return c.unexpected(command, out.reply)
	}
	return nil
}

// unexpected is the error for a reply of the wrong kind.
func (c *Client) unexpected(command string, reply any) error {
	return fmt.Errorf("%s: %w", c.target, &violation{fmt.Sprintf("%s was answered with %s", command, kindOf(reply))})
}

func kindOf(reply any) string {
	switch r := reply.(type) {
	case nil:
		return "nil"
	case []byte:
		return fmt.Sprintf("a string of %d bytes", len(r))
	case []any:
		return fmt.Sprintf("an array of %d", len(r))
	case int64:
		return fmt.Sprintf("the integer %d", r)
	}
	return "a status"
}

// printable makes a server's text fit for logs and terminals: no control bytes, not
// endless. Texts that a 0-db sends come through unchanged.
func printable(text string) string {
	const most = 200
	clean := make([]byte, 0, min(len(text), most))
	for i := 0; i < len(text) && i < most; i++ {
		if b := text[i]; b >= ' ' && b < 0x7f {
			clean = append(clean, b)
		} else {
			clean = append(clean, '?')
		}
	}
	return string(clean)
}
