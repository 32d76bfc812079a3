// Package fs is the filesystem: a Volume, which is one log of sealed frames on
// the local disk and, soon after, on the nodes; and the FUSE adapter that puts
// it under a mount point.
//
// # How a write becomes durable
//
// Data is kept as dirty ranges in memory, or, when a write covers whole
// 64 KiB blocks, sealed at once; a block is appended to the log (fs/wal), and a
// transaction that maps the file range to it (fs/meta) is appended after it.
// fsync appends what is dirty and syncs the log: level "local". Segments are
// closed when full, when they hold data older than half the upload delay, and
// by Sync; closed segments are uploaded (package erasure) in order: level
// "grid". A checkpoint uploads the files of the metadata store, then writes the
// superblock (fs/superblock) that names them and the log position they reach.
//
// # What restores
//
// Newest superblock → manifest → metadata store as of the position P → replay
// of the segments from P on: those that the superblock lists, then those found
// under the next ordinals of its epoch. Replay ends at the first segment that
// is not there: the log has no gaps.
//
// # Files of a volume in its state folder
//
//	volume.json  what the volume is, for people and without the key: Info
//	state.json   which writer this folder is, and whether it was closed cleanly: localState
//	superblock   slot (1 byte), then the newest superblock as stored on the nodes
//	manifest     the checkpoint manifest in an envelope (fs/envelope), see localSeal
//	lock         flock by the process that uses the folder
//	log/         segments not yet on the nodes or needed for replay
//	meta/        the metadata store, through fs/sealfs
//
// # Manifest of a checkpoint
//
// JSON of manifest, version 1, stored on the nodes as one object: every file of
// the metadata store with its random file id and either its layout on the nodes
// or, for small files, its sealed bytes.
//
// # Invariants
//
//   - A superblock is written after everything it leads to is on the nodes at
//     write quorum, and never by a writer that lost the lease.
//   - A local segment leaves the log folder only when it is on the nodes, its
//     record is in a flushed metadata store, and replay starts after it.
//   - What one inode's readers see never goes back: dirty ranges are dropped
//     only after the transaction that replaces them.
//   - Lock order: Volume.writes, inode.io, inode.mu, then the locks inside fs/meta
//     and fs/wal. Volume.superMu is never taken with one of these held.
package fs
