package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
)

// Client is a namespace of a server, ours or an original 0-db, as a source and a target.
type Client struct {
	*client.Client
	Namespace string

	noTimes atomic.Bool // the server does not let us set them
}

// Page is a piece of a SCAN.
func (c *Client) Page(ctx context.Context, cursor []byte) ([]Entry, []byte, error) {
	entries, next, err := c.ScanPage(ctx, cursor)
	if err != nil {
		return nil, nil, err
	}
	page := make([]Entry, len(entries))
	for i, e := range entries {
		page[i] = Entry{Key: e.Key, ValueBytes: e.SizeBytes, UnixTime: e.Time.Unix()}
	}
	return page, next, nil
}

// Get lets the server check a value and fetches it: an original 0-db serves what is rotten.
func (c *Client) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := c.Check(ctx, key); err != nil {
		return nil, err
	}
	return c.Client.Get(ctx, key)
}

// Set stores a value, with its time as long as the server lets us.
func (c *Client) Set(ctx context.Context, key, value []byte, unixTime int64) ([]byte, bool, error) {
	if unixTime > 0 && !c.noTimes.Load() {
		stored, changed, err := c.Put(ctx, key, value, unixTime)
		if !errors.Is(err, zdb.ErrAccessDenied) {
			return stored, changed, err
		}
		c.noTimes.Store(true)
	}
	return c.Put(ctx, key, value, 0)
}

// TimesLost says that values got the time of the import, because only an administrator may
// give them another.
func (c *Client) TimesLost() bool { return c.noTimes.Load() }

// NextID reads next_internal_id of NSINFO. 0-db prints the bytes of the number backwards, and
// without the zeros in front.
func (c *Client) NextID(ctx context.Context) (uint64, error) {
	info, err := c.NSInfo(ctx, c.Namespace)
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutPrefix(info.Fields["next_internal_id"], "0x")
	n, err := strconv.ParseUint(text, 16, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%w: next_internal_id is %q", zdb.ErrNotZDB, info.Fields["next_internal_id"])
	}
	return bits.ReverseBytes64(n), nil
}

// Sync does nothing: the server answers when it has done its part.
func (c *Client) Sync(context.Context) error { return nil }
