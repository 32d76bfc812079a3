// Package client reaches one namespace of one 0-db server, with every command of the
// protocol.
//
// Open gives a Client of a namespace in user-key mode, where the caller chooses the keys;
// OpenSequential gives a Sequential of one in sequential mode, where the server gives
// them. A client stays in its namespace: it has no method for SELECT. Both have the commands about
// the server and its namespaces too.
//
// A client holds a few connections (Options.MaxConns) that all callers share. On
// each of them one goroutine writes requests and another reads replies, so many
// requests are on the way at once and answers come in the order of the requests:
//
//	caller ──┐            ┌─► queue ─► write ─► server ─► read ─► caller
//	caller ──┼─► pick link┤
//	caller ──┘            └─► queue ─► write ─► server ─► read ─► caller
//
// SET and DEL go on other connections than the rest, where there are two: replies keep
// the order of requests, and a read should not wait for a write's fdatasync.
//
// Framing is gomodule/redigo's. Between redigo and the socket sits a guard that
// checks every length before redigo allocates for it (see guard.go), because a
// node may lie.
//
// # A connection's first words
//
//	INFO                             the answer must be that of a 0-db
//	AUTH SECURE CHALLENGE            with an administrator's password only,
//	AUTH SECURE hex(sha1(c ":" p))   or AUTH p where that is allowed
//	AUTH SECURE CHALLENGE            with a namespace password only
//	SELECT ns SECURE hex(sha1(c ":" p))   or SELECT ns p, or SELECT ns
//
// A password goes in clear (servers without SECURE, and NSSET password) only
// over TLS, a unix socket or loopback, or where Options.AllowPlainPassword says so.
// A namespace that is missing is made (NSNEW) by the first connection of a client
// only: one that vanishes later is an error, never an empty namespace in its place.
//
// # What a caller can rely on
//
//   - A call returns when its context ends or Options.RequestTimeout passes. What
//     it passed in is no longer read then. The late reply is drained and dropped,
//     or the connection is closed: a reply never reaches another request.
//   - A connection on which the oldest request waits longer than RequestTimeout
//     is closed, as is one that sends what nobody asked for.
//   - A request whose connection broke is sent once more on another when doing it
//     twice is the same as doing it once. DEL is among these: when the first try
//     may have been carried out, "not found" on the second is success. So is SET, and
//     in a write-once namespace the second is a success when this value is there. What
//     makes or removes more (Append, NSNew, NSDel, NSJump, Flush, ResetIndexDirty) is
//     sent once.
//   - While a node can't be reached the circuit is open: calls fail at once with
//     zdb.ErrUnavailable and the reason, and the client alone keeps trying, with
//     exponential backoff and jitter, until the node answers.
//   - Wait has a connection of its own, as its reply comes out of turn.
//   - Bounds: MaxConns connections with 128 KiB of buffers each, MaxInflight
//     requests at once (further callers wait), 8 MiB a value, 64 MiB a reply.
//
// A value that SET did not acknowledge may still be stored later, as with any
// network: the bytes may be on their way when the caller gives up.
//
// Sources: the protocol as spoken by threefoldtech/0-db, branch development-v2
// (zdbd/redis.c, commands_*.c, auth.c), engine 2.0.7. Package conformance runs this
// client against it.
package client
