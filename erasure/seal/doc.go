// Package seal turns plaintext into bytes that may leave the process, and back: lz4 when it pays, then AES-256-GCM.
//
// # Segment keys
//
// Every segment file of a volume has its own keys, derived from the volume's data key and the segment's 128-bit
// random id (HKDF, RFC 5869, with SHA-512 and no salt):
//
//	okm      = HKDF-SHA-512(data key, info = "qsfs/v1/segment" || segment id, 64 bytes)
//	AEAD key = okm[0:32]     AES-256-GCM, 16-byte tag
//	mask key = okm[32:64]    AES-256 on single blocks
//
// The nonce of a frame is its byte offset in the segment file, 12 bytes big endian. A segment is written by one
// process, front to back, and never continued by another, so an offset is sealed once and no (key, nonce) pair
// repeats. Whoever seals keeps that rule; [Cipher] cannot check it.
//
// A mask hides the 8 bytes in front of a frame that say how long it is: they are XORed with the first 8 bytes of
// AES-256(mask key, offset as 16 bytes big endian). A mask is used once per offset as well. It hides and does not
// authenticate: the caller passes the same 8 bytes, unmasked, as associated data of the frame.
//
// # Packing
//
// [Pack] compresses to one lz4 block (lz4 block format 1.6) when that saves at least a sixteenth, and leaves the bytes
// as they are otherwise. What it did is the frame's codec; the raw length travels beside it and is at most
// [MaxRawBytes], so that unpacking is bounded before it starts.
package seal
