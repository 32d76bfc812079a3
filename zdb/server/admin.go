package server

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

var noDeadline = context.Background()

func (c *conn) ping(*resp.Request) error { c.status("PONG"); return nil }
func (c *conn) stop(*resp.Request) error { c.fail(zdb.TextUnauthorized); return nil }

func (c *conn) time(*resp.Request) error {
	now := time.Now()
	b := resp.AppendArray(nil, 2)
	b = resp.AppendBulk(b, strconv.FormatInt(now.Unix(), 10))
	c.encoded(resp.AppendBulk(b, strconv.Itoa(now.Nanosecond()/1000)))
	return nil
}

// asterisk is what WAIT calls any command by.
func (c *conn) asterisk(*resp.Request) error { c.fail(zdb.TextNotACommand); return nil }

// replicate is MIRROR and MASTER.
func (c *conn) replicate(*resp.Request) error { c.fail(zdb.TextNoReplication); return nil }

// namespace finds one by name; nil when it has answered that there is none.
func (c *conn) namespace(name []byte, absent string) *namespace {
	if len(name) > zdb.MaxNamespaceBytes {
		c.fail(zdb.TextNamespaceTooLong)
		return nil
	}
	ns := c.srv.spaces.get(string(name))
	if ns == nil {
		c.fail(absent)
	}
	return ns
}

func (c *conn) nslist(*resp.Request) error {
	all := c.srv.spaces.all()
	b := resp.AppendArray(nil, len(all))
	for _, ns := range all {
		b = resp.AppendBulk(b, ns.name)
	}
	c.encoded(b)
	return nil
}

func (c *conn) nsnew(req *resp.Request) error {
	name := req.Args[1]
	switch {
	case len(name) > zdb.MaxNamespaceBytes:
		c.fail(zdb.TextNamespaceTooLong)
		return nil
	case string(name) == zdb.DefaultNamespace, string(name) == ".", string(name) == "..", bytes.ContainsAny(name, "/\x00"):
		c.fail(zdb.TextNameNotAllowed)
		return nil
	}
	_, err := c.srv.spaces.create(string(name))
	switch {
	case errors.Is(err, zdb.ErrNamespaceExists):
		c.fail(zdb.TextNamespaceExists)
	case err != nil:
		c.srv.opts.Log.Error("namespace not created", "namespace", string(name), "err", err)
		c.fail(zdb.TextCannotCreate)
	default:
		c.status("OK")
	}
	return nil
}

func (c *conn) nsdel(req *resp.Request) error {
	if string(req.Args[1]) == zdb.DefaultNamespace {
		c.fail(zdb.TextCannotDelDefault)
		return nil
	}
	ns := c.namespace(req.Args[1], zdb.TextNamespaceNotExist)
	if ns == nil {
		return nil
	}
	if ns == c.ns {
		c.fail(zdb.TextCannotDelActive)
		return nil
	}
	c.out.settle() // writes of this session to a namespace it left
	err := c.srv.spaces.remove(ns)
	switch {
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		c.fail(zdb.TextNamespaceNotExist)
	case err != nil:
		c.srv.opts.Log.Error("namespace not removed", "namespace", ns.name, "err", err)
		c.fail(zdb.TextCannotRemoveNS)
	default:
		c.status("OK")
	}
	return nil
}

// reload is RELOAD name.
func (c *conn) reload(req *resp.Request) error {
	ns := c.namespace(req.Args[1], zdb.TextNamespaceAbsent)
	if ns == nil {
		return nil
	}
	c.out.settle()
	err := c.srv.spaces.reload(ns)
	switch {
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		c.fail(zdb.TextNamespaceAbsent)
	case err != nil:
		c.srv.opts.Log.Error("namespace not reloaded", "namespace", ns.name, "err", err)
		c.fail(zdb.TextInternalError)
	default:
		c.status("OK")
	}
	return nil
}

// flush empties the namespace of the session, which has to be private and selected with
// its password.
func (c *conn) flush(*resp.Request) error {
	s := c.ns.settings.Load()
	switch {
	case s.Public, !s.protected(), !c.proved:
		c.fail(zdb.TextFlushDenied)
		return nil
	case s.Worm:
		c.fail(zdb.TextWormDelete)
		return nil
	case !c.mayWrite():
		return nil
	}
	return c.withStore(func(st *store.Store) []byte {
		if err := st.Clear(c.ctx); err != nil {
			c.srv.stats.writeFailed.Add(1)
			c.srv.opts.Log.Error("namespace not flushed", "namespace", c.ns.name, "err", err)
			return resp.AppendError(nil, zdb.TextServerError)
		}
		return resp.AppendStatus(nil, "OK")
	})
}
