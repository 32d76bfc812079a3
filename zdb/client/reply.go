package client

import (
	"context"
	"fmt"

	"github.com/qsfs/qsfs/zdb"
)

// Ping asks the server for a sign of life.
func (c *base) Ping(ctx context.Context) error {
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
func (c *base) integer(ctx context.Context, command string, args ...any) (int64, error) {
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
func (c *base) ok(command string, out outcome, err error) error {
	if err != nil {
		return err
	}
	if s, isText := out.reply.(string); !isText || s != "OK" {
		return c.unexpected(command, out.reply)
	}
	return nil
}

// unexpected is the error for a reply of the wrong kind.
func (c *base) unexpected(command string, reply any) error {
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
