package server

import (
	"errors"
	"strconv"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
)

const maxPropertyBytes = 63 // NSSET's value

// nsset is NSSET name property value.
func (c *conn) nsset(req *resp.Request) error {
	if len(req.Args[1]) > zdb.MaxNamespaceBytes {
		c.fail(zdb.TextNamespaceTooLong)
		return nil
	}
	if len(req.Args[2]) > 2*zdb.MaxNamespaceBytes || len(req.Args[3]) > maxPropertyBytes {
		c.fail(zdb.TextArgumentTooLong)
		return nil
	}
	ns := c.namespace(req.Args[1], zdb.TextNamespaceAbsent)
	if ns == nil {
		return nil
	}
	property, value := string(req.Args[2]), string(req.Args[3])
	if property == "mode" {
		c.nssetMode(ns, value)
		return nil
	}
	change, text := c.srv.spaces.sealer.propertyChange(ns.name, property, value)
	if text != "" {
		c.fail(text)
		return nil
	}
	c.out.settle() // writes ahead in the pipeline are under the old settings
	if err := c.srv.spaces.update(ns, change); err != nil {
		c.changeFailed(ns, err)
		return nil
	}
	c.status("OK")
	return nil
}

// changeFailed answers when a namespace could not be changed.
func (c *conn) changeFailed(ns *namespace, err error) {
	if errors.Is(err, zdb.ErrNamespaceNotFound) {
		c.fail(zdb.TextNamespaceAbsent)
		return
	}
	c.srv.stats.writeFailed.Add(1)
	c.srv.opts.Log.Error("namespace not changed", "namespace", ns.name, "err", err)
	c.fail(zdb.TextCannotWrite)
}

// propertyChange gives what NSSET does, or the text why it does not.
func (k *sealer) propertyChange(namespace, property, value string) (change func(*settings), text string) {
	on, isFlag := value == "1", value == "0" || value == "1"
	switch {
	case property == "lock" || property == "freeze":
		to := accessNormal
		switch {
		case !isFlag:
			return nil, zdb.TextInvalidArgument
		case on && property == "lock":
			to = accessLocked
		case on:
			to = accessFrozen
		}
		return func(s *settings) { s.Access = to }, ""
	case namespace == zdb.DefaultNamespace:
		return nil, zdb.TextCannotSetDefault
	case property == "maxsize":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return nil, zdb.TextInvalidArgument
		}
		return func(s *settings) { s.MaxBytes = n }, ""
	case property == "password":
		if value == "*" {
			return func(s *settings) { s.password, s.SealedPassword = "", nil }, ""
		}
		sealed := k.seal(namespace, value)
		return func(s *settings) { s.password, s.SealedPassword = value, sealed }, ""
	case property == "public" && isFlag:
		return func(s *settings) { s.Public = on }, ""
	case property == "worm" && isFlag:
		return func(s *settings) { s.Worm = on }, ""
	case property == "public" || property == "worm":
		return nil, zdb.TextInvalidArgument
	}
	return nil, zdb.TextInvalidProperty
}
