package wal

import (
	"cmp"
	"encoding/binary"
	"fmt"
)

const (
	// PositionBytes is the size of an encoded Position.
	PositionBytes = 12
	// AddrBytes is the size of an encoded Addr.
	AddrBytes = 20
)

// Position is a place between two frames of the log. Positions are ordered as the frames are.
type Position struct {
	Segment uint64 // ordinal
	Offset  uint32 // in the segment file
}

// Compare is negative when p comes before q, zero when they are equal, positive when p comes after.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Segment, q.Segment), cmp.Compare(p.Offset, q.Offset))
}

// Less reports whether p comes before q.
func (p Position) Less(q Position) bool { return p.Compare(q) < 0 }

func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Segment, p.Offset) }

// AppendTo appends the 12 bytes of p, big endian: encoded positions are ordered as positions are.
func (p Position) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Segment)
	return binary.BigEndian.AppendUint32(b, p.Offset)
}

// DecodePosition reads what AppendTo wrote, exactly.
func DecodePosition(b []byte) (Position, error) {
	if len(b) != PositionBytes {
		return Position{}, fmt.Errorf("%w: position of %d bytes", ErrCorrupt, len(b))
	}
	return Position{Segment: binary.BigEndian.Uint64(b), Offset: binary.BigEndian.Uint32(b[8:])}, nil
}

// Addr says where a block is and how long: the whole frame, and the block once unpacked.
type Addr struct {
	Segment    uint64 // ordinal
	Offset     uint32 // of the frame in the segment file
	FrameBytes uint32
	RawBytes   uint32
}

// Position is where the block's frame begins.
func (a Addr) Position() Position { return Position{a.Segment, a.Offset} }

// Compare orders addresses as the frames are in the log.
func (a Addr) Compare(b Addr) int { return a.Position().Compare(b.Position()) }

func (a Addr) String() string {
	return fmt.Sprintf("%d:%d+%d", a.Segment, a.Offset, a.FrameBytes)
}

// AppendTo appends the 20 bytes of a, big endian.
func (a Addr) AppendTo(b []byte) []byte {
	b = a.Position().AppendTo(b)
	b = binary.BigEndian.AppendUint32(b, a.FrameBytes)
	return binary.BigEndian.AppendUint32(b, a.RawBytes)
}

// DecodeAddr reads what AppendTo wrote, exactly, and refuses an address that no block can have.
func DecodeAddr(b []byte) (Addr, error) {
	if len(b) != AddrBytes {
		return Addr{}, fmt.Errorf("%w: address of %d bytes", ErrCorrupt, len(b))
	}
	a := Addr{
		Segment:    binary.BigEndian.Uint64(b),
		Offset:     binary.BigEndian.Uint32(b[8:]),
		FrameBytes: binary.BigEndian.Uint32(b[12:]),
		RawBytes:   binary.BigEndian.Uint32(b[16:]),
	}
	return a, a.check()
}

func (a Addr) check() error {
	if a.RawBytes > MaxBlockBytes || a.FrameBytes < frameOverhead+ownerBytes ||
		a.FrameBytes > frameOverhead+ownerBytes+a.RawBytes ||
		a.Offset < headerBytes || uint64(a.Offset)+uint64(a.FrameBytes) > MaxSegmentBytes {
		return fmt.Errorf("%w: no block can be at %v", ErrCorrupt, a)
	}
	return nil
}
