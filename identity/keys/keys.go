// Package keys is the key schedule: from the seed of the phrase to the root of a volume, and from the root to one key
// for each purpose.
//
// # The schedule, version 1
//
// Every line is HKDF-SHA-512 (package kdf) with an empty salt and the label as info. The seed is the 64 bytes of
// BIP-39 with an empty passphrase (package phrase).
//
//	from  label                            bytes  what it is
//	seed  qsfs/v1/volume/0                    64  Root: the root of a volume
//	root  qsfs/v1/volume-id                   16  Volume.ID: names the volume; not secret
//	root  qsfs/v1/data                        32  Volume.Data: the log; each segment has a key derived from it
//	root  qsfs/v1/metadata                    32  Volume.Metadata: the files of the metadata store
//	root  qsfs/v1/shard-name                  32  Volume.ShardName: under which keys shards lie on nodes
//	root  qsfs/v1/shard                       32  Volume.Shard: what seals and tags a shard
//	root  qsfs/v1/superblock                  32  Volume.Superblock: name and seal of superblocks
//	root  qsfs/v1/lease                       32  Volume.Lease: name and seal of the lease of the writer
//	root  qsfs/v1/sign/ed25519                32  Volume.Signer: Ed25519 private key (RFC 8032 seed)
//	root  qsfs/v1/sign/ml-dsa-65              32  Volume.Signer: ML-DSA-65 seed ξ (FIPS 204)
//	root  qsfs/v1/kem/x-wing                  32  Volume.KEM: X-Wing seed
//	root  qsfs/v1/node-password/ + NODE       32  NodePassword: password of a node's namespace, in base32
//
// NODE is the label of the node, 1 to MaxNodeLabelBytes bytes, as the caller chose it. A password is the 32 bytes in
// lower-case base32 (RFC 4648, a-z and 2-7) without padding: 52 letters, within the 63 bytes that 0-db allows.
//
// The 0 in the label of the root numbers the volumes of a phrase; version 1 has the one.
//
// # What must always hold
//
//   - No label, length or order above ever changes: testdata/v1/schedule.txt pins every value for one phrase. What
//     needs another key gets a label of its own.
//   - No label is the beginning of another plus a text a caller chooses, but for node-password, which ends in "/".
//   - The root alone gives every key, and never the seed or the phrase. A machine keeps the root (package keyfile) and
//     needs the phrase only to restore on another one.
package keys

import (
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"

	"github.com/qsfs/qsfs/identity/kdf"
	"github.com/qsfs/qsfs/identity/kem"
	"github.com/qsfs/qsfs/identity/secret"
	"github.com/qsfs/qsfs/identity/sign"
)

const (
	// RootBytes is the length of a Root.
	RootBytes = 64
	// MaxNodeLabelBytes is the longest label of a node.
	MaxNodeLabelBytes = 1024

	labelRoot         = "qsfs/v1/volume/0"
	labelVolumeID     = "qsfs/v1/volume-id"
	labelData         = "qsfs/v1/data"
	labelMetadata     = "qsfs/v1/metadata"
	labelShardName    = "qsfs/v1/shard-name"
	labelShard        = "qsfs/v1/shard"
	labelSuperblock   = "qsfs/v1/superblock"
	labelLease        = "qsfs/v1/lease"
	labelEd25519      = "qsfs/v1/sign/ed25519"
	labelMLDSA        = "qsfs/v1/sign/ml-dsa-65"
	labelXWing        = "qsfs/v1/kem/x-wing"
	labelNodePassword = "qsfs/v1/node-password/"
)

// ErrNoSecret means that a root is missing or all zeroes, as after Wipe. Keys derived from it would be known to all.
var ErrNoSecret = errors.New("keys: the root is empty or wiped")

// Root is the root secret of a volume: all that a machine may keep between mounts. Pass it by pointer; it prints as
// "[redacted]".
type Root [RootBytes]byte

// VolumeRoot derives the root of the volume from the seed of the phrase.
func VolumeRoot(seed *[64]byte) *Root {
	root := new(Root)
	if err := Derive(seed[:], labelRoot, root[:]); err != nil {
		panic(fmt.Sprintf("keys: %v", err)) // the lengths are right
	}
	return root
}

// Derive fills out with HKDF-SHA-512(secret, label): the key derivation used everywhere. See package kdf for the
// bounds.
func Derive(secret []byte, label string, out []byte) error { return kdf.Derive(secret, label, out) }

// Wipe zeroes the root.
func (r *Root) Wipe() { secret.Wipe(r[:]) }

// Format prints "[redacted]", whatever the verb.
func (r Root) Format(s fmt.State, verb rune) { secret.Hidden{}.Format(s, verb) }

// String returns "[redacted]".
func (r Root) String() string { return secret.Redacted }

// LogValue returns "[redacted]".
func (r Root) LogValue() slog.Value { return secret.Hidden{}.LogValue() }

// MarshalText returns secret.ErrMarshal.
func (r Root) MarshalText() ([]byte, error) { return secret.Hidden{}.MarshalText() }

// GobEncode returns secret.ErrMarshal.
func (r Root) GobEncode() ([]byte, error) { return secret.Hidden{}.GobEncode() }

func (r *Root) derive(label string, out []byte) error {
	if r == nil || *r == (Root{}) {
		return ErrNoSecret
	}
	return Derive(r[:], label, out)
}

// VolumeID derives the id of the volume alone: enough to tell whether a root belongs to a volume.
func VolumeID(root *Root) (id [16]byte, err error) {
	err = root.derive(labelVolumeID, id[:])
	return id, err
}

// Volume holds the keys of a volume. It prints as "[redacted]"; its fields, once taken out, are plain bytes and do not.
type Volume struct {
	secret.Hidden
	ID                                                  [16]byte // not secret
	Data, Metadata, ShardName, Shard, Superblock, Lease [32]byte
	Signer                                              *sign.Key
	KEM                                                 *kem.Key
}

// DeriveVolume derives all keys of a volume.
func DeriveVolume(root *Root) (*Volume, error) {
	v := new(Volume)
	var edSeed, mlSeed, xwingSeed [32]byte
	defer secret.Wipe(edSeed[:])
	defer secret.Wipe(mlSeed[:])
	defer secret.Wipe(xwingSeed[:])
	for _, d := range []struct {
		label string
		out   []byte
	}{
		{labelVolumeID, v.ID[:]},
		{labelData, v.Data[:]},
		{labelMetadata, v.Metadata[:]},
		{labelShardName, v.ShardName[:]},
		{labelShard, v.Shard[:]},
		{labelSuperblock, v.Superblock[:]},
		{labelLease, v.Lease[:]},
		{labelEd25519, edSeed[:]},
		{labelMLDSA, mlSeed[:]},
		{labelXWing, xwingSeed[:]},
	} {
		if err := root.derive(d.label, d.out); err != nil {
			return nil, err
		}
	}
	v.Signer = sign.New(&edSeed, &mlSeed)
	v.KEM = kem.New(&xwingSeed)
	return v, nil
}

// Wipe zeroes the keys where Go allows it: copies that were made of them, and the key schedules inside ciphers made
// from them, stay until the garbage collector reuses their memory. Nobody may use v any more: the symmetric keys are
// zeroes afterwards, and zeroes are a key that everyone knows.
func (v *Volume) Wipe() {
	for _, key := range []*[32]byte{&v.Data, &v.Metadata, &v.ShardName, &v.Shard, &v.Superblock, &v.Lease} {
		secret.Wipe(key[:])
	}
	if v.Signer != nil {
		v.Signer.Wipe()
	}
	if v.KEM != nil {
		v.KEM.Wipe()
	}
}

var passwordEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NodePassword derives the password of the namespace on one node. The label must stay the same as long as the node
// is used: its address may change, so a name of its own is better.
func NodePassword(root *Root, nodeLabel string) (string, error) {
	if len(nodeLabel) == 0 || len(nodeLabel) > MaxNodeLabelBytes {
		return "", fmt.Errorf("keys: a node label of %d bytes, 1 to %d wanted", len(nodeLabel), MaxNodeLabelBytes)
	}
	var password [32]byte
	defer secret.Wipe(password[:])
	if err := root.derive(labelNodePassword+nodeLabel, password[:]); err != nil {
		return "", err
	}
	return passwordEncoding.EncodeToString(password[:]), nil
}
