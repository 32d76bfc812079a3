package server

import (
	"errors"

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
	name  string
	index int // its place in measures
}

// maxCommandBytes is the length of the longest name.
const maxCommandBytes = len("KEYTIME")

var commands map[string]command

func init() {
	commands = map[string]command{
		"PING": {run: (*conn).ping}, "TIME": {run: (*conn).time}, "INFO": {run: (*conn).info}, "AUTH": {run: (*conn).auth},
		"SELECT": {run: (*conn).selectNamespace}, "WAIT": {run: (*conn).wait}, anyCommand: {run: (*conn).asterisk},
		"STOP": {run: (*conn).stop}, "HOOKS": {run: (*conn).listHooks, admin: true},
		"MIRROR": {run: (*conn).replicate, admin: true}, "MASTER": {run: (*conn).replicate, admin: true},

		"SET": {run: (*conn).set}, "SETX": {run: (*conn).set}, "DEL": {run: (*conn).del},
		"GET": {run: (*conn).get, exact: 2}, "MGET": {run: (*conn).mget},
		"EXISTS": {run: (*conn).exists, exact: 2}, "CHECK": {run: (*conn).check, exact: 2},
		"LENGTH": {run: (*conn).length, exact: 2}, "KEYTIME": {run: (*conn).keytime, exact: 2},
		"HISTORY": {run: (*conn).history}, "KEYCUR": {run: (*conn).keycur, exact: 2},
		"SCAN": {run: (*conn).scan}, "SCANX": {run: (*conn).scan}, "RSCAN": {run: (*conn).rscan}, "KSCAN": {run: (*conn).kscan},

		"DBSIZE": {run: (*conn).dbsize}, "FLUSH": {run: (*conn).flush},
		"NSNEW": {run: (*conn).nsnew, exact: 2, admin: true}, "NSDEL": {run: (*conn).nsdel, exact: 2, admin: true},
		"NSSET": {run: (*conn).nsset, exact: 4, admin: true}, "NSINFO": {run: (*conn).nsinfo, exact: 2},
		"NSLIST": {run: (*conn).nslist}, "NSJUMP": {run: (*conn).nsjump, admin: true}, "RELOAD": {run: (*conn).reload, exact: 2, admin: true},
		"INDEX": {run: (*conn).index, admin: true}, "DATA": {run: (*conn).data, admin: true},
	}
	numberCommands()
}

// commandOf finds a command; upper and lower case are the same.
func commandOf(given []byte) (command, bool) {
	var upper [maxCommandBytes]byte
	if len(given) > len(upper) {
		return command{}, false
	}
	for i, b := range given {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	cmd, ok := commands[string(upper[:len(given)])]
	return cmd, ok
}

// execute runs one request; an error ends the session behind the replies so far. It
// sees to it that the request is released.
func (c *conn) execute(req *resp.Request) error {
	if c.ns.removed.Load() {
		req.Release()
		c.fail(zdb.TextNamespaceGone)
		return errHangUp
	}
	cmd, ok := commandOf(req.Args[0])
	if !ok {
		req.Release()
		c.srv.stats.failed.Add(1)
		c.fail(zdb.TextNotSupported)
		return nil
	}
	c.srv.stats.executed.Add(1)
	c.command, c.submitted = cmd.name, false
	c.watch = c.srv.measures.start(cmd.index)
	var err error
	if (!cmd.admin || c.isAdmin()) && (cmd.exact == 0 || c.argumentsGood(req, cmd.exact, false)) {
		err = cmd.run(c, req)
	}
	c.watch.stop()
	req.Release()
	if !c.submitted { // else it is said when the store has done it
		c.srv.waits.ran(c, c.ns, cmd.name)
	}
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
// ahead in the pipeline, and replies with what it gives. No reply waits for the client
// while the store is held.
func (c *conn) withStore(do func(*store.Store) []byte) error {
	c.out.settle()
	st, err := c.srv.spaces.acquire(c.ns)
	if err != nil {
		return c.noStore(err)
	}
	answer := do(st)
	c.srv.spaces.release(c.ns)
	c.encoded(answer)
	return nil
}

// fetch runs get, which reads a value into memory that alloc gives it. While it waits for
// that memory it does not hold the store.
func (c *conn) fetch(get func(st *store.Store, alloc func(n int) []byte) error) (mem resp.Buffer, err error) {
	c.out.settle()
	for {
		missing := 0
		alloc := func(n int) []byte {
			if mem.Bytes == nil || cap(mem.Bytes) < n { // of an empty value too: a nil body is none
				mem.Release()
				var ok bool
				if mem, ok = c.srv.budget.TryGet(n); !ok {
					missing = n
					return nil
				}
			}
			return mem.Bytes[:n]
		}
		st, err := c.srv.spaces.acquire(c.ns)
		if err != nil {
			mem.Release()
			return mem, err
		}
		err = get(st, alloc)
		c.srv.spaces.release(c.ns)
		if missing == 0 {
			if err != nil {
				mem.Release()
			}
			return mem, err
		}
		if mem, err = c.srv.budget.Get(c.ctx, missing); err != nil {
			return mem, zdb.ErrClosed // the connection ends
		}
	}
}

// noStore answers when the store could not be opened.
func (c *conn) noStore(err error) error { return c.notRead(err, zdb.TextInternalError) }

// notRead answers when something could not be read. An error of it ends the session.
func (c *conn) notRead(err error, text string) error {
	switch {
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		c.fail(zdb.TextNamespaceGone)
		return errHangUp
	case errors.Is(err, zdb.ErrClosed), c.ctx.Err() != nil:
		return errHangUp
	}
	c.noteUnread(err)
	c.fail(text)
	return nil
}

func (c *conn) noteUnread(err error) {
	c.srv.stats.readFailed.Add(1)
	c.srv.opts.Log.Error("not readable", "namespace", c.ns.name, "err", err)
	c.srv.spaces.missing(err)
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
