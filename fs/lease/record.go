package lease

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Record is the lease as stored. Field names are part of the format.
type Record struct {
	Epoch    uint32 `json:"epoch"`
	WriterID []byte `json:"writer_id"`
	Holder   string `json:"holder"` // for people: host, process, mount
	Counter  uint64 `json:"counter"`
	Released bool   `json:"released"`
}

func (r *Record) sameWriter(writerID []byte) bool { return bytes.Equal(r.WriterID, writerID) }

// equal reports whether r is the same as o, so that its holder has not renewed it.
func (r *Record) equal(o *Record) bool {
	return o != nil && r.Epoch == o.Epoch && r.Counter == o.Counter && r.Released == o.Released && r.sameWriter(o.WriterID)
}

const (
	saltBytes = 32
	tagBytes  = 16
	headBytes = 6
	maxBytes  = 4 << 10
	version   = 1

	writerIDBytes = 16
	nameLabel     = "qsfs/v1/lease-name"
	valueLabel    = "qsfs/v1/lease"
)

var magic = [4]byte{'Q', 'L', 'E', 'A'}

// Name is the key under which every node keeps the record.
func Name(key *[32]byte) []byte { return derive(key, nameLabel) }

// Seal encodes and encrypts r.
func Seal(r *Record, key *[32]byte, rand io.Reader) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("lease: encode: %w", err)
	}
	if len(body) > maxBytes || len(r.WriterID) != writerIDBytes {
		return nil, fmt.Errorf("lease: record of %d bytes, limit %d, writer id of %d", len(body), maxBytes, len(r.WriterID))
	}
	plain := append(binary.LittleEndian.AppendUint16(append([]byte(nil), magic[:]...), version), body...)
	out := make([]byte, saltBytes, saltBytes+len(plain)+tagBytes)
	if _, err := io.ReadFull(rand, out); err != nil {
		return nil, fmt.Errorf("lease: salt: %w", err)
	}
	aead, err := newAEAD(key, out[:saltBytes])
	if err != nil {
		return nil, err
	}
	var nonce [12]byte
	return aead.Seal(out, nonce[:], plain, Name(key)), nil
}

// Open decrypts and decodes a stored record.
func Open(value []byte, key *[32]byte) (*Record, error) {
	if len(value) < saltBytes+headBytes+tagBytes || len(value) > saltBytes+headBytes+maxBytes+tagBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(value))
	}
	aead, err := newAEAD(key, value[:saltBytes])
	if err != nil {
		return nil, err
	}
	var nonce [12]byte
	plain, err := aead.Open(nil, nonce[:], value[saltBytes:], Name(key))
	if err != nil {
		return nil, ErrCorrupt
	}
	return decode(plain)
}

func decode(plain []byte) (*Record, error) {
	if len(plain) < headBytes || !bytes.Equal(plain[:4], magic[:]) {
		return nil, fmt.Errorf("%w: no lease", ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint16(plain[4:]); v > version {
		return nil, fmt.Errorf("%w: version %d, this one knows %d", ErrTooNew, v, version)
	} else if v != version {
		return nil, fmt.Errorf("%w: version %d", ErrCorrupt, v)
	}
	var r Record
	if err := json.Unmarshal(plain[headBytes:], &r); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if len(r.WriterID) != writerIDBytes {
		return nil, fmt.Errorf("%w: writer id of %d bytes", ErrCorrupt, len(r.WriterID))
	}
	return &r, nil
}

func newAEAD(key *[32]byte, salt []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(derive(key, valueLabel+string(salt)))
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	return cipher.NewGCM(block)
}

// derive never fails: the lengths are constant.
func derive(key *[32]byte, info string) []byte {
	out, err := hkdf.Key(sha512.New, key[:], nil, info, 32)
	if err != nil {
		panic(err)
	}
	return out
}
