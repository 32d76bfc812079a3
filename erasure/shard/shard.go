// Package shard is the stored form of a shard: the value that lies under one key
// on one node.
//
// # Key
//
// A shard lies under the first 16 bytes of HMAC-SHA-256 under the name key of
//
//	object id (16) | stripe index (4, little endian) | shard index (1)
//
// Without the name key a key is random bytes: a node cannot link two shards of one
// object, nor tell data from parity, nor one write of a shard from another.
//
// # Value (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0    16  salt, random, new for every write
//	    16   112  header, encrypted
//	   128     b  body, encrypted: the b bytes of the shard
//	 128+b    16  tag
//
// Header and body are one AES-256-GCM message under the all-zero nonce and
//
//	key = HKDF-SHA-512(secret: shard key, salt: none, info: "qsfs/v1/shard" | salt | name)
//
// so that a key seals one message only, also when a shard is written again, and a
// value that a node gives under another name does not open. Every byte of a value
// is uniformly random to whoever lacks the key.
//
// # Header
//
//	offset  size  field
//	     0     4  magic "QSHD"
//	     4     1  version, 1
//	     5     1  data shards of a stripe, k, at least 1
//	     6     1  parity shards of a stripe, m; k+m is at most 255
//	     7     1  shard index in the stripe, below k+m; those below k are data
//	     8     4  stripe index in the object
//	    12     4  body bytes, b
//	    16     8  bytes of the whole object
//	    24     4  body bytes of a shard in all stripes but the last
//	    28     4  zero
//	    32    16  object id
//	    48    16  sum of the stripe, see [Codec.Sum]
//	    64    48  zero
//
// A shard therefore says by itself what it is: objects can be found and put
// together again with the keys alone. The body starts at a multiple of 64 bytes,
// which vector code likes.
//
// Invariants: the body that Open returns is the one given to Seal under the same
// name, or there is an error. Shards of one stripe whose sums are equal were
// encoded from the same bytes.
package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the parts of a stored value, in bytes.
const (
	NameBytes   = 16
	SumBytes    = 16
	SaltBytes   = 16
	HeaderBytes = 112
	TagBytes    = 16
	BodyOffset  = SaltBytes + HeaderBytes         // where the body lies in a value
	Overhead    = BodyOffset + TagBytes           // value bytes beyond the body
	MaxValue    = 8 << 20                         // what a 0-db node takes
	MaxBody     = (MaxValue - Overhead) / 64 * 64 // largest body
	MaxShards   = 255                             // of a stripe, data and parity
)

const (
	magic   = "QSHD"
	version = 1
)

var (
	// ErrCorrupt means the value is not the shard that was written under this name:
	// damaged, cut, swapped or forged. It counts as missing.
	ErrCorrupt = errors.New("shard: corrupt")
	// ErrTooNew means the shard is genuine, but of a format this program does not know.
	ErrTooNew = errors.New("shard: format newer than this program")
)

// Name is the key under which a shard lies on its node.
type Name [NameBytes]byte

// Sum tells encodings of different bytes apart, see [Codec.Sum].
type Sum [SumBytes]byte

// Ref says which shard of which object.
type Ref struct {
	Object [16]byte
	Stripe uint32
	Index  uint8
}

// Header is what a shard says about itself.
type Header struct {
	Ref
	Data, Parity uint8  // k and m of the stripe
	BodyBytes    uint32 // of this shard
	ShardBytes   uint32 // body bytes of every stripe but the last
	ObjectBytes  int64  // of the whole object
	Sum          Sum    // of the stripe
}

// ValueBytes returns the size of the value that holds a body of bodyBytes.
func ValueBytes(bodyBytes int) int { return bodyBytes + Overhead }

// check says whether h can be a header at all.
func (h *Header) check() error {
	switch n := int(h.Data) + int(h.Parity); {
	case h.Data == 0 || n > MaxShards:
		return fmt.Errorf("geometry %d+%d", h.Data, h.Parity)
	case int(h.Index) >= n:
		return fmt.Errorf("shard %d of %d", h.Index, n)
	case h.BodyBytes == 0 || h.BodyBytes > h.ShardBytes || h.ShardBytes > MaxBody:
		return fmt.Errorf("body of %d bytes, largest %d", h.BodyBytes, h.ShardBytes)
	case h.ObjectBytes < 0:
		return fmt.Errorf("object of %d bytes", h.ObjectBytes)
	}
	return nil
}

// encode writes the header to b, which is HeaderBytes long.
func (h *Header) encode(b []byte) {
	clear(b[:HeaderBytes])
	copy(b, magic)
	b[4], b[5], b[6], b[7] = version, h.Data, h.Parity, h.Index
	binary.LittleEndian.PutUint32(b[8:], h.Stripe)
	binary.LittleEndian.PutUint32(b[12:], h.BodyBytes)
	binary.LittleEndian.PutUint64(b[16:], uint64(h.ObjectBytes))
	binary.LittleEndian.PutUint32(b[24:], h.ShardBytes)
	copy(b[32:48], h.Object[:])
	copy(b[48:64], h.Sum[:])
}

// decodeHeader reads a header; what it accepts, encode writes back byte for byte.
func decodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderBytes || string(b[:4]) != magic {
		return Header{}, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	if b[4] > version {
		return Header{}, fmt.Errorf("%w: version %d", ErrTooNew, b[4])
	}
	if b[4] != version {
		return Header{}, fmt.Errorf("%w: version %d", ErrCorrupt, b[4])
	}
	h := Header{
		Ref:         Ref{Object: [16]byte(b[32:48]), Stripe: binary.LittleEndian.Uint32(b[8:]), Index: b[7]},
		Data:        b[5],
		Parity:      b[6],
		BodyBytes:   binary.LittleEndian.Uint32(b[12:]),
		ShardBytes:  binary.LittleEndian.Uint32(b[24:]),
		ObjectBytes: int64(binary.LittleEndian.Uint64(b[16:])),
		Sum:         Sum(b[48:64]),
	}
	if err := h.check(); err != nil {
		return Header{}, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	var zero [HeaderBytes]byte
	if !bytes.Equal(b[28:32], zero[:4]) || !bytes.Equal(b[64:HeaderBytes], zero[64:]) {
		return Header{}, fmt.Errorf("%w: reserved bytes in use", ErrCorrupt)
	}
	return h, nil
}
