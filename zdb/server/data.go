package server

import (
	"errors"
	"strconv"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// maxPageEntries bounds a page of SCAN.
const maxPageEntries = 512

// set is SET key value [timestamp].
func (c *conn) set(req *resp.Request) error {
	if len(req.Args) == 4 {
		if !c.isAdmin() {
			return nil
		}
	} else if !c.argumentsGood(req, 3, true) {
		return nil
	}
	if len(req.Args[1]) > zdb.MaxKeyBytes {
		c.fail(zdb.TextKeyTooLarge)
		return nil
	}
	if !c.mayWrite() {
		return nil
	}
	if len(req.Args[1]) == 0 {
		c.fail(zdb.TextKeyNeeded)
		return nil
	}
	w := store.Write{Key: req.Args[1], Value: req.Args[2], WriteOnce: c.ns.settings.Load().Worm}
	if len(req.Args) == 4 && !c.timestamp(req.Args[3], &w) {
		return nil
	}
	return c.submit(req, &w)
}

// del is DEL key [timestamp].
func (c *conn) del(req *resp.Request) error {
	if len(req.Args) == 3 {
		if !c.isAdmin() {
			return nil
		}
	} else if !c.argumentsGood(req, 2, false) {
		return nil
	}
	if len(req.Args[1]) > zdb.MaxKeyBytes {
		c.fail(zdb.TextInvalidKey)
		return nil
	}
	if !c.mayWrite() {
		return nil
	}
	if len(req.Args[1]) == 0 {
		c.fail(zdb.TextKeyNotFound)
		return nil
	}
	w := store.Write{Key: req.Args[1], Delete: true, WriteOnce: c.ns.settings.Load().Worm}
	if len(req.Args) == 3 && !c.timestamp(req.Args[2], &w) {
		return nil
	}
	return c.submit(req, &w)
}

func (c *conn) timestamp(arg []byte, w *store.Write) bool {
	t, err := strconv.ParseInt(string(arg), 10, 64)
	if err != nil || t < 0 {
		c.fail(zdb.TextInvalidArgument)
		return false
	}
	w.UnixTime = t
	return true
}

// submit hands a write to the store; its reply follows when that is done.
func (c *conn) submit(req *resp.Request, w *store.Write) error {
	st, err := c.srv.spaces.acquire(c.ns)
	if err != nil {
		c.out.settle()
		return c.noStore(err)
	}
	p := &pendingWrite{ns: c.ns, request: *req}
	p.write.Key, p.write.Value, p.write.Delete = w.Key, w.Value, w.Delete
	p.write.UnixTime, p.write.WriteOnce = w.UnixTime, w.WriteOnce
	if err := st.Submit(c.ctx, &p.write); err != nil {
		c.srv.spaces.release(c.ns)
		return errHangUp // the server closes
	}
	*req = resp.Request{} // the reply releases it
	c.out.push(reply{write: p})
	return nil
}

// outcome waits for a write and makes its reply.
func (c *conn) outcome(r *reply) {
	p := r.write
	// Without a context: what the store has begun with it ends.
	err := p.write.Wait(noDeadline)
	switch {
	case err == nil && p.write.Delete:
		r.head = resp.AppendStatus(nil, "OK")
	case err == nil && !p.write.Changed:
		r.head = resp.AppendNil(nil)
	case err == nil:
		r.head = resp.AppendBulk(nil, p.write.Key)
		c.srv.stats.writeBytes.Add(int64(len(p.write.Value)))
	default:
		r.head = resp.AppendError(nil, c.writeErrorText(err, p.write.Delete))
	}
	c.srv.spaces.release(p.ns)
	p.request.Release()
	r.write = nil
}

func (c *conn) writeErrorText(err error, del bool) string {
	switch {
	case errors.Is(err, zdb.ErrNotFound):
		return zdb.TextKeyNotFound
	case errors.Is(err, zdb.ErrWorm) && del:
		return zdb.TextWormDelete
	case errors.Is(err, zdb.ErrWorm):
		return zdb.TextWorm
	case errors.Is(err, zdb.ErrNoSpace):
		return zdb.TextNoSpace
	}
	c.srv.stats.writeFailed.Add(1)
	if del {
		return zdb.TextCannotDelete
	}
	return zdb.TextCannotWrite
}

func (c *conn) get(req *resp.Request) error {
	if !c.readable(req.Args[1]) {
		return nil
	}
	return c.withStore(func(st *store.Store) error { return c.value(st, req.Args[1]) })
}

func (c *conn) mget(req *resp.Request) error {
	if len(req.Args) < 2 {
		c.fail(zdb.TextInvalidArguments)
		return nil
	}
	for _, key := range req.Args[1:] {
		if len(key) > zdb.MaxKeyBytes {
			c.fail(zdb.TextInvalidKey)
			return nil
		}
	}
	if !c.thawed() {
		return nil
	}
	return c.withStore(func(st *store.Store) error {
		c.encoded(resp.AppendArray(nil, len(req.Args)-1))
		for _, key := range req.Args[1:] {
			if err := c.value(st, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// value replies with the value of a key. It is read into memory of the budget and goes
// to the connection from there.
func (c *conn) value(st *store.Store, key []byte) error {
	var mem resp.Buffer
	var over error
	v, err := st.GetInto(c.ctx, key, func(n int) []byte {
		if mem, over = c.srv.budget.Get(c.ctx, n); over != nil {
			return nil
		}
		return mem.Bytes
	})
	switch {
	case over != nil: // the server closes
		return errHangUp
	case err == nil:
		c.srv.stats.readBytes.Add(int64(len(v)))
		c.out.push(reply{head: resp.AppendBulkHead(make([]byte, 0, 16), len(v)), body: v, mem: mem})
		return nil
	}
	mem.Release()
	if errors.Is(err, zdb.ErrNotFound) {
		c.null()
		return nil
	}
	c.srv.stats.readFailed.Add(1)
	c.srv.opts.Log.Error("value not readable", "namespace", c.ns.name, "err", err)
	c.fail(zdb.TextInternalError)
	return nil
}

func (c *conn) exists(req *resp.Request) error {
	return c.stat(req, func(_ store.Info, found bool) {
		if found {
			c.integer(1)
		} else {
			c.integer(0)
		}
	})
}

func (c *conn) length(req *resp.Request) error {
	return c.stat(req, func(i store.Info, found bool) {
		if found {
			c.integer(int64(i.ValueBytes))
		} else {
			c.null()
		}
	})
}

func (c *conn) keytime(req *resp.Request) error {
	return c.stat(req, func(i store.Info, found bool) {
		if found {
			c.integer(i.UnixTime)
		} else {
			c.null()
		}
	})
}

func (c *conn) stat(req *resp.Request, answer func(store.Info, bool)) error {
	if !c.readable(req.Args[1]) {
		return nil
	}
	return c.withStore(func(st *store.Store) error {
		info, err := st.Stat(c.ctx, req.Args[1])
		if err != nil && !errors.Is(err, zdb.ErrNotFound) {
			c.srv.stats.readFailed.Add(1)
			c.fail(zdb.TextInternalError)
			return nil
		}
		answer(info, err == nil)
		return nil
	})
}

// check is CHECK key: 1 whole, 0 checksum wrong, -1 unreadable, nil unknown.
func (c *conn) check(req *resp.Request) error {
	if !c.readable(req.Args[1]) {
		return nil
	}
	return c.withStore(func(st *store.Store) error {
		var mem resp.Buffer
		var over error
		_, err := st.GetInto(c.ctx, req.Args[1], func(n int) []byte {
			mem, over = c.srv.budget.Get(c.ctx, n)
			return mem.Bytes
		})
		mem.Release()
		switch {
		case over != nil:
			return errHangUp
		case err == nil:
			c.integer(1)
		case errors.Is(err, zdb.ErrNotFound):
			c.null()
		case errors.Is(err, zdb.ErrCorrupt):
			c.integer(0)
		default:
			c.integer(-1)
		}
		return nil
	})
}

func (c *conn) dbsize(*resp.Request) error {
	return c.withStore(func(st *store.Store) error {
		c.integer(st.Len())
		return nil
	})
}

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
	return c.withStore(func(st *store.Store) error {
		var items []byte
		var next store.Cursor
		n := 0
		err := st.Scan(c.ctx, o, func(i store.Item) bool {
			items = resp.AppendArray(items, 3)
			items = resp.AppendBulk(items, i.Key)
			items = resp.AppendInt(items, int64(i.ValueBytes))
			items = resp.AppendInt(items, i.UnixTime)
			next = i.Cursor
			n++
			return n < maxPageEntries
		})
		switch {
		case errors.Is(err, zdb.ErrBadCursor):
			c.fail(zdb.TextInvalidCursor)
		case err != nil:
			c.srv.stats.readFailed.Add(1)
			c.fail(zdb.TextInternalError)
		case n == 0:
			c.fail(zdb.TextNoMoreData)
		default:
			b := resp.AppendArray(make([]byte, 0, len(items)+64), 2)
			b = resp.AppendBulk(b, next[:])
			b = resp.AppendArray(b, n)
			c.encoded(append(b, items...))
		}
		return nil
	})
}
