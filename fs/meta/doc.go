// Package meta keeps what a volume knows about its files: inodes, directory entries, extents, extended
// attributes and the records of segments. It is a set of transactions on an ordered key-value store
// (cockroachdb/pebble) whose own write-ahead log is off, because the volume log is the write-ahead log.
//
// # Transactions
//
// A change reads the state under the store's mutex, builds an ordered list of operations, appends their
// encoding (the payload) to the Journal, and only then applies them to pebble, in one batch together with the
// log position that the payload reached. After a crash pebble holds a prefix of the transactions and says
// where that prefix ends; Replay of the log from there restores the rest.
//
// Write-ahead rule: a table file of pebble becomes durable only after the Journal is durable up to every
// transaction in it (writeAheadFS calls Journal.Sync before each table file is synced). So the metadata on disk
// is never ahead of the log on disk, and never points at blocks that the log lost.
//
// # Payload (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     1  version, 1
//	     1     4  number of operations
//	     5     -  operations, back to back
//
// An operation is 1 byte of kind, 2 bytes of key length, the key, and then
//
//	kind 1, set:           4 bytes of value length, the value
//	kind 2, delete:        nothing
//	kind 3, delete range:  2 bytes of length, the end key, which itself is not deleted
//
// A payload is at most 1 MiB. A larger change is several transactions, each of which leaves a consistent state.
//
// # Keys (one byte of kind; integers big endian, so that the order is useful)
//
//	C parent(8) cookie(8)  directory entry by cookie, so that readdir is one scan
//	D parent(8) name       directory entry by name
//	E ino(8) end(8)        extent; end is the file offset just behind it, so that "what overlaps" is one forward scan
//	I ino(8)               inode
//	L ino(8)               target of a symbolic link
//	N                      counters
//	O ino(8)               orphan: an inode without a name, kept until Reclaim
//	P                      log position reached; never part of a payload
//	S ordinal(8)           segment record, opaque
//	V key                  volume record, opaque
//	X ino(8) name          extended attribute
//
// # Values (a leading version byte, 1; then integers little endian)
//
//	C  ino(8) type(1) name                type is the S_IFMT bits shifted right by 12, as in dirent.d_type
//	D  ino(8) type(1) cookie(8)
//	E  length(4) offset in the block(4) address of the block(20, as wal.Addr encodes itself)
//	I  mode(4) uid(4) gid(4) nlink(4) rdev(4) flags(4) size(8) allocated(8)
//	   atime(8+4) mtime(8+4) ctime(8+4) btime(8+4) parent(8) next cookie(8) xattrs(4) bytes of xattr names(4)
//	L  target
//	N  used bytes(8) inodes(8) next ino(8)
//	O  nothing
//	P  position(12, as wal.Position encodes itself)
//	S, V, X  the caller's bytes
//
// # Invariants (Check tests them all)
//
// An ino is never given twice; 1 is the root. A cookie is never given twice in a directory and only grows; a name
// that rename replaces or exchanges keeps its cookie, so a reader of the directory meets it exactly once. The size of a directory is its number
// of entries, its link count 2 plus its sub-directories. Extents of a file never overlap and never reach beyond
// its size; AllocBytes is the sum of their lengths; the used-bytes counter is the sum of AllocBytes. An inode has nlink 0
// exactly when it is an orphan.
//
// Bounds: memory is the block cache and at most four memtables, 64k cached inodes, and one payload.
package meta
