package seal

import (
	"fmt"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// MaxRawBytes bounds what Pack takes and Unpack gives.
const MaxRawBytes = 1 << 20

// Codec says how packed bytes are to be unpacked. It is stored beside them.
type Codec uint8

const (
	CodecNone Codec = 0 // as they are
	CodecLZ4  Codec = 1 // one lz4 block
)

// Valid reports whether this program knows the codec.
func (c Codec) Valid() bool { return c <= CodecLZ4 }

const (
	// A block below minPackBytes stays as it is: lz4 spends longer on clearing its table than it could save.
	minPackBytes = 256
	// Of a block above sampleFromBytes, sampleBytes in the middle are tried first. lz4 itself hurries through what does
	// not compress, yet 64 KiB of random bytes cost it 7 µs, half as much as the AEAD; the sample costs 2 µs.
	sampleFromBytes = 16 << 10
	sampleBytes     = 4 << 10
	// lz4 cannot expand by more than 255: a match of 255 more bytes costs at least one byte of input.
	maxExpansion = 255
)

// worthBytes is the largest compressed size that pays: a sixteenth must be saved.
func worthBytes(raw int) int { return raw - (raw+15)/16 }

var compressorPool = sync.Pool{New: func() any { return new(lz4.Compressor) }}

// Pack appends src to dst, compressed when that pays, and says how. It panics when src is larger than MaxRawBytes,
// which only a bug of the caller can bring about.
func Pack(dst, src []byte) ([]byte, Codec) {
	if len(src) > MaxRawBytes {
		panic(fmt.Sprintf("seal: pack %d bytes, at most %d", len(src), MaxRawBytes))
	}
	dst = slices.Grow(dst, len(src))
	if len(src) >= minPackBytes {
		c := compressorPool.Get().(*lz4.Compressor)
		n := compress(c, dst[len(dst):cap(dst)], src)
		compressorPool.Put(c)
		if n > 0 {
			return dst[:len(dst)+n], CodecLZ4
		}
	}
	return append(dst, src...), CodecNone
}

// compress writes src into room as one lz4 block and returns its size, or 0 when that does not pay.
func compress(c *lz4.Compressor, room, src []byte) int {
	if len(src) >= sampleFromBytes {
		// Within 4 KiB lz4 finds fewer matches than within the whole, so any gain at all makes the whole worth trying.
		middle := src[(len(src)-sampleBytes)/2:][:sampleBytes]
		if n, err := c.CompressBlock(middle, room[:sampleBytes]); err != nil || n == 0 || n >= sampleBytes-sampleBytes/64 {
			return 0
		}
	}
	n, err := c.CompressBlock(src, room[:worthBytes(len(src))])
	if err != nil {
		return 0 // does not fit in what would pay
	}
	return n
}

// Unpack appends the rawBytes bytes that src was packed from to dst. An error is ErrCorrupt; nothing is allocated for
// lengths that cannot be right.
func Unpack(dst, src []byte, codec Codec, rawBytes int) ([]byte, error) {
	if rawBytes < 0 || rawBytes > MaxRawBytes {
		return nil, fmt.Errorf("%w: %d raw bytes", ErrCorrupt, rawBytes)
	}
	switch codec {
	case CodecNone:
		if len(src) != rawBytes {
			return nil, fmt.Errorf("%w: %d bytes stored, %d said", ErrCorrupt, len(src), rawBytes)
		}
		return append(dst, src...), nil
	case CodecLZ4:
		// Smaller than raw, so neither is empty: lz4's decoder for amd64 (v4.1.33) crashes on an empty destination.
		if len(src) == 0 || len(src) >= rawBytes || rawBytes > len(src)*maxExpansion {
			return nil, fmt.Errorf("%w: %d lz4 bytes for %d", ErrCorrupt, len(src), rawBytes)
		}
		dst = slices.Grow(dst, rawBytes)
		end := len(dst) + rawBytes
		n, err := lz4.UncompressBlock(src, dst[len(dst):end:end])
		if err != nil || n != rawBytes {
			return nil, fmt.Errorf("%w: lz4 block", ErrCorrupt)
		}
		return dst[:end], nil
	default:
		return nil, fmt.Errorf("%w: unknown codec %d", ErrCorrupt, codec)
	}
}
