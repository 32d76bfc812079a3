package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- the protocol's
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
)

var noDeadline = context.Background()

const (
	maxPropertyBytes = 63 // NSSET's value
	textUnauthorized = "Unauthorized"
)

func (c *conn) ping(*resp.Request) error { c.status("PONG"); return nil }
func (c *conn) stop(*resp.Request) error { c.fail(textUnauthorized); return nil }

func (c *conn) time(*resp.Request) error {
	now := time.Now()
	b := resp.AppendArray(nil, 2)
	b = resp.AppendBulk(b, strconv.FormatInt(now.Unix(), 10))
	c.encoded(resp.AppendBulk(b, strconv.Itoa(now.Nanosecond()/1000)))
	return nil
}

// auth is AUTH password, AUTH SECURE CHALLENGE and AUTH SECURE hash.
func (c *conn) auth(req *resp.Request) error {
	admin := c.srv.opts.AdminPassword
	switch len(req.Args) {
	case 2:
		given := req.Args[1]
		switch {
		case admin == "":
			c.fail(zdb.TextAuthDisabled)
		case len(given) == 0:
			c.fail(zdb.TextInvalidArgument)
		case len(given) > zdb.MaxPasswordBytes:
			c.fail(zdb.TextPasswordTooLong)
		default:
			c.granted(equal(given, admin))
		}
	case 3:
		if !c.argumentsGood(req, 3, false) {
			return nil
		}
		switch {
		case !strings.EqualFold(string(req.Args[1]), "SECURE"):
			c.fail(zdb.TextOnlySecure)
		case strings.EqualFold(string(req.Args[2]), "CHALLENGE"):
			c.newChallenge()
		case admin == "":
			c.fail(zdb.TextAuthDisabled)
		case c.challenge == "":
			c.fail(zdb.TextNoChallenge)
		case len(req.Args[2]) != 2*sha1.Size:
			c.fail(zdb.TextHashLength)
		default:
			ok := equal(req.Args[2], secureHash(c.challenge, admin))
			c.challenge = "" // good for one try
			c.granted(ok)
		}
	default:
		c.fail(zdb.TextUnexpectedArguments)
	}
	return nil
}

func (c *conn) newChallenge() {
	var b [8]byte
	rand.Read(b[:])
	c.challenge = hex.EncodeToString(b[:])
	c.status(c.challenge)
}

func (c *conn) granted(ok bool) {
	if !ok {
		c.fail(zdb.TextAccessDenied)
		return
	}
	c.admin = true
	c.status("OK")
}

func secureHash(challenge, password string) string {
	sum := sha1.Sum([]byte(challenge + ":" + password)) // #nosec G401 -- the protocol's
	return hex.EncodeToString(sum[:])
}

func equal(given []byte, want string) bool {
	return subtle.ConstantTimeCompare(given, []byte(want)) == 1
}

// selectNamespace is SELECT name, SELECT name password and SELECT name SECURE hash.
func (c *conn) selectNamespace(req *resp.Request) error {
	if len(req.Args) < 2 {
		c.fail(zdb.TextInvalidArgument)
		return nil
	}
	ns := c.namespace(req.Args[1], zdb.TextNamespaceAbsent)
	if ns == nil {
		return nil
	}
	writable := true
	if d := ns.settings.Load(); d.Password != "" {
		switch len(req.Args) {
		case 2:
			if !d.Public {
				c.fail(zdb.TextPrivate)
				return nil
			}
			writable = false
		case 3:
			if len(req.Args[2]) > 2*zdb.MaxPasswordBytes-1 {
				c.fail(zdb.TextPasswordTooLong)
				return nil
			}
			if !equal(req.Args[2], d.Password) {
				c.fail(zdb.TextAccessDenied)
				return nil
			}
		case 4:
			if text := c.secureDenied(req.Args[2], req.Args[3], d.Password); text != "" {
				c.fail(text)
				return nil
			}
		default:
			c.fail(zdb.TextTooManyArguments)
			return nil
		}
	}
	c.ns, c.writable = ns, writable
	c.status("OK")
	return nil
}

// secureDenied checks SELECT … SECURE hash; empty means granted. The challenge stays.
func (c *conn) secureDenied(method, hash []byte, password string) string {
	switch {
	case !strings.EqualFold(string(method), "SECURE"):
		return zdb.TextOnlySecure
	case c.challenge == "":
		return zdb.TextNoChallenge
	case len(hash) != 2*sha1.Size:
		return zdb.TextHashLength
	case !equal(hash, secureHash(c.challenge, password)):
		return zdb.TextAccessDenied
	}
	return ""
}

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
	names := c.srv.spaces.names()
	b := resp.AppendArray(nil, len(names))
	for _, name := range names {
		b = resp.AppendBulk(b, name)
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
		return c.nssetMode(ns, value)
	}
	change, text := propertyChange(property, value, ns.name == zdb.DefaultNamespace)
	if text != "" {
		c.fail(text)
		return nil
	}
	c.out.settle() // writes ahead in the pipeline are under the old settings
	err := c.srv.spaces.update(ns, change)
	switch {
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		c.fail(zdb.TextNamespaceAbsent)
	case err != nil:
		c.srv.stats.writeFailed.Add(1)
		c.srv.opts.Log.Error("namespace not changed", "namespace", ns.name, "err", err)
		c.fail(zdb.TextCannotWrite)
	default:
		c.status("OK")
	}
	return nil
}

// nssetMode: a namespace is in user-key mode and stays so.
func (c *conn) nssetMode(ns *namespace, value string) error {
	st, err := c.srv.spaces.acquire(ns)
	if err != nil {
		c.fail(zdb.TextNamespaceAbsent)
		return nil
	}
	used := st.Stats().NextSequence > 1
	c.srv.spaces.release(ns)
	switch {
	case value != "user" && value != "seq":
		c.fail(zdb.TextInvalidMode)
	case used:
		c.fail(zdb.TextModeInUse)
	case value == "seq":
		c.fail(zdb.TextSingleMode)
	default:
		c.status("OK")
	}
	return nil
}

// propertyChange gives what NSSET does, or the text why it does not.
func propertyChange(property, value string, isDefault bool) (change func(*descriptor), text string) {
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
		return func(d *descriptor) { d.Access = to }, ""
	case isDefault:
		return nil, zdb.TextCannotSetDefault
	case property == "maxsize":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return nil, zdb.TextInvalidArgument
		}
		return func(d *descriptor) { d.MaxBytes = n }, ""
	case property == "password":
		if value == "*" {
			value = ""
		}
		return func(d *descriptor) { d.Password = value }, ""
	case property == "public" && isFlag:
		return func(d *descriptor) { d.Public = on }, ""
	case property == "worm" && isFlag:
		return func(d *descriptor) { d.Worm = on }, ""
	case property == "public" || property == "worm":
		return nil, zdb.TextInvalidArgument
	}
	return nil, zdb.TextInvalidProperty
}
