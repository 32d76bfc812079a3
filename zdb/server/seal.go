package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/qsfs/qsfs/zdb"
)

// sealer seals the passwords of namespaces: SELECT … SECURE proves a password by
// SHA-1(challenge:password), which no salted hash of it can check, so it has to be
// readable for the server and for nobody else.
//
// A sealed password is a random nonce of 12 bytes and AES-256-GCM of the password (its
// tag of 16 bytes last) under the server's seal key, with the label below and the name
// of the namespace as associated data: it opens in the descriptor of its own namespace only.
type sealer struct{ aead cipher.AEAD }

const (
	// SealKeyBytes is the length of Options.SealKey.
	SealKeyBytes = 32

	sealLabel       = "zdb namespace password v1\x00"
	sealNonceBytes  = 12
	sealTagBytes    = 16
	sealedMaxBytes  = sealNonceBytes + zdb.MaxPasswordBytes + sealTagBytes
	sealedMinBytes  = sealNonceBytes + 1 + sealTagBytes
	sealKeyName     = "seal.key"
	sealKeyMagic    = "QZSK"
	sealKeyVersion  = 1
	sealKeyAllBytes = 8 + SealKeyBytes + 4
)

func newSealer(key []byte) (*sealer, error) {
	if len(key) != SealKeyBytes {
		return nil, fmt.Errorf("seal key has %d bytes, not %d", len(key), SealKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead}, nil
}

// seal gives what is stored of a password, which is not empty.
func (s *sealer) seal(namespace, password string) []byte {
	nonce := make([]byte, sealNonceBytes, sealedMaxBytes)
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, []byte(password), []byte(sealLabel+namespace))
}

// errOtherSealKey means a password sealed under another key, or for another namespace.
var errOtherSealKey = errors.New("password is not sealed under this server's seal key")

func (s *sealer) open(namespace string, sealed []byte) (string, error) {
	if len(sealed) < sealedMinBytes || len(sealed) > sealedMaxBytes {
		return "", errOtherSealKey
	}
	p, err := s.aead.Open(nil, sealed[:sealNonceBytes], sealed[sealNonceBytes:], []byte(sealLabel+namespace))
	if err != nil {
		return "", errOtherSealKey
	}
	return string(p), nil
}

// keptSealKey gives the seal key that the data directory keeps, and makes it at the
// first start. A file that is no key is zdb.ErrCorrupt: making another in its place
// would lock every namespace with a password.
//
// The file, version 1 (integers little endian):
//
//	offset  size  field
//	     0     4  magic "QZSK"
//	     4     4  version, 1
//	     8    32  key, random
//	    40     4  CRC-32C of bytes 0 to 39
func keptSealKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, sealKeyName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, SealKeyBytes)
		rand.Read(key)
		return key, replaceFile(path, encodeSealKey(key))
	}
	if err != nil {
		return nil, err
	}
	key, err := decodeSealKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (put the right one back, or remove it and set the namespace passwords anew)", path, err)
	}
	return key, nil
}

func encodeSealKey(key []byte) []byte {
	b := append([]byte(nil), sealKeyMagic...)
	b = append(binary.LittleEndian.AppendUint32(b, sealKeyVersion), key...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeSealKey reads a seal key file: zdb.ErrTooNew or zdb.ErrCorrupt when it can't.
func decodeSealKey(b []byte) ([]byte, error) {
	if len(b) < 8 || string(b[:4]) != sealKeyMagic {
		return nil, fmt.Errorf("seal key: no magic: %w", zdb.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != sealKeyVersion {
		if v > sealKeyVersion {
			return nil, fmt.Errorf("seal key version %d: %w", v, zdb.ErrTooNew)
		}
		return nil, fmt.Errorf("seal key: version: %w", zdb.ErrCorrupt)
	}
	if len(b) != sealKeyAllBytes || crc32.Checksum(b[:sealKeyAllBytes-4], castagnoli) != binary.LittleEndian.Uint32(b[sealKeyAllBytes-4:]) {
		return nil, fmt.Errorf("seal key: checksum: %w", zdb.ErrCorrupt)
	}
	return b[8 : 8+SealKeyBytes : 8+SealKeyBytes], nil
}
