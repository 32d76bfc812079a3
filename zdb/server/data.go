package server

import (
	"errors"
	"strconv"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

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
	s := c.ns.settings.Load()
	if len(req.Args[1]) == 0 && s.Mode == userKeys {
		c.fail(zdb.TextKeyNeeded)
		return nil
	}
	w := store.Write{Key: req.Args[1], Value: req.Args[2], WriteOnce: s.Worm}
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

// submit hands a write to the store; its reply follows when that is done. A store that
// is closed meanwhile does it first.
func (c *conn) submit(req *resp.Request, w *store.Write) error {
	st, err := c.srv.spaces.acquire(c.ns)
	if err != nil {
		c.out.settle()
		if errors.Is(err, zdb.ErrNoSpace) {
			c.fail(zdb.TextNoSpace)
			return nil
		}
		return c.noStore(err)
	}
	p := c.out.spareWrite()
	p.ns, p.command, p.request, p.watch = c.ns, c.command, *req, c.watch
	p.write.Key, p.write.Value, p.write.Delete = w.Key, w.Value, w.Delete
	p.write.UnixTime, p.write.WriteOnce = w.UnixTime, w.WriteOnce
	err = st.Submit(c.ctx, &p.write)
	c.srv.spaces.release(c.ns)
	switch {
	case err == nil:
	case errors.Is(err, zdb.ErrClosed), c.ctx.Err() != nil:
		return errHangUp // the server closes
	default:
		c.out.settle()
		c.fail(c.writeErrorText(err, w.Delete))
		return nil
	}
	*req, c.watch, c.submitted = resp.Request{}, stopwatch{}, true // the reply releases and stops them
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
		text := c.writeErrorText(err, p.write.Delete)
		c.srv.measures.failed(text)
		r.head = resp.AppendError(nil, text)
	}
	p.watch.stop()
	c.srv.waits.ran(c, p.ns, p.command)
	c.out.release(p)
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
	case errors.Is(err, zdb.ErrKeyEmpty): // the mode has just changed
		return zdb.TextKeyNeeded
	case errors.Is(err, zdb.ErrUpdateOnly):
		return zdb.TextUpdateOnly
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
	return c.value(req.Args[1])
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
	c.out.settle()
	c.out.hold(true) // the reply of a WAIT is not to come between the items
	defer c.out.hold(false)
	c.encoded(resp.AppendArray(nil, len(req.Args)-1))
	for _, key := range req.Args[1:] {
		if err := c.value(key); err != nil {
			return err
		}
	}
	return nil
}

// value replies with the value of a key. It is read into memory of the budget and goes
// to the connection from there.
func (c *conn) value(key []byte) error {
	var v []byte
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) (err error) {
		v, err = st.GetInto(c.ctx, key, alloc)
		return err
	})
	switch {
	case err == nil:
		c.srv.stats.readBytes.Add(int64(len(v)))
		c.out.push(reply{head: resp.AppendBulkHead(make([]byte, 0, 16), len(v)), body: v, mem: mem})
		return nil
	case errors.Is(err, zdb.ErrNotFound):
		c.null()
		return nil
	}
	return c.notRead(err, zdb.TextInternalError)
}

func (c *conn) exists(req *resp.Request) error {
	return c.stat(req, func(_ store.Info, found bool) []byte {
		if found {
			return resp.AppendInt(nil, 1)
		}
		return resp.AppendInt(nil, 0)
	})
}

func (c *conn) length(req *resp.Request) error {
	return c.stat(req, func(i store.Info, found bool) []byte {
		if found {
			return resp.AppendInt(nil, int64(i.ValueBytes))
		}
		return resp.AppendNil(nil)
	})
}

func (c *conn) keytime(req *resp.Request) error {
	return c.stat(req, func(i store.Info, found bool) []byte {
		if found {
			return resp.AppendInt(nil, i.UnixTime)
		}
		return resp.AppendNil(nil)
	})
}

func (c *conn) stat(req *resp.Request, answer func(store.Info, bool) []byte) error {
	if !c.readable(req.Args[1]) {
		return nil
	}
	return c.withStore(func(st *store.Store) []byte {
		info, err := st.Stat(c.ctx, req.Args[1])
		if err != nil && !errors.Is(err, zdb.ErrNotFound) {
			c.noteUnread(err)
			return resp.AppendError(nil, zdb.TextInternalError)
		}
		return answer(info, err == nil)
	})
}

// check is CHECK key: 1 whole, 0 checksum wrong, -1 unreadable, nil unknown.
func (c *conn) check(req *resp.Request) error {
	if !c.readable(req.Args[1]) {
		return nil
	}
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) error {
		_, err := st.GetInto(c.ctx, req.Args[1], alloc)
		return err
	})
	mem.Release()
	switch {
	case err == nil:
		c.integer(1)
	case errors.Is(err, zdb.ErrNotFound):
		c.null()
	case errors.Is(err, zdb.ErrCorrupt):
		c.srv.spaces.missing(err)
		c.integer(0)
	case errors.Is(err, zdb.ErrNamespaceNotFound), errors.Is(err, zdb.ErrClosed), c.ctx.Err() != nil:
		return c.notRead(err, zdb.TextInternalError)
	default:
		c.noteUnread(err)
		c.integer(-1)
	}
	return nil
}

func (c *conn) dbsize(*resp.Request) error {
	return c.withStore(func(st *store.Store) []byte { return resp.AppendInt(nil, st.Len()) })
}
