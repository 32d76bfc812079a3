// Package store keeps one 0-db namespace in one directory: an embedded key-value
// store with keys of 1 to 255 bytes, or with ids that it gives itself (sequential mode: 8
// bytes, little endian, from 0), and values of up to 8 MiB.
//
// # Directory
//
//	LOCK            held (flock) while a process uses the directory
//	XXXXXXXX.qzd    data files, XXXXXXXX is the file id in hex; ids start at 1 and only grow
//	index/          a pebble store, derived: the data files alone are the truth
//	index.damaged   there while the index is built anew: what is in it is not to be trusted
//
// # Data file, version 2 (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QZDB"
//	     4     4  version, 2
//	     8    16  store id, random, the same in all files of a store
//	    24     4  file id
//	    28     4  id of the file written before this one, 0 for none
//	    32     8  end of that file: what lies behind it was never acknowledged
//	    40     8  unix time of creation
//	    48     8  first sequence: all records of earlier files have a lower one
//	    56     4  flags: 1 floor (files of a lower id are void: the store was cleared), 2 sequential mode
//	    60     4  CRC-32C of bytes 0 to 59
//	    64     -  records, back to back
//
// Version 1 had zeros from 48 to 59, no sequential mode and no floor. It is read; a store
// goes on in a new file of version 2.
//
// # Record
//
//	offset  size  field
//	     0     4  CRC-32C of bytes 4 to 39 and the key, seeded with store id and file id
//	     4     4  CRC-32C of the value
//	     8     2  magic "QZ"
//	    10     1  flags: 1 delete marker (its value is empty)
//	    11     1  key length, 1 to 255
//	    12     4  value length, at most 8 MiB
//	    16     8  sequence: unique among values, a later write has a higher one. A delete marker has
//	              that of the next value (in version 1: one of its own). In sequential mode the id of
//	              a new value is its sequence less 1, so an overwrite uses up an id, as in the C server
//	    24     8  unix time of the write, seconds, signed
//	    32     4  synced: this file was durable up to here when the record was written
//	    36     4  offset of the record before it in the file, 0 for the first (in version 1: zero)
//	    40     -  key, then value
//
// The first checksum covers the second, so both together cover every byte. The
// seed keeps a value that contains the bytes of a record from being taken for
// one when the scan looks for the next record behind damage.
//
// # Index
//
//	'k' key                              entry of the record that counts: file id u32, offset u32, value length u32,
//	                                     value CRC u32, time i64, sequence u64; length 0xffffffff is a delete marker
//	's' order (big endian: the           value length u32, time i64, key: what a scan tells
//	    sequence, or the id)
//	'o' key length u8, key,              offset u32 of a stale record: one with a value that was overwritten, deleted
//	    sequence, file id (big endian)   or moved, and is on disk still
//	'f' file id (big endian)             bytes of the file that count, i64
//	'x' file id (big endian)             the file is condemned: see the type compactor
//	'm'                                  version u32 2, store id 16, file id u32, offset u32, offset of the last
//	                                     record u32, next sequence u64, live payload bytes i64, live entries i64
//
// 'm' is the position in the data files that the index has reached and is part
// of every batch. pebble's own write-ahead log is off: after a crash the index is
// an older state of itself, and the data files are replayed from its position.
// An index that is lost, damaged, older than version 2 or of another store is built anew from the data.
//
// # Invariants
//
//   - A write is acknowledged after the fdatasync that covers it (unless NoSync); it
//     enters the index only then. All writers waiting at that time share one fdatasync.
//   - Only the last file is appended to. It is durable as a whole before the next one
//     is begun, so damage in any other file is rot, never a torn write.
//   - In the last file, what lies before the highest "synced" of its records was
//     durable: damage there is rot, and the key of such a record, where its header
//     can be read, answers ErrCorrupt rather than an older value. Damage behind it
//     is a torn write: the file ends there. Whole records behind a tear are kept
//     by writing them again to the next file.
//   - After a write error the file ends at its last durable record and a new one is begun.
//   - In file order (ids, then offsets) the last record of a key is its state. Compaction
//     keeps that: it appends records that count once more, sequence and time unchanged,
//     and removes a file when nothing in it counts. Scan order and cursors survive that.
//   - A delete marker counts as long as a stale record of its key is on disk, so that no
//     index built from the data brings the key back; then it is dead like any other.
//   - Memory: the block cache, three memtables of up to 4 MiB, 48 open data files, some bytes
//     for each data file, and the values in flight.
//
// # Scan cursor
//
// 17 bytes, laid out as 0-db's are (u8, then four u32): key length, upper half of the order,
// value length, lower half of the order, and in place of the CRC a keyed check of the first
// 13 bytes. It names an entry given out and stays valid when that is overwritten or deleted.
package store
