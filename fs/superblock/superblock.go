// Package superblock is the root record of a volume: what 24 words and one
// reachable node lead to, and from which everything else is found.
//
// # Stored value
//
// The plaintext below in an envelope (fs/envelope) under the superblock key, label
// "qsfs/v1/superblock". The name under which it is stored is the place: a record
// moved to another slot does not open.
//
// # Plaintext (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QSUP"
//	     4     2  version, 1
//	     6     4  body length, at most 4 MiB
//	    10     4  signature length, at most 16 KiB
//	    14     -  body, JSON of Superblock
//	     -     -  hybrid signature (Ed25519 and ML-DSA-65, both must verify)
//	              of the first 10 bytes and the body, context "qsfs/v1/superblock"
//
// The volume id is in the body and must be that of the keys.
//
// # Slots
//
// A superblock of epoch e and generation g is stored, on every node, under the
// slot (e mod 4, g mod 4): the last four generations of the last four writers
// stay. A writer that lost its lease can overwrite only slots of its own epoch.
// Slot names are HMAC-SHA-512/256 under a key derived from the superblock key;
// nodes see 32 random bytes. The newest is the greatest (epoch, generation).
//
// The package does no I/O.
package superblock

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/qsfs/qsfs/fs/envelope"
	"github.com/qsfs/qsfs/identity/keys"
)

// Errors that callers branch on.
var (
	// ErrCorrupt means the bytes are not a superblock of this volume in this
	// slot: another phrase, damage, or a forgery.
	ErrCorrupt = errors.New("superblock: does not open with this key")
	// ErrTooNew means a later release wrote it.
	ErrTooNew = errors.New("superblock: written by a newer release")
)

const (
	// Slots is how many names a superblock may be stored under.
	Slots = epochSlots * generationSlots

	epochSlots      = 4
	generationSlots = 4

	version       = 1
	headBytes     = 14
	maxBodyBytes  = 4 << 20
	maxSigBytes   = 16 << 10
	context       = "qsfs/v1/superblock" // of the signature
	valueLabel    = "qsfs/v1/superblock"
	nameLabel     = "qsfs/v1/superblock-name"
	maxValueBytes = headBytes + maxBodyBytes + maxSigBytes + envelope.Overhead
)

var magic = [4]byte{'Q', 'S', 'U', 'P'}

// Node is one storage node of the volume, with what is needed to reach it.
type Node struct {
	ID       uint16 `json:"id"`
	URL      string `json:"url"`
	Group    string `json:"group,omitempty"`
	Password string `json:"password,omitempty"`
}

// Segment names a log segment that is, or will be, on the nodes.
type Segment struct {
	Ordinal uint64 `json:"ordinal"`
	Epoch   uint32 `json:"epoch"`
	// Record is the volume's segment record (package fs), layout included;
	// empty when the segment was not yet on the nodes.
	Record []byte `json:"record,omitempty"`
}

// Superblock is the root record. Field names are part of the format.
type Superblock struct {
	VolumeID   []byte    `json:"volume_id"`
	Name       string    `json:"name"`
	Epoch      uint32    `json:"epoch"`
	Generation uint64    `json:"generation"`
	WriterID   []byte    `json:"writer_id"`
	Writer     string    `json:"writer"`
	CreatedAt  time.Time `json:"created_at"` // of the volume
	WrittenAt  time.Time `json:"written_at"`

	Data       int    `json:"data_shards"`
	Parity     int    `json:"parity_shards"`
	ShardBytes int    `json:"shard_bytes"`
	Nodes      []Node `json:"nodes"`

	// Manifest is the layout of the checkpoint manifest object; empty for a
	// volume that has none yet.
	Manifest []byte `json:"manifest,omitempty"`
	// Replay* is the log position that the checkpoint reaches.
	ReplaySegment uint64 `json:"replay_segment"`
	ReplayOffset  uint32 `json:"replay_offset"`
	// Tail lists segments of earlier epochs from the replay position on, and
	// segments whose records the checkpoint does not hold.
	Tail []Segment `json:"tail,omitempty"`
	// NextOrdinal is the first ordinal that Tail may not list yet: a restore asks
	// the nodes for it and its successors, of this epoch.
	NextOrdinal uint64 `json:"next_ordinal"`

	UsedBytes int64 `json:"used_bytes"`
	Inodes    int64 `json:"inodes"`
}

// Newer reports whether s was written after t. A nil superblock is oldest.
func (s *Superblock) Newer(t *Superblock) bool {
	if s == nil || t == nil {
		return s != nil
	}
	if s.Epoch != t.Epoch {
		return s.Epoch > t.Epoch
	}
	return s.Generation > t.Generation
}

// Slot is the index of the name under which s is stored, below Slots.
func (s *Superblock) Slot() int {
	return int(s.Epoch%epochSlots)*generationSlots + int(s.Generation%generationSlots)
}

// Name is the key of a slot on the nodes.
func Name(superblockKey *[32]byte, slot int) []byte {
	var nameKey [32]byte
	if err := keys.Derive(superblockKey[:], nameLabel, nameKey[:]); err != nil {
		panic(err) // the lengths are constant
	}
	mac := hmac.New(sha512.New512_256, nameKey[:])
	mac.Write([]byte{byte(slot)})
	return mac.Sum(nil)
}

// Seal signs and encrypts s for its slot.
func Seal(s *Superblock, k *keys.Volume, rand io.Reader) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("superblock: encode: %w", err)
	}
	if len(body) > maxBodyBytes {
		return nil, fmt.Errorf("superblock: %d bytes, limit %d", len(body), maxBodyBytes)
	}
	plain := make([]byte, headBytes, headBytes+len(body)+maxSigBytes)
	copy(plain, magic[:])
	binary.LittleEndian.PutUint16(plain[4:], version)
	binary.LittleEndian.PutUint32(plain[6:], uint32(len(body)))
	signed := append(append([]byte(nil), plain[:10]...), body...)
	sig, err := k.Signer.Sign(context, signed)
	if err != nil {
		return nil, fmt.Errorf("superblock: sign: %w", err)
	}
	if len(sig) > maxSigBytes {
		return nil, fmt.Errorf("superblock: signature of %d bytes", len(sig))
	}
	binary.LittleEndian.PutUint32(plain[10:], uint32(len(sig)))
	plain = append(append(plain, body...), sig...)

	return envelope.Seal(&k.Superblock, valueLabel, Name(&k.Superblock, s.Slot()), plain, rand)
}

// Open decrypts and verifies the value found in a slot.
func Open(value []byte, slot int, k *keys.Volume) (*Superblock, error) {
	if len(value) > maxValueBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(value))
	}
	plain, err := envelope.Open(&k.Superblock, valueLabel, Name(&k.Superblock, slot), value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return decode(plain, slot, k)
}

// decode parses and verifies the plaintext; see the package comment.
func decode(plain []byte, slot int, k *keys.Volume) (*Superblock, error) {
	if len(plain) < headBytes || !bytes.Equal(plain[:4], magic[:]) {
		return nil, fmt.Errorf("%w: no superblock", ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint16(plain[4:]); v > version {
		return nil, fmt.Errorf("%w: version %d, this one knows %d", ErrTooNew, v, version)
	} else if v != version {
		return nil, fmt.Errorf("%w: version %d", ErrCorrupt, v)
	}
	bodyBytes := int64(binary.LittleEndian.Uint32(plain[6:]))
	sigBytes := int64(binary.LittleEndian.Uint32(plain[10:]))
	if bodyBytes > maxBodyBytes || sigBytes > maxSigBytes || headBytes+bodyBytes+sigBytes != int64(len(plain)) {
		return nil, fmt.Errorf("%w: lengths %d and %d in %d bytes", ErrCorrupt, bodyBytes, sigBytes, len(plain))
	}
	body := plain[headBytes : headBytes+bodyBytes]
	signed := append(append([]byte(nil), plain[:10]...), body...)
	if err := k.Signer.Public().Verify(context, signed, plain[headBytes+bodyBytes:]); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	var s Superblock
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if !bytes.Equal(s.VolumeID, k.ID[:]) {
		return nil, fmt.Errorf("%w: another volume's", ErrCorrupt)
	}
	if s.Slot() != slot {
		return nil, fmt.Errorf("%w: generation %d of epoch %d in slot %d", ErrCorrupt, s.Generation, s.Epoch, slot)
	}
	return &s, nil
}
