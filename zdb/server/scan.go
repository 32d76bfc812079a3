package server

import (
	"errors"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

const (
	// A page of SCAN has at most this many entries, and fits the bytes whatever they are.
	maxPageEntries = 512
	maxPageBytes   = maxPageEntries * (zdb.MaxKeyBytes + 64)

	// KSCAN replies with as many keys as fit.
	maxKeysBytes = 1 << 20
	keysAll      = "0" // what KSCAN puts in front of its keys when they are all
	keysCut      = "1" // and when there are more
)

func (c *conn) scan(req *resp.Request) error  { return c.page(req, false) }
func (c *conn) rscan(req *resp.Request) error { return c.page(req, true) }

// page is SCAN [cursor] and RSCAN [cursor].
func (c *conn) page(req *resp.Request, reverse bool) error {
	if !c.thawed() {
		return nil
	}
	o := store.ScanOptions{Reverse: reverse}
	if len(req.Args) > 1 {
		o.After = append([]byte{}, req.Args[1]...)
	}
	var items []byte
	var last store.Item
	n := 0
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) error {
		b := alloc(maxPageBytes)
		if b == nil {
			return nil // again, with the memory
		}
		items, n = b[:0], 0
		return st.Scan(c.ctx, o, func(i store.Item) bool {
			items = resp.AppendArray(items, 3)
			items = resp.AppendBulk(items, i.Key)
			items = resp.AppendInt(items, int64(i.ValueBytes))
			items = resp.AppendInt(items, i.UnixTime)
			last = i
			n++
			return n < maxPageEntries
		})
	})
	switch {
	case errors.Is(err, zdb.ErrBadCursor):
		c.fail(zdb.TextInvalidCursor)
	case err != nil:
		return c.notRead(err, zdb.TextInternalError)
	case n == 0:
		mem.Release()
		c.fail(zdb.TextNoMoreData)
	default:
		b := resp.AppendArray(make([]byte, 0, 64), 2)
		next := last.Cursor()
		b = resp.AppendBulk(b, next[:])
		c.list(resp.AppendArray(b, n), items, mem)
	}
	return nil
}

// list replies with head and items; the line end of the last item follows the body of a reply by itself.
func (c *conn) list(head, items []byte, mem resp.Buffer) {
	c.out.push(reply{head: head, body: items[:len(items)-len(lineEnd)], mem: mem})
}

// kscan is KSCAN prefix: the keys that begin with it.
func (c *conn) kscan(req *resp.Request) error {
	if c.ns.settings.Load().Mode != userKeys {
		c.fail(zdb.TextNotInThisMode)
		return nil
	}
	if !c.argumentsGood(req, 2, false) {
		return nil
	}
	prefix := req.Args[1]
	var items []byte
	n, more := 0, keysAll
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) error {
		b := alloc(maxKeysBytes)
		if b == nil {
			return nil
		}
		items, n, more = b[:0], 0, keysAll
		return st.Keys(c.ctx, prefix, func(key []byte) bool {
			if len(items)+len(key)+16 > maxKeysBytes {
				more = keysCut
				return false
			}
			items = resp.AppendBulk(items, key)
			n++
			return true
		})
	})
	switch {
	case err != nil:
		return c.notRead(err, zdb.TextInternalError)
	case n == 0:
		mem.Release()
		c.fail(zdb.TextNoKeysMatch)
	default:
		b := resp.AppendArray(make([]byte, 0, 64), 2)
		b = resp.AppendBulk(b, more)
		c.list(resp.AppendArray(b, n), items, mem)
	}
	return nil
}

// keycur is KEYCUR key: the cursor with which SCAN goes on behind the key.
func (c *conn) keycur(req *resp.Request) error {
	if !c.thawed() {
		return nil
	}
	return c.withStore(func(st *store.Store) []byte {
		cursor, err := st.KeyCursor(c.ctx, req.Args[1])
		switch {
		case err == nil:
			return resp.AppendBulk(nil, cursor[:])
		case errors.Is(err, zdb.ErrNotFound), errors.Is(err, zdb.ErrKeyTooLarge):
			return resp.AppendError(nil, zdb.TextKeyNotFound)
		}
		c.noteUnread(err)
		return resp.AppendError(nil, zdb.TextInternalError)
	})
}
