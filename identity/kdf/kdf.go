// Package kdf is the one key derivation function of qsfs: HKDF-SHA-512 (RFC 5869) with an empty salt and the label
// as info.
//
// The input is always a uniform secret of at least 256 bits, so the salt adds nothing (RFC 5869 section 3.1); SHA-512
// keeps more than 256 bits of strength against a quantum computer. One secret and two labels give two keys that
// tell nothing about each other; whoever builds a label from parts makes sure that no two inputs give the same text.
package kdf

import (
	"crypto/hkdf"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/qsfs/qsfs/identity/secret"
)

const (
	// MinSecretBytes is the shortest secret Derive accepts.
	MinSecretBytes = 32
	// MaxOutBytes is what HKDF-SHA-512 can give under one label: 255 blocks of 64 bytes.
	MaxOutBytes = 255 * sha512.Size
)

// ErrUsage means that the secret, the label or the wanted length can't be right. It is a bug of the caller.
var ErrUsage = errors.New("kdf: wrong use")

// Derive fills out with HKDF-SHA-512(secret, salt = "", info = label). Either out is filled or an error is returned
// and out is untouched.
func Derive(ikm []byte, label string, out []byte) error {
	switch {
	case len(ikm) < MinSecretBytes:
		return fmt.Errorf("%w: a secret of %d bytes, at least %d wanted", ErrUsage, len(ikm), MinSecretBytes)
	case label == "":
		return fmt.Errorf("%w: empty label", ErrUsage)
	case len(out) == 0 || len(out) > MaxOutBytes:
		return fmt.Errorf("%w: %d bytes wanted of label %q", ErrUsage, len(out), label)
	}
	return derive(ikm, label, out)
}

func derive(ikm []byte, label string, out []byte) error {
	key, err := hkdf.Key(sha512.New, ikm, nil, label, len(out))
	if err != nil {
		return fmt.Errorf("%w: label %q: %w", ErrUsage, label, err)
	}
	copy(out, key)
	secret.Wipe(key)
	return nil
}
