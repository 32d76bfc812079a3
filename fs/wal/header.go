package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	version          = 1
	clearHeaderBytes = 24
	headerBodyBytes  = 40
	headerBytes      = clearHeaderBytes + headerBodyBytes + 16 // where the first frame begins
)

var magic = [4]byte{'Q', 'S', 'E', 'G'}

// SegmentID is the random name of a segment; its keys are derived from it.
type SegmentID [16]byte

func (id SegmentID) String() string { return hex.EncodeToString(id[:]) }

// Header is what a segment file says about itself.
type Header struct {
	ID        SegmentID
	Epoch     uint32    // of the writer
	Ordinal   uint64    // in the log, the first is 0
	Prev      SegmentID // the segment before, zero when there is none
	PrevEnd   uint32    // where the segment before ends, in bytes; 0 when not known
	CreatedAt time.Time
}

// Follows returns nil when h may stand right behind the segment prev, of which frames up to prevEnd are valid. A segment
// that was cut short since, or exchanged, is damage.
func (h Header) Follows(prev Header, prevEnd uint32) error {
	switch {
	case h.Ordinal != prev.Ordinal+1:
		return fmt.Errorf("%w: segment %d behind segment %d", ErrCorrupt, h.Ordinal, prev.Ordinal)
	case h.Prev != prev.ID:
		return fmt.Errorf("%w: segment %d follows %v, not %v", ErrCorrupt, h.Ordinal, h.Prev, prev.ID)
	case h.PrevEnd != 0 && h.PrevEnd != prevEnd:
		return fmt.Errorf("%w: segment %d is good up to %d, was good up to %d", ErrCorrupt, prev.Ordinal, prevEnd, h.PrevEnd)
	}
	return nil
}

// encode writes the header's 80 bytes to b.
func (h Header) encode(b []byte, c *Cipher) {
	copy(b, magic[:])
	binary.BigEndian.PutUint32(b[4:], version)
	copy(b[8:], h.ID[:])
	var body [headerBodyBytes]byte
	binary.BigEndian.PutUint64(body[0:], h.Ordinal)
	binary.BigEndian.PutUint32(body[8:], h.PrevEnd)
	binary.BigEndian.PutUint32(body[12:], h.Epoch)
	copy(body[16:], h.Prev[:])
	binary.BigEndian.PutUint64(body[32:], uint64(h.CreatedAt.UnixNano()))
	c.c.Seal(b[:clearHeaderBytes], clearHeaderBytes, body[:], b[:clearHeaderBytes])
}

func decodeHeader(b []byte, key *[32]byte) (Header, *Cipher, error) {
	if !bytes.Equal(b[:4], magic[:]) {
		return Header{}, nil, fmt.Errorf("%w: not a segment file", ErrCorrupt)
	}
	switch v := binary.BigEndian.Uint32(b[4:]); {
	case v > version:
		return Header{}, nil, fmt.Errorf("%w: %d", ErrTooNew, v)
	case v != version:
		return Header{}, nil, fmt.Errorf("%w: segment version %d", ErrCorrupt, v)
	}
	h := Header{ID: SegmentID(b[8:clearHeaderBytes])}
	c, err := NewCipher(key, h.ID)
	if err != nil {
		return Header{}, nil, err
	}
	body, err := c.c.Open(nil, clearHeaderBytes, b[clearHeaderBytes:headerBytes], b[:clearHeaderBytes])
	if err != nil {
		return Header{}, nil, fmt.Errorf("%w: segment header: %w", ErrCorrupt, err)
	}
	h.Ordinal = binary.BigEndian.Uint64(body[0:])
	h.PrevEnd = binary.BigEndian.Uint32(body[8:])
	h.Epoch = binary.BigEndian.Uint32(body[12:])
	h.Prev = SegmentID(body[16:32])
	h.CreatedAt = time.Unix(0, int64(binary.BigEndian.Uint64(body[32:]))).UTC()
	return h, c, nil
}

// ReadHeader reads and verifies the header of a segment file. ErrTorn: the file is shorter than a header, or it begins
// with zeros instead of one, so nothing in it was ever synced.
func ReadHeader(r io.ReaderAt, key *[32]byte) (Header, error) {
	h, _, err := readHeader(r, key)
	return h, err
}

func readHeader(r io.ReaderAt, key *[32]byte) (Header, *Cipher, error) {
	var b [headerBytes]byte
	switch n, err := r.ReadAt(b[:], 0); {
	case n == headerBytes:
	case err == nil, errors.Is(err, io.EOF):
		return Header{}, nil, fmt.Errorf("%w: %d bytes of header", ErrTorn, n)
	default:
		return Header{}, nil, fmt.Errorf("read segment header: %w", err)
	}
	if b == [headerBytes]byte{} {
		return Header{}, nil, fmt.Errorf("%w: no header", ErrTorn)
	}
	return decodeHeader(b[:], key)
}
