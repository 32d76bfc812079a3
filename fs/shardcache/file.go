package shardcache

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	headerBytes = 44
	version     = 1

	// MaxBodyBytes bounds a body. Larger ones are not cached.
	MaxBodyBytes = 8 << 20

	blockBytes = 4096 // what a file is counted in

	suffix    = ".shard"
	tmpPrefix = "put-"
	tmpSuffix = ".tmp"
)

var (
	magic      = [4]byte{'Q', 'S', 'H', 'C'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Key names one shard: its bytes never change.
type Key struct {
	Object [16]byte
	Stripe uint32
	Shard  uint8
}

// name is the path of the key's file in the cache directory.
func (k Key) name() string {
	object := hex.EncodeToString(k.Object[:])
	return filepath.Join(object[:2], fmt.Sprintf("%s-%08x-%02x%s", object, k.Stripe, k.Shard, suffix))
}

// parseName is the reverse of name, for the file name without its directory.
func parseName(dir, base string) (Key, bool) {
	var k Key
	parts := strings.Split(strings.TrimSuffix(base, suffix), "-")
	if len(parts) != 3 {
		return k, false
	}
	object, err := hex.DecodeString(parts[0])
	if err != nil || len(object) != len(k.Object) {
		return k, false
	}
	stripe, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return k, false
	}
	shard, err := strconv.ParseUint(parts[2], 16, 8)
	if err != nil {
		return k, false
	}
	k = Key{Object: [16]byte(object), Stripe: uint32(stripe), Shard: uint8(shard)}
	return k, k.name() == filepath.Join(dir, base)
}

type header struct {
	key       Key
	bodyBytes uint32
	checksum  uint32
}

func (h header) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, h.key.Object[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.key.Stripe)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.key.Shard))
	b = binary.LittleEndian.AppendUint32(b, h.bodyBytes)
	b = binary.LittleEndian.AppendUint32(b, h.checksum)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func decodeHeader(b []byte) (header, error) {
	if len(b) != headerBytes || !bytes.Equal(b[:4], magic[:]) || binary.LittleEndian.Uint32(b[4:]) != version {
		return header{}, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	h := header{
		key: Key{
			Object: [16]byte(b[8:24]),
			Stripe: binary.LittleEndian.Uint32(b[24:]),
			Shard:  b[28],
		},
		bodyBytes: binary.LittleEndian.Uint32(b[32:]),
		checksum:  binary.LittleEndian.Uint32(b[36:]),
	}
	if binary.LittleEndian.Uint32(b[28:]) > 255 || h.bodyBytes > MaxBodyBytes ||
		binary.LittleEndian.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return header{}, fmt.Errorf("%w: header", ErrCorrupt)
	}
	return h, nil
}

// verify checks a whole file against its header, its key and its size.
func verify(r io.ReaderAt, fileBytes int64, key Key) error {
	var b [headerBytes]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("%w: header: %v", ErrCorrupt, err)
	}
	h, err := decodeHeader(b[:])
	if err != nil {
		return err
	}
	if h.key != key || headerBytes+int64(h.bodyBytes) != fileBytes {
		return fmt.Errorf("%w: another shard or size", ErrCorrupt)
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.NewSectionReader(r, headerBytes, int64(h.bodyBytes)))
	if err != nil || n != int64(h.bodyBytes) || sum.Sum32() != h.checksum {
		return fmt.Errorf("%w: body", ErrCorrupt)
	}
	return nil
}

// writeFile writes a complete file under a temporary name and renames it. Nothing stays behind on error.
func writeFile(dir string, key Key, body []byte) (err error) {
	path := filepath.Join(dir, key.name())
	f, err := os.CreateTemp(filepath.Dir(path), tmpPrefix+"*"+tmpSuffix)
	if os.IsNotExist(err) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err = os.CreateTemp(filepath.Dir(path), tmpPrefix+"*"+tmpSuffix)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	h := header{key: key, bodyBytes: uint32(len(body)), checksum: crc32.Checksum(body, castagnoli)}
	var b [headerBytes]byte
	_, err = f.Write(h.append(b[:0]))
	if err == nil {
		_, err = f.Write(body)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
