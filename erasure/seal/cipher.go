package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

const (
	// Overhead is how many bytes Seal adds: the tag of AES-GCM.
	Overhead = 16
	// MaskedBytes is how many bytes Mask hides.
	MaskedBytes = 8

	nonceBytes   = 12
	segmentLabel = "qsfs/v1/segment"
)

// ErrCorrupt means the bytes are not what this package made with this key at this offset: wrong key, wrong place or
// damage. Treat them as missing.
var ErrCorrupt = errors.New("seal: corrupt")

// Cipher seals and opens the frames of one segment. It is safe for concurrent use.
type Cipher struct {
	aead cipher.AEAD
	mask cipher.Block
}

// NewCipher derives the keys of the segment with this id from the volume's data key.
func NewCipher(key *[32]byte, id [16]byte) (*Cipher, error) {
	okm, err := hkdf.Key(sha512.New, key[:], nil, segmentLabel+string(id[:]), 64)
	if err != nil {
		return nil, fmt.Errorf("derive segment key: %w", err)
	}
	defer clear(okm)
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, fmt.Errorf("segment key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("segment key: %w", err)
	}
	mask, err := aes.NewCipher(okm[32:])
	if err != nil {
		return nil, fmt.Errorf("mask key: %w", err)
	}
	return &Cipher{aead: aead, mask: mask}, nil
}

// blockPool lends the 16 bytes for a nonce or a mask: as arguments of interface methods they would be allocated
// anew for every frame.
var blockPool = sync.Pool{New: func() any { return new([aes.BlockSize]byte) }}

// Seal encrypts plain at this offset of the segment, authenticates ad with it, and appends both ciphertext and tag to
// dst. An offset must be sealed at most once in the life of a segment.
func (c *Cipher) Seal(dst []byte, offset uint64, plain, ad []byte) []byte {
	b := blockPool.Get().(*[aes.BlockSize]byte)
	dst = c.aead.Seal(dst, nonce(b, offset), plain, ad)
	blockPool.Put(b)
	return dst
}

// Open appends the plaintext of what Seal made at this offset with this ad to dst, or returns ErrCorrupt.
func (c *Cipher) Open(dst []byte, offset uint64, sealed, ad []byte) ([]byte, error) {
	b := blockPool.Get().(*[aes.BlockSize]byte)
	out, err := c.aead.Open(dst, nonce(b, offset), sealed, ad)
	blockPool.Put(b)
	if err != nil {
		return nil, ErrCorrupt
	}
	return out, nil
}

// Mask hides or shows the first MaskedBytes bytes of b, which stand at this offset of the segment, in place.
func (c *Cipher) Mask(offset uint64, b []byte) {
	pad := blockPool.Get().(*[aes.BlockSize]byte)
	clear(pad[:8])
	binary.BigEndian.PutUint64(pad[8:], offset)
	c.mask.Encrypt(pad[:], pad[:])
	for i, p := range pad[:MaskedBytes] {
		b[i] ^= p
	}
	blockPool.Put(pad)
}

func nonce(b *[aes.BlockSize]byte, offset uint64) []byte {
	clear(b[:4])
	binary.BigEndian.PutUint64(b[4:nonceBytes], offset)
	return b[:nonceBytes]
}
