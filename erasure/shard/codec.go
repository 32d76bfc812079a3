package shard

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	shardLabel = "qsfs/v1/shard"
	sumLabel   = "qsfs/v1/shard-sum"
)

var zeroNonce [12]byte

// Codec names, seals and opens shards. It is safe for concurrent use.
type Codec struct {
	name   [32]byte
	secret []byte // HKDF's pseudo-random key, extracted once
}

// NewCodec returns a codec with the name key and the shard key of a volume.
func NewCodec(nameKey, shardKey *[32]byte) *Codec {
	secret, err := hkdf.Extract(sha512.New, shardKey[:], nil)
	if err != nil {
		panic(fmt.Sprintf("shard: hkdf extract: %v", err)) // 32 bytes are never refused
	}
	return &Codec{name: *nameKey, secret: secret}
}

// Wipe zeroes the keys. The codec must not be used afterwards.
func (c *Codec) Wipe() {
	clear(c.name[:])
	clear(c.secret)
}

// Name returns the key under which the shard lies on its node.
func (c *Codec) Name(r Ref) Name {
	var in [21]byte
	copy(in[:16], r.Object[:])
	binary.LittleEndian.PutUint32(in[16:20], r.Stripe)
	in[20] = r.Index
	mac := hmac.New(sha256.New, c.name[:])
	mac.Write(in[:])
	var out [sha256.Size]byte
	return Name(mac.Sum(out[:0])[:NameBytes])
}

// Seal makes value, whose bytes from BodyOffset on are a body of h.BodyBytes with
// room for the tag behind it, the stored form of that body, in place. The salt
// is read from rand and is all that keeps keys apart: rand must never repeat.
func (c *Codec) Seal(value []byte, h Header, rand io.Reader) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("shard: seal: %w", err)
	}
	if len(value) != ValueBytes(int(h.BodyBytes)) {
		return fmt.Errorf("shard: seal: value of %d bytes for a body of %d", len(value), h.BodyBytes)
	}
	if _, err := io.ReadFull(rand, value[:SaltBytes]); err != nil {
		return fmt.Errorf("shard: salt: %w", err)
	}
	name := c.Name(h.Ref)
	aead, err := c.aead(value[:SaltBytes], name)
	if err != nil {
		return err
	}
	h.encode(value[SaltBytes:BodyOffset])
	plain := value[SaltBytes : len(value)-TagBytes]
	aead.Seal(plain[:0], zeroNonce[:], plain, nil)
	return nil
}

// Open verifies that value is the shard that r names and returns its header and
// its body, decrypted in place: value is overwritten and the body aliases it.
func (c *Codec) Open(r Ref, value []byte) (Header, []byte, error) {
	if len(value) <= Overhead || len(value) > ValueBytes(MaxBody) {
		return Header{}, nil, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(value))
	}
	aead, err := c.aead(value[:SaltBytes], c.Name(r))
	if err != nil {
		return Header{}, nil, err
	}
	sealed := value[SaltBytes:]
	plain, err := aead.Open(sealed[:0], zeroNonce[:], sealed, nil)
	if err != nil {
		return Header{}, nil, fmt.Errorf("%w: does not open", ErrCorrupt)
	}
	h, err := decodeHeader(plain)
	if err != nil {
		return Header{}, nil, err
	}
	body := plain[HeaderBytes:]
	if h.Ref != r || int(h.BodyBytes) != len(body) {
		return Header{}, nil, fmt.Errorf("%w: header is another shard's", ErrCorrupt)
	}
	return h, body[:len(body):len(body)], nil
}

// Sum returns the sum of a stripe: a GMAC of each data body, the index of the shard
// as nonce, and a GMAC over these, under a key of this stripe alone:
//
//	HKDF-SHA-512(secret: shard key, salt: none, info: "qsfs/v1/shard-sum" | object id | stripe, little endian)
//
// It seals nothing and is stored only inside encrypted headers, so that the same
// nonce for two versions of a stripe gives nothing away. Shards of two encodings of one stripe
// that differ in a byte have different sums but for a chance below 2^-100, so an old
// shard that a node kept or plays back never mixes with new ones.
func (c *Codec) Sum(object [16]byte, stripe uint32, bodies [][]byte) (Sum, error) {
	info := make([]byte, 0, len(sumLabel)+20)
	info = append(info, sumLabel...)
	info = append(info, object[:]...)
	info = binary.LittleEndian.AppendUint32(info, stripe)
	aead, err := c.derive(info)
	if err != nil {
		return Sum{}, err
	}
	var nonce [12]byte
	sums := make([]byte, 0, (len(bodies)+1)*SumBytes)
	for i, body := range bodies {
		binary.LittleEndian.PutUint32(nonce[:], uint32(i))
		sums = aead.Seal(sums, nonce[:], nil, body)
	}
	binary.LittleEndian.PutUint32(nonce[:], 1<<31)
	return Sum(aead.Seal(sums, nonce[:], nil, sums)[len(sums):]), nil
}

// aead returns the cipher of one value.
func (c *Codec) aead(salt []byte, name Name) (cipher.AEAD, error) {
	var info [len(shardLabel) + SaltBytes + NameBytes]byte
	n := copy(info[:], shardLabel)
	n += copy(info[n:], salt)
	copy(info[n:], name[:])
	return c.derive(info[:])
}

func (c *Codec) derive(info []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha512.New, c.secret, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("shard: derive key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("shard: cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("shard: cipher: %w", err)
	}
	return aead, nil
}
