package lease

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/qsfs/qsfs/fs/envelope"
	"github.com/qsfs/qsfs/identity/keys"
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
	headBytes = 6
	nameBytes = 32
	maxBytes  = 4 << 10
	version   = 1

	writerIDBytes = 16
	nameLabel     = "qsfs/v1/lease-name"
	valueLabel    = "qsfs/v1/lease"
)

var magic = [4]byte{'Q', 'L', 'E', 'A'}

// Name is the key under which every node keeps the record.
func Name(key *[32]byte) []byte {
	name := make([]byte, nameBytes)
	if err := keys.Derive(key[:], nameLabel, name); err != nil {
		panic(err) // the lengths are constant
	}
	return name
}

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
	return envelope.Seal(key, valueLabel, Name(key), plain, rand)
}

// Open decrypts and decodes a stored record.
func Open(value []byte, key *[32]byte) (*Record, error) {
	if len(value) > headBytes+maxBytes+envelope.Overhead {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(value))
	}
	plain, err := envelope.Open(key, valueLabel, Name(key), value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
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
