// Package kem is the hybrid key encapsulation of qsfs, X-Wing (X25519 and ML-KEM-768, draft-connolly-cfrg-xwing-kem),
// and the wrapping of a secret for someone's public key. A secret stays secret while either half holds.
//
// # Public key (integers little endian; offsets and sizes in bytes), 1224 bytes
//
//	offset  size  field
//	     0     4  magic "QKPK"
//	     4     4  version, 1
//	     8  1216  X-Wing public key: ML-KEM-768, then X25519
//
// # Wrapped secret, 1144 bytes more than the secret
//
//	offset  size  field
//	     0     4  magic "QWRP"
//	     4     4  version, 1
//	     8  1120  X-Wing ciphertext: ML-KEM-768, then X25519
//	  1128     -  the secret, 1 to MaxSecretBytes, sealed with AES-256-GCM, and its tag of 16
//
// Key of the seal: HKDF-SHA-512(X-Wing shared secret, "qsfs/v1/wrap"). Nonce: 12 zero bytes; the key seals once.
// Associated data: bytes 0 to 1127 and then the context, a text that says what the secret is for and that both sides
// know, as "volume root": a secret wrapped for one use does not unwrap for another.
//
// # Invariant: no (key, nonce) pair seals two plaintexts
//
// The 64 bytes that X-Wing encapsulates with are not the random ones themselves but
//
//	HKDF-SHA-512(64 random bytes ‖ secret, "qsfs/v1/wrap/encapsulate" ‖ SHA-512(public key) ‖ context)
//
// so that a source of randomness that repeats itself (a copied virtual machine) gives another key for another secret,
// recipient or context, and the same bytes for the same ones.
package kem

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem/xwing"

	"github.com/qsfs/qsfs/identity/kdf"
	"github.com/qsfs/qsfs/identity/secret"
)

const (
	// SeedBytes is the length of the seed of a key.
	SeedBytes = xwing.SeedSize
	// PublicKeyBytes is the length of a marshalled public key.
	PublicKeyBytes = headerBytes + xwing.PublicKeySize
	// CiphertextBytes is the length of what Encapsulate sends.
	CiphertextBytes = xwing.CiphertextSize
	// SharedBytes is the length of the shared secret.
	SharedBytes = xwing.SharedKeySize
	// MaxSecretBytes is the longest secret Wrap takes.
	MaxSecretBytes = 4096
	// MaxContextBytes is the longest context.
	MaxContextBytes = 200
	// OverheadBytes is how much longer a wrapped secret is.
	OverheadBytes = headerBytes + xwing.CiphertextSize + tagBytes

	headerBytes      = 8
	tagBytes         = 16
	version          = 1
	publicKeyMagic   = "QKPK"
	wrapMagic        = "QWRP"
	wrapLabel        = "qsfs/v1/wrap"
	encapsulateLabel = "qsfs/v1/wrap/encapsulate"
)

var (
	// ErrCorrupt means the bytes are not a public key, a ciphertext or a wrapped secret.
	ErrCorrupt = errors.New("kem: corrupt")
	// ErrTooNew means a later version of qsfs wrote them.
	ErrTooNew = errors.New("kem: made by a newer version")
	// ErrUnwrap means a wrapped secret does not open: it was wrapped for another key or context, or altered. No one
	// can tell which.
	ErrUnwrap = errors.New("kem: wrapped for another key or use, or altered")
	// ErrUsage means the secret, the context or the public key given can't be right. It is a bug of the caller.
	ErrUsage = errors.New("kem: wrong use")
	// ErrWiped means the key was wiped before.
	ErrWiped = errors.New("kem: the key is wiped")
)

// Key decapsulates and unwraps. It is safe for concurrent use, but for Wipe. Only the seed is kept; it is expanded anew
// for each use (an Unwrap takes 0.12 ms in all, November 2026), so that Wipe has one place to zero. Of an expanded key,
// the parts that circl holds by pointer stay in memory until the garbage collector reuses it.
type Key struct {
	secret.Hidden
	seed   secret.Box[[SeedBytes]byte]
	public PublicKey
}

// New makes a key from a uniform seed. The seed is copied.
func New(seed *[SeedBytes]byte) *Key {
	kept := *seed
	private, public := xwing.DeriveKeyPair(kept[:])
	*private = xwing.PrivateKey{}
	k := &Key{seed: secret.NewBox(&kept), public: PublicKey{key: new([xwing.PublicKeySize]byte)}}
	public.Pack(k.public.key[:])
	return k
}

// Public returns the public key. It can be used after Wipe.
func (k *Key) Public() PublicKey { return k.public }

// Decapsulate returns the shared secret in ciphertext. A ciphertext for another key, or an altered one, gives a secret
// that nobody else has, and no error: ML-KEM rejects implicitly.
func (k *Key) Decapsulate(ciphertext []byte) (*[SharedBytes]byte, error) {
	if len(ciphertext) != CiphertextBytes {
		return nil, fmt.Errorf("%w: a ciphertext of %d bytes, %d wanted", ErrCorrupt, len(ciphertext), CiphertextBytes)
	}
	seed := k.seed.Get()
	if seed == nil {
		return nil, ErrWiped
	}
	private, _ := xwing.DeriveKeyPair(seed[:])
	shared := new([SharedBytes]byte)
	private.DecapsulateTo(shared[:], ciphertext)
	*private = xwing.PrivateKey{}
	return shared, nil
}

// Wipe zeroes the private key; it gives ErrWiped from then on. No other method may be running.
func (k *Key) Wipe() { k.seed.Empty() }

// PublicKey encapsulates. The zero value is no key.
type PublicKey struct {
	key *[xwing.PublicKeySize]byte // checked; never changes
}

// ParsePublicKey reads what Marshal wrote, and makes the check of FIPS 203, section 7.2.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if err := checkHeader(b, publicKeyMagic, "a public key"); err != nil {
		return PublicKey{}, err
	}
	if len(b) != PublicKeyBytes {
		return PublicKey{}, fmt.Errorf("%w: a public key of %d bytes, %d wanted", ErrCorrupt, len(b), PublicKeyBytes)
	}
	key := [xwing.PublicKeySize]byte(b[headerBytes:])
	var parsed xwing.PublicKey
	if err := parsed.Unpack(key[:]); err != nil {
		return PublicKey{}, fmt.Errorf("%w: public key: %w", ErrCorrupt, err)
	}
	return PublicKey{key: &key}, nil
}

// Marshal returns the public key as bytes; nil for the zero PublicKey.
func (p PublicKey) Marshal() []byte {
	if p.key == nil {
		return nil
	}
	b := make([]byte, headerBytes, PublicKeyBytes)
	putHeader(b, publicKeyMagic)
	return append(b, p.key[:]...)
}

// Equal tells whether both are the same key.
func (p PublicKey) Equal(other PublicKey) bool { return string(p.Marshal()) == string(other.Marshal()) }

// String returns a fingerprint for people and logs: the first 16 hexadecimal digits of the SHA-256 of Marshal.
func (p PublicKey) String() string {
	if p.key == nil {
		return "none"
	}
	sum := sha256.Sum256(p.Marshal())
	return hex.EncodeToString(sum[:8])
}

// Encapsulate makes a new shared secret and the ciphertext from which only the holder of the key gets it back. It
// takes 64 bytes of random; nil means crypto/rand. Randomness that repeats gives the same secret again: Wrap guards
// against that, this does not.
func (p PublicKey) Encapsulate(random io.Reader) (shared *[SharedBytes]byte, ciphertext []byte, err error) {
	var seed [xwing.EncapsulationSeedSize]byte
	defer secret.Wipe(seed[:])
	if err := readRandom(random, seed[:]); err != nil {
		return nil, nil, err
	}
	return p.encapsulate(&seed)
}

func (p PublicKey) encapsulate(seed *[xwing.EncapsulationSeedSize]byte) (*[SharedBytes]byte, []byte, error) {
	if p.key == nil {
		return nil, nil, fmt.Errorf("%w: no public key", ErrUsage)
	}
	shared, ciphertext, err := xwing.Encapsulate(p.key[:], seed[:])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: public key: %w", ErrUsage, err)
	}
	return (*[SharedBytes]byte)(shared), ciphertext, nil
}

// Wrap seals plain, 1 to MaxSecretBytes of it, so that only the holder of recipient's key opens it, and only for the
// same context (1 to MaxContextBytes).
func Wrap(recipient PublicKey, plain []byte, context string) ([]byte, error) {
	return wrap(rand.Reader, recipient, plain, context)
}

func wrap(random io.Reader, recipient PublicKey, plain []byte, context string) ([]byte, error) {
	if len(plain) == 0 || len(plain) > MaxSecretBytes {
		return nil, fmt.Errorf("%w: a secret of %d bytes, 1 to %d wanted", ErrUsage, len(plain), MaxSecretBytes)
	}
	if err := checkContext(context); err != nil {
		return nil, err
	}
	if recipient.key == nil {
		return nil, fmt.Errorf("%w: no public key", ErrUsage)
	}
	ikm := make([]byte, 64+len(plain))
	defer secret.Wipe(ikm)
	if err := readRandom(random, ikm[:64]); err != nil {
		return nil, err
	}
	copy(ikm[64:], plain)
	to := sha512.Sum512(recipient.key[:])
	var seed [xwing.EncapsulationSeedSize]byte
	defer secret.Wipe(seed[:])
	if err := kdf.Derive(ikm, encapsulateLabel+string(to[:])+context, seed[:]); err != nil {
		return nil, err
	}
	shared, ciphertext, err := recipient.encapsulate(&seed)
	if err != nil {
		return nil, err
	}
	aead, err := wrapAEAD(shared)
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerBytes, OverheadBytes+len(plain))
	putHeader(out, wrapMagic)
	out = append(out, ciphertext...)
	return aead.Seal(out, make([]byte, aead.NonceSize()), plain, associated(out, context)), nil
}

// Unwrap opens what Wrap sealed for k and context.
func (k *Key) Unwrap(wrapped []byte, context string) ([]byte, error) {
	if err := checkContext(context); err != nil {
		return nil, err
	}
	if err := checkHeader(wrapped, wrapMagic, "a wrapped secret"); err != nil {
		return nil, err
	}
	if n := len(wrapped); n < OverheadBytes+1 || n > OverheadBytes+MaxSecretBytes {
		return nil, fmt.Errorf("%w: a wrapped secret of %d bytes, %d to %d wanted", ErrCorrupt, n, OverheadBytes+1, OverheadBytes+MaxSecretBytes)
	}
	head, sealed := wrapped[:headerBytes+CiphertextBytes], wrapped[headerBytes+CiphertextBytes:]
	shared, err := k.Decapsulate(head[headerBytes:])
	if err != nil {
		return nil, err
	}
	aead, err := wrapAEAD(shared)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, associated(head, context))
	if err != nil {
		return nil, ErrUnwrap
	}
	return plain, nil
}

// wrapAEAD wipes shared.
func wrapAEAD(shared *[SharedBytes]byte) (cipher.AEAD, error) {
	var key [32]byte
	defer secret.Wipe(key[:])
	defer secret.Wipe(shared[:])
	if err := kdf.Derive(shared[:], wrapLabel, key[:]); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("kem: AES-256: %w", err)
	}
	return cipher.NewGCM(block)
}

// associated returns head (of one length only) and context, in memory of its own.
func associated(head []byte, context string) []byte {
	return append(append(make([]byte, 0, len(head)+len(context)), head...), context...)
}

func readRandom(random io.Reader, b []byte) error {
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, b); err != nil {
		return fmt.Errorf("kem: read randomness: %w", err)
	}
	return nil
}

func checkContext(context string) error {
	if len(context) == 0 || len(context) > MaxContextBytes {
		return fmt.Errorf("%w: a context of %d bytes, 1 to %d wanted", ErrUsage, len(context), MaxContextBytes)
	}
	return nil
}

func putHeader(b []byte, magic string) {
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[len(magic):], version)
}

func checkHeader(b []byte, magic, what string) error {
	if len(b) < headerBytes || string(b[:len(magic)]) != magic {
		return fmt.Errorf("%w: not %s: %d bytes that do not begin with %q", ErrCorrupt, what, len(b), magic)
	}
	switch v := binary.LittleEndian.Uint32(b[len(magic):]); {
	case v > version:
		return fmt.Errorf("%w: %s of version %d", ErrTooNew, what, v)
	case v != version:
		return fmt.Errorf("%w: %s of version %d, which does not exist", ErrCorrupt, what, v)
	}
	return nil
}
