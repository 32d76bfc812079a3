package server

import (
	"errors"
	"strings"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// command is one verb. args counts the name; exact is for a fixed number of them, none
// of which may be empty.
type command struct {
	run   func(c *conn, req *resp.Request) error
	exact int
	admin bool
}

// maxCommandBytes is the length of the longest name.
const maxCommandBytes = len("KEYTIME")

var commands map[string]command

func init() {
	commands = map[string]command{
		"PING": {run: (*conn).ping}, "TIME": {run: (*conn).time}, "INFO": {run: (*conn).info}, "AUTH": {run: (*conn).auth},
		"SET": {run: (*conn).set}, "SETX": {run: (*conn).set}, "DEL": {run: (*conn).del},
		"GET": {run: (*conn).get, exact: 2}, "MGET": {run: (*conn).mget},
		"EXISTS": {run: (*conn).exists, exact: 2}, "CHECK": {run: (*conn).check, exact: 2},
		"LENGTH": {run: (*conn).length, exact: 2}, "KEYTIME": {run: (*conn).keytime, exact: 2},
		"SCAN": {run: (*conn).scan}, "SCANX": {run: (*conn).scan}, "RSCAN": {run: (*conn).rscan},
		"DBSIZE": {run: (*conn).dbsize}, "SELECT": {run: (*conn).selectNamespace},
		"NSNEW": {run: (*conn).nsnew, exact: 2, admin: true}, "NSDEL": {run: (*conn).nsdel, exact: 2, admin: true},
		"NSSET": {run: (*conn).nsset, exact: 4, admin: true}, "NSINFO": {run: (*conn).nsinfo, exact: 2},
		"NSLIST": {run: (*conn).nslist}, "STOP": {run: (*conn).stop},
	}
}

// execute runs one request; an error ends the session behind the replies so far. It
// sees to it that the request is released.
func (c *conn) execute(req *resp.Request) error {
	if c.ns.removed.Load() {
		req.Release()
		c.fail(zdb.TextNamespaceGone)
		return errHangUp
	}
	name := req.Args[0]
	cmd, ok := commands[strings.ToUpper(string(name[:min(len(name), maxCommandBytes+1)]))]
	if !ok {
		req.Release()
		c.srv.stats.failed.Add(1)
		c.fail(zdb.TextNotSupported)
		return nil
	}
	c.srv.stats.executed.Add(1)
	if cmd.admin && !c.isAdmin() {
		req.Release()
		return nil
	}
	if cmd.exact > 0 && !c.argumentsGood(req, cmd.exact, false) {
		req.Release()
		return nil
	}
	err := cmd.run(c, req)
	req.Release()
	return err
}

func (c *conn) isAdmin() bool {
	if !c.admin {
		c.srv.stats.unauthorized.Add(1)
		c.fail(zdb.TextPermissionDenied)
	}
	return c.admin
}

func (c *conn) argumentsGood(req *resp.Request, count int, emptyToo bool) bool {
	if len(req.Args) != count {
		c.fail(zdb.TextUnexpectedArguments)
		return false
	}
	for _, a := range req.Args {
		if len(a) == 0 && !emptyToo {
			c.fail(zdb.TextInvalidArgument)
			return false
		}
	}
	return true
}

// withStore runs do on the open store of the session's namespace, after the writes
// ahead in the pipeline.
func (c *conn) withStore(do func(*store.Store) error) error {
	c.out.settle()
	st, err := c.srv.spaces.acquire(c.ns)
	if err != nil {
		return c.noStore(err)
	}
	defer c.srv.spaces.release(c.ns)
	return do(st)
}

// noStore answers when the store could not be opened.
func (c *conn) noStore(err error) error {
	switch {
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		c.fail(zdb.TextNamespaceGone)
		return errHangUp
	case errors.Is(err, zdb.ErrClosed):
		return errHangUp
	}
	c.srv.stats.readFailed.Add(1)
	c.fail(zdb.TextInternalError)
	return nil
}

// readable says whether the key may be asked for; else it has answered why not.
func (c *conn) readable(key []byte) bool {
	if len(key) > zdb.MaxKeyBytes {
		c.fail(zdb.TextInvalidKey)
		return false
	}
	return c.thawed()
}

func (c *conn) thawed() bool {
	if c.ns.settings.Load().Access == accessFrozen {
		c.fail(zdb.TextFrozen)
		return false
	}
	return true
}

// mayWrite says whether the session may write now; else it has answered why not.
func (c *conn) mayWrite() bool {
	if !c.writable {
		c.fail(zdb.TextReadOnly)
		return false
	}
	switch c.ns.settings.Load().Access {
	case accessFrozen:
		c.fail(zdb.TextFrozen)
	case accessLocked:
		c.fail(zdb.TextLocked)
	default:
		return true
	}
	return false
}
