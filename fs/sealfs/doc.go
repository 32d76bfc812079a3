// Package sealfs is an encrypting file system for the metadata store: a pebble
// vfs.FS over another vfs.FS. Contents are sealed; names are pebble's own
// (numbers), tell nothing and stay as they are. The stored bytes of a file are
// also what travels to the nodes: they are read with OpenRaw and brought back
// with WriteRaw, without being sealed again.
//
// # Sealed file, version 1 (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QSMF"
//	     4     1  version, 1
//	     5     1  layout: 1 fixed, 2 stream
//	     6     1  log2 of the largest frame's plaintext: 15, that is 32 KiB
//	     7     1  zero
//	     8    16  file id, random
//	    24     -  body, by layout
//
// The key of a file is HKDF-SHA-512(metadata key, no salt, info
// "qsfs/v1/metafile" || file id), 32 bytes for AES-256-GCM. Every frame's nonce is
//
//	0  8  offset of the frame in the sealed file
//	8  1  kind: 1 data, 2 trailer, 3 stream
//	9  1  flags of a stream frame, else zero
//	10 2  zero
//
// and its associated data is the 24-byte header. A file is written once, by the
// handle that Create gave, from front to back; no byte of it is written twice and a
// failed write ends the writing. So an offset is sealed at most once under a key that
// no other file has: no (key, nonce) pair seals two plaintexts. A frame opens only
// in its own file at its own offset.
//
// # Layout fixed (.sst and .blob): random access by arithmetic
//
//	frame    sealed plaintext, 32 KiB + 16; the last of a run may be shorter
//	trailer  sealed: 8 plaintext size of the file, 4 number of further runs, at most
//	         1024, then for each of them 8 plaintext offset and 8 sealed offset of its
//	         start, both ascending
//	length   4 bytes: size of the sealed trailer
//
// A run is a sequence of frames of which all but the last are full. The first run
// starts at plaintext offset 0, sealed offset 24, and alone may be empty. Sync in the middle of a file ends the
// run with a short frame, a trailer and its length, and what is written later is a
// further run behind them. A table of pebble is synced once, at its end: it has one run.
//
// A file without a trailer at its very end does not open (ErrCorrupt): a truncated
// table is never taken for a shorter one. A 5-byte table takes 24+21+28+4 = 77 bytes.
//
// # Layout stream (MANIFEST, OPTIONS, everything else): append and sync
//
//	0  3  magic "QFR"
//	3  1  flags: 1 = all before this frame had been synced when it was written
//	4  4  size of the plaintext, 1 to 32768
//	8  -  sealed plaintext, 16 bytes longer
//
// A 5-byte write takes 29 bytes. A stream may end after any frame: the first frame that
// does not open ends the file (a torn tail), unless a frame that says "synced before"
// is found behind it. Then what is broken had been durable, and the file is damaged:
// ErrCorrupt. A file of fewer bytes than a header is an empty stream.
//
// # Sync
//
// When Sync or SyncData returns nil, all that was written is durable and the file opens
// as it is, closed or not. In a fixed file that costs a trailer (and a short frame) each
// time, so let pebble not sync tables half-way: set its Options.BytesPerSync to more
// than a table's size. A fixed file on which writing went on after a Sync must be synced
// or closed again to open. Close without Sync completes the file but promises no durability.
//
// # What is not detected here
//
// A stream cut at the end of a frame, a fixed file cut where it was once synced, and a
// whole file put in the place of another one: these are states that a file had, or files
// we sealed. pebble compares the sizes of its tables with its MANIFEST; whoever fetches
// a file from the nodes compares its FileID.
//
// # Remote files
//
// After a restore the tables are still on the nodes. Options names them; Stat answers
// for them from what is known, Open and Link fetch them first, one fetch a name at a time.
package sealfs

import "errors"

var (
	// ErrCorrupt means that stored bytes are not what was sealed there: damaged, cut,
	// moved or forged. The file can be had again only from the nodes.
	ErrCorrupt = errors.New("sealfs: corrupt file")

	// ErrTooNew means that a later version of this program sealed the file.
	ErrTooNew = errors.New("sealfs: file format is newer than this program")

	// ErrUnsupported means an operation that a write-once sealed file cannot have:
	// WriteAt, OpenReadWrite, reading from the handle that writes.
	ErrUnsupported = errors.New("sealfs: operation not supported on a sealed file")

	// ErrTooManySyncs means that a fixed file was synced in its middle more often than
	// a trailer can tell. Write larger pieces, or sync less.
	ErrTooManySyncs = errors.New("sealfs: table synced in its middle too often")

	// ErrClosed means that the FS was closed and fetches no more files.
	ErrClosed = errors.New("sealfs: closed")
)
