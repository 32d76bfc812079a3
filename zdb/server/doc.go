// Package server puts the 0-db protocol in front of embedded stores, with the texts of
// the C server, so that its clients need not know which of the two answers.
//
// # Data directory
//
//	LOCK               held (flock) while a server uses the directory
//	seal.key           the key that seals passwords, unless Options.SealKey is given (see keptSealKey)
//	namespaces/NAME/   one folder a namespace: "n-" and the name where that is plain, else "x-"
//	                   and the SHA-256 of the name in hex
//	  descriptor       name, settings and sealed password, mode 0600 (see the type descriptor)
//	  store/           the data, see package store
//
// A namespace being made is "new-…", one being removed "gone-…"; what of them is found
// at start is deleted. Passwords are sealed (see the type sealer), never stored in clear.
// A namespace whose password does not open under the seal key is selected by nobody
// until an administrator sets another one.
//
// # Modes
//
// A namespace is in user-key mode or in sequential mode, where the store gives the keys. In
// mixed mode NSSET changes that of a namespace in which nothing has been written; a
// server pinned to one mode does not open data made in the other: zdb.ErrWrongMode.
//
// # Order and durability
//
// Each connection has a goroutine that reads, executes and replies, in order. SET and DEL
// are handed to the store; the requests of the pipeline behind them are taken as far as they
// have arrived, so that its writes share an fdatasync, and then all is committed and
// answered at once. Where much is to be committed, that goes on while more is received. Any
// command but SET and DEL waits for the writes ahead of it. WAIT does not stop the
// pipeline: its reply comes between two others when another session has run the
// command in the same namespace, well or not, or when the time is over.
//
// # Hooks
//
// Options.Hook is run with the name of the event, Options.InstanceID and:
//
//	ready                                               before the first connection; another exit status than 0 stops the boot
//	close                                               when all connections have ended
//	namespaces-init     namespaces/ namespaces/         at start
//	namespace-created   name
//	namespace-updated   name                            after NSSET
//	namespace-deleted   name
//	namespace-reloaded  name                            after RELOAD
//	namespace-closing   name index data dirty           at the end, of each namespace that was used
//	jump-index          index index dirty               a data file was ended; exit status 0 takes the ids off the dirty list
//	jump-data           ended begun                     paths of the two
//	missing-data        path                            a data file was asked for and is not there
//
// index is the path of the derived index, data that of the file being written, dirty the
// ids of the data files written since they were last reset, with blanks between. There
// is no "crash": a Go program that crashes runs nothing any more. Only ready and close
// are waited for, a minute at most; the others run one at a time in the order of the
// events, 128 may wait, and more are dropped with a line in the log.
//
// # Differences from the C server, all of them on purpose
//
//   - malformed input gets its text and then a close, where upstream's session was out of step;
//   - GET verifies the stored checksums, and answers "Internal Error" rather than rot;
//   - command names match whole, not by prefix; lock and freeze outlive a restart;
//   - numbers and flags, in NSSET and as timestamps, are parsed strictly: "Invalid argument"
//     instead of a silent 0; those of WAIT give "Invalid timeout", of DATA RAW "Invalid Request";
//   - cursors of SCAN and HISTORY that this server did not give out are refused;
//   - FLUSH empties the namespace and frees its space, where upstream's did nothing; it needs a
//     session that gave the password, and a namespace that is neither locked, frozen nor write-once;
//   - HISTORY ends where compaction has removed older versions; the history of a removed key that is
//     set again goes on;
//   - KSCAN works, where the release build refuses it: "0" and the keys that begin with the prefix,
//     in their order; when those take more than 1 MiB, "1" and what fits;
//   - a second WAIT of a session answers the first "Timeout", which upstream never answers;
//   - DATA RAW answers delete markers (flag 1, nil) and empty values too; the previous offset is that
//     in the same file; the CRC is the C server's (CRC-32C from 0, not inverted);
//   - INDEX DIRTY lists ids of data files: the index is derived from them and not worth saving;
//   - next_internal_id counts writes in user-key mode, where upstream counts new keys;
//   - hooks do not stop the server, and their paths are of our files;
//   - STOP is "Unauthorized", as of the release build; MIRROR and MASTER answer an administrator
//     zdb.TextNoReplication.
//
// # Bounds
//
// Requests and replies in flight take at most Options.MemoryBytes over all connections;
// a connection has at most 1024 replies, or 4 MiB of replies and writes, waiting, as
// much again being sent, and one WAIT. At most MaxConnections are served, of one client
// (see the type peer) MaxConnectionsPerClient; one more is told so and closed. A client
// above its rate is not cut: its connections are read later, which holds nothing that
// others need. A TLS handshake runs in the connection's own goroutine and is bounded in
// time. Of the namespaces at most MaxOpenStores have their store open at a time. A page
// of SCAN has at most 512 entries. Nobody holds a store while he waits for a client or
// for memory: a slow client stops itself only.
package server
