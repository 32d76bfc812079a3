// Package wal is the volume log: sealed frames, back to back, in numbered segment files.
//
// Everything a volume holds goes through it: blocks of file data and metadata transactions. A complete segment file
// is later cut into shards and uploaded exactly as it is, so the file is the format on the nodes too.
//
// # Segment file, version 1 (integers big endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QSEG"
//	     4     4  version, 1
//	     8    16  segment id, random; the segment's keys are derived from it, see package seal
//	    24    40  sealed: ordinal of the segment in the log (8), where the previous segment ends (4, 0 when not known),
//	              epoch of the writer (4), id of the previous segment (16, zero in the first),
//	              time of creation (8, nanoseconds since 1970)
//	    64    16  tag of the sealed header: nonce 24, associated data the 24 bytes before it
//	    80     -  frames, back to back
//
// A frame at offset o is
//
//	    o     8  frame header, masked: sealed bytes n (3), kind (1), codec (1), raw bytes (3)
//	  o+8     n  ciphertext: nonce o, associated data the frame header unmasked
//	o+8+n    16  tag
//
// and takes 24 bytes more than it seals. Kinds: 1 block, 2 transaction, 3 lazy transaction, 4 end. What is sealed is the
// packed payload (seal.Pack, raw bytes are its length before) behind a prefix that is neither packed nor counted as raw:
// in a block the owner, inode (8) and offset in the file (8); in the others where in this segment the transaction before
// begins (4), 0 when there is none, so that none can be left out. A block has at most 128 KiB raw, a transaction 1 MiB. The
// end frame has no payload and is the last of a complete segment. A segment file is at most 64 MiB; so a frame header
// that was not written here is refused before anything is allocated for it. Without the key nothing but the 24 bytes in front is
// told from random bytes, lengths of frames included.
//
// # What is durable, and when
//
//   - Append puts a frame into memory; a background flusher writes it to the file when 1 MiB waits. Neither makes it durable.
//   - When [Log.Sync] returns nil, every frame up to that position is durable, with the file's name in its directory.
//   - Files are written strictly in order: segment N has its end frame, is cut to size and synced before the file of
//     segment N+1 is created. So only the last file of a log may be torn. A process that takes over begins a new segment,
//     never continues one, and says in its header where it cut the torn one before it (Header.PrevEnd).
//   - In the last segment the first frame that does not open ends the log: no Sync that covered it returned. In every other
//     one, frames up to PrevEnd of the next must open, and anything else is damage. [Replay] applies these rules.
//   - A file without a header that can be read, zeros or nothing, was never synced: [Open] removes it.
//   - Behind what is written a file may hold zeros up to the segment size, until it is complete: they are written ahead so that
//     syncing many small appends changes no metadata of the file (measured on ext4, 2026-11: a third less per fdatasync).
//
// # When the disk fails
//
// Frames stay in memory until their segment is complete on disk, so a write that found no space (ErrNoSpace) is
// repeated by whoever appends or syncs next, and nothing is lost. After a failed fdatasync the kernel may have dropped
// pages that it could not write and call the next fdatasync good (https://lwn.net/Articles/752063/); it can't be repeated.
// Such an error, and any write error but lack of space, is final: ErrFailed from then on. What was durable stays so, and
// what is in memory can still be read.
//
// # Bounds
//
// At most Options.MaxHeldSegments segments are in memory, of Options.SegmentBytes each; an append beyond that waits for the
// disk. One goroutine, the flusher, runs between Open and Close.
package wal
