package wal

import (
	"fmt"

	"github.com/qsfs/qsfs/erasure/seal"
)

// Cipher opens the frames of one segment, from wherever they were read. It is safe for concurrent use.
type Cipher struct{ c *seal.Cipher }

// NewCipher derives the keys of the segment with this id from the volume's data key.
func NewCipher(key *[32]byte, id SegmentID) (*Cipher, error) {
	c, err := seal.NewCipher(key, id)
	if err != nil {
		return nil, err
	}
	return &Cipher{c}, nil
}

// OpenBlock appends the block in this frame, which is what the segment has at a, to dst. frame is not changed. The error
// is ErrCorrupt.
func (c *Cipher) OpenBlock(dst []byte, a Addr, frame []byte) ([]byte, error) {
	out, _, err := c.OpenBlockOwner(dst, a, frame)
	return out, err
}

// OpenBlockOwner is OpenBlock that also tells whom the block was written for.
func (c *Cipher) OpenBlockOwner(dst []byte, a Addr, frame []byte) ([]byte, Owner, error) {
	if err := a.check(); err != nil {
		return nil, Owner{}, err
	}
	if uint64(len(frame)) != uint64(a.FrameBytes) {
		return nil, Owner{}, fmt.Errorf("%w: %d bytes for the block at %v", ErrCorrupt, len(frame), a)
	}
	h, err := c.peek(a.Offset, frame)
	if err != nil {
		return nil, Owner{}, err
	}
	if h.kind != KindBlock || h.frameBytes() != a.FrameBytes || h.rawBytes != a.RawBytes {
		return nil, Owner{}, fmt.Errorf("%w: no such block at %v", ErrCorrupt, a)
	}
	scratch := getScratch(int(h.sealedBytes))
	defer putScratch(scratch)
	body, err := c.open((*scratch)[:0], a.Offset, h, frame)
	if err != nil {
		return nil, Owner{}, err
	}
	out, err := seal.Unpack(dst, body[ownerBytes:], h.codec, int(h.rawBytes))
	if err != nil {
		return nil, Owner{}, fmt.Errorf("%w: block at %v: %w", ErrCorrupt, a, err)
	}
	return out, decodeOwner(body), nil
}

// peek reads the header of the frame at this offset, of which at least the first 8 bytes are given. Nothing vouches
// for what it says but the checks of decodeFrameHeader.
func (c *Cipher) peek(offset uint32, frame []byte) (frameHeader, error) {
	if len(frame) < frameHeaderBytes {
		return frameHeader{}, fmt.Errorf("%w: frame of %d bytes", ErrCorrupt, len(frame))
	}
	scratch := getScratch(frameHeaderBytes)
	defer putScratch(scratch)
	plain := append((*scratch)[:0], frame[:frameHeaderBytes]...)
	c.c.Mask(uint64(offset), plain)
	h, err := decodeFrameHeader(plain)
	if err != nil {
		return h, fmt.Errorf("frame at %d: %w", offset, err)
	}
	return h, nil
}

// open appends what the frame seals to dst, still packed, when frame is the whole frame with header h.
func (c *Cipher) open(dst []byte, offset uint32, h frameHeader, frame []byte) ([]byte, error) {
	scratch := getScratch(frameHeaderBytes)
	defer putScratch(scratch)
	ad := (*scratch)[:frameHeaderBytes]
	h.encode(ad)
	body, err := c.c.Open(dst, uint64(offset), frame[frameHeaderBytes:], ad)
	if err != nil {
		return nil, fmt.Errorf("%w: %v frame at %d: %w", ErrCorrupt, h.kind, offset, err)
	}
	return body, nil
}
