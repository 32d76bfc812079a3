package wal

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/erasure/seal"
)

// segment is one that is still in memory: open, or closed and not yet complete on disk.
type segment struct {
	Header
	cipher *Cipher
	// buf[:filled] is the file as it will be; those bytes never change again, so they are read without Log.mu
	// once filled was read with it.
	buf []byte

	// Guarded by Log.mu.
	filled       int
	lastTxn      uint32 // where the last transaction begins, 0 when there is none
	pendingBytes int64  // of frames that are not lazy
	closed       bool   // the end frame is in
	readers      int    // that use buf just now

	// Owned by whoever holds the I/O turn.
	file         vfs.File // nil until it is created
	name         string
	preallocated bool
	nameSynced   bool
	canTruncate  bool
	direct       bool   // writes go past the page cache
	page         []byte // aligned, for pages that are not full
	written      int    // bytes of buf in the file
	zeroedTo     int    // zeros were written up to here
}

// fits reports whether a frame of n bytes fits in front of the end frame.
func (s *segment) fits(n int) bool { return s.filled+n+endFrameBytes <= len(s.buf) }

// put seals a frame at the end of the segment, where it fits, and returns its offset. Of every kind but a block it fills in
// the first bytes of body: where the transaction before is.
func (s *segment) put(kind Kind, codec seal.Codec, rawBytes int, body []byte) uint32 {
	offset := s.filled
	if kind != KindBlock {
		binary.BigEndian.PutUint32(body, s.lastTxn)
		s.lastTxn = uint32(offset)
	}
	head := s.buf[offset : offset+frameHeaderBytes]
	frameHeader{sealedBytes: uint32(len(body)), kind: kind, codec: codec, rawBytes: uint32(rawBytes)}.encode(head)
	end := offset + len(body) + frameOverhead
	s.cipher.c.Seal(s.buf[offset+frameHeaderBytes:offset+frameHeaderBytes:end], uint64(offset), body, head)
	s.cipher.c.Mask(uint64(offset), head)
	s.filled = end
	return uint32(offset)
}
