package server

import (
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- the protocol's
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
)

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
	s := ns.settings.Load()
	writable, proved := true, false
	if s.protected() {
		text := ""
		writable, text = c.admit(s, req.Args[2:])
		if text != "" {
			c.fail(text)
			return nil
		}
		proved = writable
	}
	c.ns, c.writable, c.proved = ns, writable, proved
	c.srv.waits.move(c, ns)
	c.status("OK")
	return nil
}

// admit says whether the session may write with what it gave behind the name of a
// protected namespace, or with which text it is denied.
func (c *conn) admit(s *settings, given [][]byte) (writable bool, denied string) {
	switch {
	case len(given) > 2:
		return false, zdb.TextTooManyArguments
	case s.shut():
		return false, zdb.TextAccessDenied
	case len(given) == 0 && !s.Public:
		return false, zdb.TextPrivate
	case len(given) == 0:
		return false, ""
	case len(given) == 2:
		return true, c.secureDenied(given[0], given[1], s.password)
	case len(given[0]) > maxSelectBytes:
		return false, zdb.TextPasswordTooLong
	case !equal(given[0], s.password):
		return false, zdb.TextAccessDenied
	}
	return true, ""
}

// maxSelectBytes is what SELECT takes as a password, though none is that long.
const maxSelectBytes = 255

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
