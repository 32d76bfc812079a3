// Package envelope seals one small record under a key of its own: superblocks,
// leases and small files of the state folder.
//
// # Sealed record (sizes in bytes)
//
//	offset  size  field
//	     0    32  salt, random, fresh for every Seal
//	    32     -  AES-256-GCM of the record
//	     -    16  tag
//
// The key is HKDF-SHA-512(secret, label || salt), see identity/keys.Derive. It
// seals one record, so that the nonce is zero and no (key, nonce) pair repeats.
// The place where the record is kept (its name) is the associated data: moved
// elsewhere it does not open.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"github.com/qsfs/qsfs/identity/keys"
)

// ErrCorrupt means that the bytes were not sealed with this secret for this
// place, or were changed since.
var ErrCorrupt = errors.New("envelope: does not open")

const (
	saltBytes = 32
	tagBytes  = 16

	// Overhead is how much longer a sealed record is.
	Overhead = saltBytes + tagBytes
)

// Seal encrypts plain for a place.
func Seal(secret *[32]byte, label string, place, plain []byte, rand io.Reader) ([]byte, error) {
	out := make([]byte, saltBytes, Overhead+len(plain))
	if _, err := io.ReadFull(rand, out); err != nil {
		return nil, fmt.Errorf("envelope: salt: %w", err)
	}
	aead, err := newAEAD(secret, label, out)
	if err != nil {
		return nil, err
	}
	var nonce [12]byte
	return aead.Seal(out, nonce[:], plain, place), nil
}

// Open decrypts what was sealed for a place.
func Open(secret *[32]byte, label string, place, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(sealed))
	}
	aead, err := newAEAD(secret, label, sealed[:saltBytes])
	if err != nil {
		return nil, err
	}
	var nonce [12]byte
	plain, err := aead.Open(nil, nonce[:], sealed[saltBytes:], place)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}

func newAEAD(secret *[32]byte, label string, salt []byte) (cipher.AEAD, error) {
	var key [32]byte
	if err := keys.Derive(secret[:], label+string(salt), key[:]); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	block, err := aes.NewCipher(key[:])
	clear(key[:])
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return cipher.NewGCM(block)
}
