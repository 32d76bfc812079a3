package sealfs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	headerBytes = 24
	version     = 1

	frameBits  = 15
	frameBytes = 1 << frameBits // plaintext of a full frame
	tagBytes   = 16
	fullSealed = frameBytes + tagBytes

	keyLabel = "qsfs/v1/metafile"
)

var headerMagic = [4]byte{'Q', 'S', 'M', 'F'}

// FileID names the bytes of a sealed file for ever: it is random, in the header, and
// part of what the file's key is derived from. It is not secret.
type FileID [16]byte

// layout is how the body of a sealed file is arranged.
type layout byte

const (
	layoutFixed  layout = 1
	layoutStream layout = 2
)

// kind says in the nonce what a frame is, so that none passes for another.
type kind byte

const (
	kindData    kind = 1
	kindTrailer kind = 2
	kindStream  kind = 3
)

type header struct {
	layout layout
	id     FileID
}

func (h header) append(b []byte) []byte {
	b = append(b, headerMagic[:]...)
	b = append(b, version, byte(h.layout), frameBits, 0)
	return append(b, h.id[:]...)
}

func decodeHeader(b []byte) (header, error) {
	if len(b) != headerBytes || !bytes.Equal(b[:4], headerMagic[:]) {
		return header{}, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	if b[4] > version {
		return header{}, fmt.Errorf("%w: version %d", ErrTooNew, b[4])
	}
	h := header{layout: layout(b[5]), id: FileID(b[8:24])}
	if b[4] != version || b[6] != frameBits || b[7] != 0 || (h.layout != layoutFixed && h.layout != layoutStream) {
		return header{}, fmt.Errorf("%w: header version %d layout %d frame bits %d", ErrCorrupt, b[4], b[5], b[6])
	}
	return h, nil
}

// readHeader reads the header of a sealed file of rawSize bytes.
func readHeader(r io.ReaderAt, rawSize int64) (header, error) {
	if rawSize < headerBytes {
		return header{}, fmt.Errorf("%w: %d bytes hold no header", ErrCorrupt, rawSize)
	}
	var b [headerBytes]byte
	if err := readFull(r, b[:], 0); err != nil {
		return header{}, err
	}
	return decodeHeader(b[:])
}

// fileCipher seals and opens the frames of one file. Safe for concurrent use.
type fileCipher struct {
	header header
	aead   cipher.AEAD
	ad     [headerBytes]byte
}

func newFileCipher(metadataKey *[32]byte, h header) (*fileCipher, error) {
	key, err := hkdf.Key(sha512.New, metadataKey[:], nil, keyLabel+string(h.id[:]), 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a metadata file: %w", err)
	}
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	c := &fileCipher{header: h, aead: aead}
	h.append(c.ad[:0])
	return c, nil
}

// nonce is kept in longer-lived structures so that sealing and opening allocate nothing.
type nonce [12]byte

func (n *nonce) set(offset int64, k kind, flags byte) {
	binary.LittleEndian.PutUint64(n[:8], uint64(offset))
	n[8], n[9], n[10], n[11] = byte(k), flags, 0, 0
}

func (c *fileCipher) seal(n *nonce, dst, plain []byte, offset int64, k kind, flags byte) []byte {
	n.set(offset, k, flags)
	return c.aead.Seal(dst, n[:], plain, c.ad[:])
}

// open gives the plaintext of a frame appended to dst, which may be sealed[:0].
func (c *fileCipher) open(n *nonce, dst, sealed []byte, offset int64, k kind, flags byte) ([]byte, error) {
	n.set(offset, k, flags)
	plain, err := c.aead.Open(dst, n[:], sealed, c.ad[:])
	if err != nil {
		return nil, fmt.Errorf("%w: frame at %d", ErrCorrupt, offset)
	}
	return plain, nil
}

// readFull reads len(p) bytes at off. The file is known to be that long, so an end
// before them is damage.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("%w: ends at %d", ErrCorrupt, off+int64(n))
	}
	return err
}
