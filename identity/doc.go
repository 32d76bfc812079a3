// Package identity holds who one is: the phrase, the keys that come from it, and what they sign and unwrap.
//
// It has no code of its own; each room does one thing:
//
//	phrase   the 24 words: making, reading and checking them, and the BIP-39 seed
//	keys     the key schedule: from the seed to the root of a volume, and from the root to every key
//	sign     hybrid signatures, Ed25519 and ML-DSA-65 together
//	kem      hybrid key encapsulation, X-Wing (X25519 and ML-KEM-768), and wrapping a secret for someone
//	keyfile  how a machine keeps the root of a volume between mounts
//	kdf      the one key derivation function everything here uses, HKDF-SHA-512
//	secret   the habits of a secret: it is not printed, and it is zeroed when it is done with
//
// The way of a key, top to bottom; nothing flows back up:
//
//	phrase (24 words) → seed (64 bytes) → root of a volume (64 bytes) → one key a purpose
//	never on disk       in memory only    what a keyfile keeps           in memory only
//
// Packages here import each other and nothing else of ours.
package identity
