// Package shardcache keeps the bodies of shards fetched from the nodes in files on the
// local disk, the least recently used going first.
//
// The bodies are pieces of sealed log segments: ciphertext that the caller verifies frame
// by frame. So they are stored as they are, and the names of the files are made of
// object ids, which are random and not secret. Nothing here is worth an fsync: what a
// power cut tears is recognised by its checksum and fetched again.
//
// # File, version 1 (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QSHC"
//	     4     4  version, 1
//	     8    16  object id
//	    24     4  stripe
//	    28     4  shard, at most 255
//	    32     4  size of the body, at most 8 MiB
//	    36     4  CRC-32C of the body
//	    40     4  CRC-32C of bytes 0 to 39
//	    44     -  body, to the end of the file
//
// The file of object 0a1b..., stripe 2, shard 3 is 0a/0a1b...-00000002-03.shard; a file
// being written is called put-*.tmp beside it. A 5-byte body takes 49 bytes, and is counted as 4096.
//
// # What holds
//
// A read gives bytes of a body that was put under that key, or says that it has none.
// The checksum of a file found at Open is checked at its first use; what this process wrote
// itself needs no check. Damage that happens to the file later is for the
// caller's AEAD to find; it calls Drop then.
//
// Cached files and their bytes are bounded by maxBytes (each file counted in whole 4 KiB
// blocks) and memory by maxBytes/64 KiB + 1024 entries of about 150 bytes. Files may vanish at any time, one by
// one or with their directories: that is a miss. Files of other names are left alone. No
// error reaches the reader. When the disk is full, the cache gives space back and puts
// less and less often, until a put succeeds again.
package shardcache

import "errors"

// ErrCorrupt means that a file is not what was put there. It never leaves the package's
// readers, who take it for a miss.
var ErrCorrupt = errors.New("shardcache: corrupt file")
