package server

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// historyCursorBytes is the length of what HISTORY gives to go on with: see store.Version.
const historyCursorBytes = 8

// history is HISTORY key [cursor]: a cursor to the version before or nil, the time as a
// decimal string, the value. How far back it goes depends on compaction.
func (c *conn) history(req *resp.Request) error {
	if len(req.Args) != 2 && len(req.Args) != 3 {
		c.fail(zdb.TextInvalidArguments)
		return nil
	}
	if !c.thawed() {
		return nil
	}
	var at []byte
	if len(req.Args) == 3 {
		at = req.Args[2]
		switch {
		case len(at) != historyCursorBytes:
			c.fail(zdb.TextInvalidArguments)
			return nil
		case bytes.Equal(at, make([]byte, historyCursorBytes)):
			c.fail(zdb.TextNoMoreHistory)
			return nil
		}
	}
	var v store.Version
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) (err error) {
		v, err = st.History(c.ctx, req.Args[1], at, alloc)
		return err
	})
	switch {
	case err == nil:
		b := resp.AppendArray(make([]byte, 0, 96), 3)
		if v.Older == nil {
			b = resp.AppendNil(b)
		} else {
			b = resp.AppendBulk(b, v.Older)
		}
		b = resp.AppendBulk(b, strconv.FormatInt(v.UnixTime, 10))
		c.srv.stats.readBytes.Add(int64(len(v.Value)))
		c.out.push(reply{head: resp.AppendBulkHead(b, len(v.Value)), body: v.Value, mem: mem})
		return nil
	case errors.Is(err, zdb.ErrNotFound), errors.Is(err, zdb.ErrKeyTooLarge):
		c.fail(zdb.TextKeyNotFound)
	case errors.Is(err, zdb.ErrBadCursor):
		c.fail(zdb.TextHistoryQuery)
	case errors.Is(err, zdb.ErrOtherKey):
		c.fail(zdb.TextHistoryKey)
	default:
		return c.notRead(err, zdb.TextInternalError)
	}
	return nil
}
