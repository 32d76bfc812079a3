// Package sign is the hybrid signature of qsfs: Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204) together, valid only when
// both are. Breaking one of the two, by a quantum computer or by a flaw of the younger scheme, forges nothing.
//
// # Signature (integers little endian; offsets and sizes in bytes), 3381 bytes
//
//	offset  size  field
//	     0     4  magic "QSIG"
//	     4     4  version, 1
//	     8    64  Ed25519 signature of the message below
//	    72  3309  ML-DSA-65 signature of msg, context string "qsfs/v1/sign/" + context
//
// What Ed25519 signs, which has no context string of its own:
//
//	"qsfs/v1/sign/" ‖ one byte, the length of context ‖ context ‖ msg
//
// # Public key, 1992 bytes
//
//	offset  size  field
//	     0     4  magic "QSPK"
//	     4     4  version, 1
//	     8    32  Ed25519 public key
//	    40  1952  ML-DSA-65 public key
//
// The context names what is signed, as "superblock": a signature made for one use is none for another. It has 1 to
// MaxContextBytes bytes; with the prefix it fits the 255 that FIPS 204 allows.
//
// Both halves are deterministic (FIPS 204 section 3.4 allows it): the same key, context and message always give the
// same bytes, which golden files and simulated runs rely on. What hedging would protect from, a fault while signing
// that gives away the key, is met by verifying each signature before it leaves Sign.
//
// Lengths, magics and versions are checked before anything else is looked at.
package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"

	"github.com/qsfs/qsfs/identity/secret"
)

const (
	// SignatureBytes is the length of a signature.
	SignatureBytes = headerBytes + ed25519.SignatureSize + mldsa65.SignatureSize
	// PublicKeyBytes is the length of a marshalled public key.
	PublicKeyBytes = headerBytes + ed25519.PublicKeySize + mldsa65.PublicKeySize
	// SeedBytes is the length of each of the two seeds.
	SeedBytes = 32
	// MaxContextBytes is the longest context.
	MaxContextBytes = 200

	headerBytes    = 8
	version        = 1
	signatureMagic = "QSIG"
	publicKeyMagic = "QSPK"
	contextPrefix  = "qsfs/v1/sign/"
)

var (
	// ErrBadSignature means the signature is not one by this key for this context and message. What it vouched for
	// is to be treated as forged.
	ErrBadSignature = errors.New("sign: bad signature")
	// ErrBadPublicKey means the bytes are not a public key.
	ErrBadPublicKey = errors.New("sign: bad public key")
	// ErrTooNew means a later version of qsfs wrote the signature or the key. It comes together with
	// ErrBadSignature or ErrBadPublicKey.
	ErrTooNew = errors.New("sign: made by a newer version")
	// ErrContext means a context is empty or too long. It is a bug of the caller.
	ErrContext = errors.New("sign: context must have 1 to 200 bytes")
	// ErrWiped means the key was wiped before.
	ErrWiped = errors.New("sign: the key is wiped")
)

// Key signs. It is safe for concurrent use, but for Wipe.
type Key struct {
	secret.Hidden
	private secret.Box[privateKeys]
	public  PublicKey
}

type privateKeys struct {
	ed [ed25519.PrivateKeySize]byte
	ml mldsa65.PrivateKey
}

// New makes a key from two independent uniform seeds: the Ed25519 private key of RFC 8032 and the seed ξ of FIPS 204.
func New(edSeed, mlSeed *[SeedBytes]byte) *Key {
	private := new(privateKeys)
	ed := ed25519.NewKeyFromSeed(edSeed[:])
	copy(private.ed[:], ed)
	secret.Wipe(ed)
	mlPublic, mlPrivate := mldsa65.NewKeyFromSeed(mlSeed)
	// The public key that circl returns points into the private one (the matrix A): parsed anew, it stays whole when
	// the private key is wiped.
	k := &Key{private: secret.NewBox(private), public: PublicKey{ml: new(mldsa65.PublicKey)}}
	if err := k.public.ml.UnmarshalBinary(mlPublic.Bytes()); err != nil {
		panic(fmt.Sprintf("sign: a public key just made does not parse: %v", err))
	}
	copy(k.public.ed[:], private.ed[SeedBytes:])
	private.ml, *mlPrivate = *mlPrivate, mldsa65.PrivateKey{}
	return k
}

// Public returns the public key. It can be used after Wipe.
func (k *Key) Public() PublicKey { return k.public }

// Sign signs msg for one use, the context.
func (k *Key) Sign(context string, msg []byte) ([]byte, error) {
	if err := checkContext(context); err != nil {
		return nil, err
	}
	private := k.private.Get()
	if private == nil {
		return nil, ErrWiped
	}
	sig := make([]byte, SignatureBytes)
	putHeader(sig, signatureMagic)
	copy(sig[headerBytes:], ed25519.Sign(private.ed[:], edMessage(context, msg)))
	mlSig := sig[headerBytes+ed25519.SignatureSize:]
	if err := mldsa65.SignTo(&private.ml, msg, []byte(contextPrefix+context), false, mlSig); err != nil {
		return nil, fmt.Errorf("sign: ML-DSA-65: %w", err)
	}
	if err := k.public.Verify(context, msg, sig); err != nil {
		return nil, fmt.Errorf("sign: a signature just made does not verify: this machine computes wrongly: %w", err)
	}
	return sig, nil
}

// Wipe zeroes the private keys; Sign gives ErrWiped from then on. No Sign may be running.
func (k *Key) Wipe() { k.private.Empty() }

// PublicKey verifies. The zero value verifies nothing.
type PublicKey struct {
	ed [ed25519.PublicKeySize]byte
	ml *mldsa65.PublicKey
}

// ParsePublicKey reads what Marshal wrote.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if err := checkHeader(b, publicKeyMagic, PublicKeyBytes); err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrBadPublicKey, err)
	}
	p := PublicKey{ml: new(mldsa65.PublicKey)}
	copy(p.ed[:], b[headerBytes:])
	if err := p.ml.UnmarshalBinary(b[headerBytes+ed25519.PublicKeySize:]); err != nil {
		return PublicKey{}, fmt.Errorf("%w: ML-DSA-65: %w", ErrBadPublicKey, err)
	}
	return p, nil
}

// Marshal returns the public key as bytes; nil for the zero PublicKey.
func (p PublicKey) Marshal() []byte {
	if p.ml == nil {
		return nil
	}
	b := make([]byte, headerBytes, PublicKeyBytes)
	putHeader(b, publicKeyMagic)
	b = append(b, p.ed[:]...)
	return append(b, p.ml.Bytes()...)
}

// Equal tells whether both are the same key.
func (p PublicKey) Equal(other PublicKey) bool { return bytes.Equal(p.Marshal(), other.Marshal()) }

// String returns a fingerprint for people and logs: the first 16 hexadecimal digits of the SHA-256 of Marshal.
func (p PublicKey) String() string {
	if p.ml == nil {
		return "none"
	}
	sum := sha256.Sum256(p.Marshal())
	return hex.EncodeToString(sum[:8])
}

// Verify returns nil only when both halves of sig are signatures of msg for context by this key; otherwise an error
// that wraps ErrBadSignature, or ErrContext.
func (p PublicKey) Verify(context string, msg, sig []byte) error {
	if err := checkContext(context); err != nil {
		return err
	}
	if err := checkHeader(sig, signatureMagic, SignatureBytes); err != nil {
		return fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if p.ml == nil {
		return fmt.Errorf("%w: no public key", ErrBadSignature)
	}
	edSig, mlSig := sig[headerBytes:headerBytes+ed25519.SignatureSize], sig[headerBytes+ed25519.SignatureSize:]
	if !ed25519.Verify(p.ed[:], edMessage(context, msg), edSig) {
		return fmt.Errorf("%w: Ed25519", ErrBadSignature)
	}
	if !mldsa65.Verify(p.ml, msg, []byte(contextPrefix+context), mlSig) {
		return fmt.Errorf("%w: ML-DSA-65", ErrBadSignature)
	}
	return nil
}

func edMessage(context string, msg []byte) []byte {
	m := make([]byte, 0, len(contextPrefix)+1+len(context)+len(msg))
	m = append(m, contextPrefix...)
	m = append(m, byte(len(context)))
	m = append(m, context...)
	return append(m, msg...)
}

func checkContext(context string) error {
	if len(context) == 0 || len(context) > MaxContextBytes {
		return fmt.Errorf("%w: it has %d", ErrContext, len(context))
	}
	return nil
}

func putHeader(b []byte, magic string) {
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[len(magic):], version)
}

// checkHeader looks at magic and version first: another version may have another length.
func checkHeader(b []byte, magic string, wantBytes int) error {
	if len(b) < headerBytes || string(b[:len(magic)]) != magic {
		return fmt.Errorf("%d bytes that do not begin with %q", len(b), magic)
	}
	switch v := binary.LittleEndian.Uint32(b[len(magic):]); {
	case v > version:
		return fmt.Errorf("version %d: %w", v, ErrTooNew)
	case v != version:
		return fmt.Errorf("version %d does not exist", v)
	case len(b) != wantBytes:
		return fmt.Errorf("%d bytes, %d wanted", len(b), wantBytes)
	}
	return nil
}
