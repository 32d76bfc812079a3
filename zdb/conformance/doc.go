// Package conformance is the suite that every 0-db of this module, and the original, has to
// pass. It holds tests only.
//
// There are two layers.
//
// The wire: stories of rows, each a request as an array of strings and the reply that is
// wanted, byte for byte, with small patterns where the time, a cursor or chance is in it.
// They cover every command, every error text and every mode. They run against zdb/server
// over TCP and over a unix socket, and against the C server threefoldtech/0-db where the
// environment variable QSFS_ZDB_ORIGINAL names its binary (else they are skipped with a
// message). A row where the two differ on purpose has both replies, and the reason.
//
// The store: what a user of the Go API can rely on, in terms of one interface that the
// embedded store zdb/store and zdb/client satisfy through adapters. It runs against the
// embedded store, against zdb/client on zdb/server both ways, and against zdb/client on
// the original. What only a client can do (passwords, namespaces, WAIT) follows it.
//
// A test sees to it that every verb of the server's command table and every Text constant
// of package zdb is hit by a row. The few texts that no request brings are listed there,
// each with its reason.
package conformance
