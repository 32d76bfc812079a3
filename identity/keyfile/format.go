package keyfile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"

	"github.com/qsfs/qsfs/identity/kdf"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/secret"
)

const (
	magic       = "QSKF"
	version     = 1
	kindPlain   = 1
	kindSealed  = 2
	saltLabel   = "qsfs/v1/keyfile/salt"
	idAt        = 12
	rootAt      = 28
	costAt      = 28
	saltAt      = 40
	saltBytes   = 32
	sealedAt    = saltAt + saltBytes
	plainBytes  = rootAt + keys.RootBytes + sha256.Size
	sealedBytes = sealedAt + keys.RootBytes + 16 + sha256.Size
	maxBytes    = sealedBytes
)

// cost is what Argon2id takes.
type cost struct{ passes, memoryKiB, threads uint32 }

// defaultCost is the second recommended option of RFC 9106, section 4, for machines that have other uses for their memory.
var defaultCost = cost{passes: 3, memoryKiB: 64 << 10, threads: 4}

// Bounds of what a file may ask for. maxWorkKiB is passes times memory.
const (
	maxPasses    = 64
	maxThreads   = 64
	maxMemoryKiB = 1 << 20
	maxWorkKiB   = 8 << 20
)

func (c cost) check() error {
	if c.passes < 1 || c.passes > maxPasses || c.threads < 1 || c.threads > maxThreads ||
		c.memoryKiB < 8*c.threads || c.memoryKiB > maxMemoryKiB || c.passes*c.memoryKiB > maxWorkKiB {
		return fmt.Errorf("%w: Argon2id with %d passes, %d KiB, %d threads is out of bounds", ErrCorrupt, c.passes, c.memoryKiB, c.threads)
	}
	return nil
}

func encodePlain(root *keys.Root, volumeID [16]byte) ([]byte, error) {
	data, err := encodeHead(kindPlain, root, volumeID, plainBytes)
	if err != nil {
		return nil, err
	}
	return appendSum(append(data, root[:]...)), nil
}

func encodeSealed(random io.Reader, c cost, root *keys.Root, volumeID [16]byte, passphrase []byte) ([]byte, error) {
	if err := checkPassphrase(passphrase); err != nil {
		return nil, err
	}
	data, err := encodeHead(kindSealed, root, volumeID, sealedBytes)
	if err != nil {
		return nil, err
	}
	data = binary.LittleEndian.AppendUint32(data, c.passes)
	data = binary.LittleEndian.AppendUint32(data, c.memoryKiB)
	data = binary.LittleEndian.AppendUint32(data, c.threads)
	salt, err := newSalt(random, root)
	if err != nil {
		return nil, err
	}
	data = append(data, salt[:]...)
	aead, err := passphraseAEAD(passphrase, salt[:], c)
	if err != nil {
		return nil, err
	}
	return appendSum(aead.Seal(data, make([]byte, aead.NonceSize()), root[:], bytes.Clone(data))), nil
}

func encodeHead(kind uint32, root *keys.Root, volumeID [16]byte, sizeBytes int) ([]byte, error) {
	id, err := keys.VolumeID(root)
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	if id != volumeID {
		return nil, fmt.Errorf("%w: %x, not %x", ErrWrongVolume, id, volumeID)
	}
	data := append(make([]byte, 0, sizeBytes), magic...)
	data = binary.LittleEndian.AppendUint32(data, version)
	data = binary.LittleEndian.AppendUint32(data, kind)
	return append(data, volumeID[:]...), nil
}

func appendSum(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

func newSalt(random io.Reader, root *keys.Root) (salt [saltBytes]byte, err error) {
	var ikm [keys.RootBytes + 32]byte
	defer secret.Wipe(ikm[:])
	copy(ikm[:], root[:])
	if _, err := io.ReadFull(random, ikm[keys.RootBytes:]); err != nil {
		return salt, fmt.Errorf("keyfile: read randomness: %w", err)
	}
	err = kdf.Derive(ikm[:], saltLabel, salt[:])
	return salt, err
}

func passphraseAEAD(passphrase, salt []byte, c cost) (cipher.AEAD, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	key := argon2.IDKey(passphrase, salt, c.passes, c.memoryKiB, uint8(c.threads), 32)
	defer secret.Wipe(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("keyfile: AES-256: %w", err)
	}
	return cipher.NewGCM(block)
}

func checkPassphrase(p []byte) error {
	if len(p) == 0 || len(p) > MaxPassphraseBytes {
		return fmt.Errorf("%w: this one has %d", ErrPassphrase, len(p))
	}
	return nil
}

// Decode returns the root in the bytes of a key file that came another way than by Read, as a credential that a service
// manager hands over. passphrase is as for Read.
func Decode(data []byte, passphrase func() ([]byte, error)) (*keys.Root, error) {
	kind, err := checkShape(data)
	if err != nil {
		return nil, err
	}
	root := new(keys.Root)
	if kind == kindPlain {
		copy(root[:], data[rootAt:])
	} else if err := openSealed(root, data, passphrase); err != nil {
		return nil, err
	}
	if id, err := keys.VolumeID(root); err != nil || id != [16]byte(data[idAt:]) {
		root.Wipe()
		return nil, fmt.Errorf("%w: the root is not of the volume that the file names", ErrCorrupt)
	}
	return root, nil
}

// checkShape makes every check that takes no key. Version comes before length: another version may have another one.
func checkShape(data []byte) (kind uint32, err error) {
	if len(data) < idAt || string(data[:len(magic)]) != magic {
		return 0, fmt.Errorf("%w: it does not begin with %q", ErrCorrupt, magic)
	}
	if v := binary.LittleEndian.Uint32(data[4:]); v > version {
		return 0, fmt.Errorf("%w: version %d", ErrTooNew, v)
	} else if v != version {
		return 0, fmt.Errorf("%w: version %d does not exist", ErrCorrupt, v)
	}
	wantBytes := 0
	switch kind = binary.LittleEndian.Uint32(data[8:]); kind {
	case kindPlain:
		wantBytes = plainBytes
	case kindSealed:
		wantBytes = sealedBytes
	default:
		return 0, fmt.Errorf("%w: kind %d does not exist", ErrCorrupt, kind)
	}
	if len(data) != wantBytes {
		return 0, fmt.Errorf("%w: %d bytes or more, %d wanted", ErrCorrupt, len(data), wantBytes)
	}
	body := wantBytes - sha256.Size
	if sha256.Sum256(data[:body]) != [sha256.Size]byte(data[body:]) {
		return 0, fmt.Errorf("%w: the checksum does not fit", ErrCorrupt)
	}
	return kind, nil
}

func openSealed(root *keys.Root, data []byte, passphrase func() ([]byte, error)) error {
	c := cost{
		passes:    binary.LittleEndian.Uint32(data[costAt:]),
		memoryKiB: binary.LittleEndian.Uint32(data[costAt+4:]),
		threads:   binary.LittleEndian.Uint32(data[costAt+8:]),
	}
	if err := c.check(); err != nil {
		return err
	}
	if passphrase == nil {
		return ErrNeedPassphrase
	}
	p, err := passphrase()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNeedPassphrase, err)
	}
	defer secret.Wipe(p)
	if err := checkPassphrase(p); err != nil {
		return err
	}
	aead, err := passphraseAEAD(p, data[saltAt:sealedAt], c)
	if err != nil {
		return err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), data[sealedAt:sealedBytes-sha256.Size], data[:sealedAt])
	if err != nil {
		return ErrWrongPassphrase
	}
	copy(root[:], plain)
	secret.Wipe(plain)
	return nil
}
