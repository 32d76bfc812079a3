package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/qsfs/qsfs/erasure/seal"
)

const (
	// MaxBlockBytes bounds a block.
	MaxBlockBytes = 128 << 10
	// MaxTxnBytes bounds a transaction.
	MaxTxnBytes = seal.MaxRawBytes
	// MaxSegmentBytes bounds a segment file.
	MaxSegmentBytes = 64 << 20

	frameHeaderBytes = seal.MaskedBytes
	frameOverhead    = frameHeaderBytes + seal.Overhead // of a frame over what it seals
	ownerBytes       = 16                               // in front of a block
	prevTxnBytes     = 4                                // in front of a transaction, and all of an end frame
	endFrameBytes    = frameOverhead + prevTxnBytes
)

// Kind says what a frame is.
type Kind uint8

const (
	KindBlock   Kind = 1 // a block of file data
	KindTxn     Kind = 2 // a metadata transaction
	KindLazyTxn Kind = 3 // a transaction that alone gives no reason to close a segment
	kindEnd     Kind = 4 // the last frame of a complete segment
)

func (k Kind) String() string {
	switch k {
	case KindBlock:
		return "block"
	case KindTxn:
		return "txn"
	case KindLazyTxn:
		return "lazy txn"
	case kindEnd:
		return "end"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Owner says which file a block was written for, so that a cleaner that reads a segment knows whom to ask whether the
// block is still in use. It may be out of date: files move and share blocks.
type Owner struct {
	Ino        uint64
	FileOffset uint64
}

func (o Owner) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, o.Ino)
	return binary.BigEndian.AppendUint64(b, o.FileOffset)
}

func decodeOwner(b []byte) Owner {
	return Owner{Ino: binary.BigEndian.Uint64(b), FileOffset: binary.BigEndian.Uint64(b[8:])}
}

// frameHeader is the 8 bytes in front of a frame. Until the frame is opened nothing vouches for them.
type frameHeader struct {
	sealedBytes uint32
	kind        Kind
	codec       seal.Codec
	rawBytes    uint32
}

// frameBytes is the size of the whole frame.
func (h frameHeader) frameBytes() uint32 { return h.sealedBytes + frameOverhead }

func (h frameHeader) encode(b []byte) {
	binary.BigEndian.PutUint32(b, h.sealedBytes<<8|uint32(h.kind))
	binary.BigEndian.PutUint32(b[4:], uint32(h.codec)<<24|h.rawBytes)
}

// decodeFrameHeader refuses every header that encode is never given.
func decodeFrameHeader(b []byte) (frameHeader, error) {
	first, second := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	h := frameHeader{
		sealedBytes: first >> 8,
		kind:        Kind(first),
		codec:       seal.Codec(second >> 24),
		rawBytes:    second & 0xFFFFFF,
	}
	prefix, limit := uint32(0), uint32(0)
	switch h.kind {
	case KindBlock:
		prefix, limit = ownerBytes, MaxBlockBytes
	case KindTxn, KindLazyTxn:
		prefix, limit = prevTxnBytes, MaxTxnBytes
	case kindEnd:
		prefix = prevTxnBytes
	default:
		return frameHeader{}, fmt.Errorf("%w: frame of %v", ErrCorrupt, h.kind)
	}
	full := prefix + h.rawBytes
	switch {
	case h.rawBytes > limit:
	case h.codec == seal.CodecNone && h.sealedBytes == full:
		return h, nil
	case h.codec == seal.CodecLZ4 && h.sealedBytes > prefix && h.sealedBytes < full:
		return h, nil
	}
	return frameHeader{}, fmt.Errorf("%w: %v frame of %d sealed and %d raw bytes", ErrCorrupt, h.kind, h.sealedBytes, h.rawBytes)
}
