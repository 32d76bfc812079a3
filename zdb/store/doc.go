// Package store keeps one 0-db namespace in one directory: an embedded key-value
// store with user keys of 1 to 255 bytes and values of up to 8 MiB.
//
// # Directory
//
//	LOCK            held (flock) while a process uses the directory
//	XXXXXXXX.qzd    data files, XXXXXXXX is the file id in hex; ids start at 1 and only grow
//	index/          a pebble store, derived: the data files alone are the truth
//
// # Data file, version 1 (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QZDB"
//	     4     4  version, 1
//	     8    16  store id, random, the same in all files of a store
//	    24     4  file id
//	    28     4  id of the file written before this one, 0 for none
//	    32     8  end of that file: what lies behind it was never acknowledged
//	    40     8  unix time of creation
//	    48    12  zero
//	    60     4  CRC-32C of bytes 0 to 59
//	    64     -  records, back to back
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
//	    16     8  sequence, unique in the store; a later write has a higher one
//	    24     8  unix time of the write, seconds, signed
//	    32     4  synced: this file was durable up to here when the record was written
//	    36     4  zero
//	    40     -  key, then value
//
// The first checksum covers the second, so both together cover every byte. The
// seed keeps a value that contains the bytes of a record from being taken for
// one when the scan looks for the next record behind damage.
//
// # Index
//
//	'k' key        file id u32, offset u32, value length u32, value CRC u32, time i64, sequence u64
//	's' sequence   key (the sequence big endian, so that the order is insertion order)
//	'm'            version u32 1, store id 16, file id u32, offset u32, next sequence u64,
//	               live payload bytes i64, live entries i64
//
// 'm' is the position in the data files that the index has reached and is part
// of every batch. pebble's own write-ahead log is off: after a crash the index is
// an older state of itself, and the data files are replayed from its position.
// An index that is lost, damaged or of another store is built anew from the data.
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
//   - In file order (ids, then offsets) the last record of a key is its state. A later
//     compaction may append live records again, with sequence and time unchanged, and
//     then remove a file; scan order and cursors survive that.
//   - Memory: the block cache, three memtables of up to 4 MiB, 48 open data files, and the values in flight.
//
// # Scan cursor
//
// 17 bytes, laid out as 0-db's are (u8, then four u32): key length, upper half of the sequence,
// value length, lower half of the sequence, and in place of the CRC a keyed check of the first
// 13 bytes. It names an entry given out and stays valid when that is overwritten or deleted.
package store
