// Package keyfile is how a machine keeps the root of a volume between mounts: in a file of its own, plain or sealed with
// a passphrase. The phrase itself is never on disk.
//
// # File (integers little endian; offsets and sizes in bytes)
//
//	offset  size  field
//	     0     4  magic "QSKF"
//	     4     4  version, 1
//	     8     4  kind: 1 plain, 2 sealed with a passphrase
//	    12    16  id of the volume, not secret
//
// then, plain, 124 bytes in all:
//
//	28    64  root
//	92    32  SHA-256 of bytes 0 to 91
//
// or sealed, 184 bytes in all:
//
//	 28     4  Argon2id passes, 1 to 64
//	 32     4  Argon2id memory in KiB, 8 for each thread to 1048576 (1 GiB)
//	 36     4  Argon2id threads, 1 to 64
//	 40    32  salt
//	 72    80  root, sealed with AES-256-GCM, and its tag of 16
//	152    32  SHA-256 of bytes 0 to 151
//
// Key of the seal: Argon2id version 0x13 (RFC 9106) of the passphrase and the salt, 32 bytes. Nonce: 12 zero bytes.
// Associated data: bytes 0 to 71. A passphrase is taken byte by byte, as it is given.
//
// The SHA-256 tells damage from a wrong passphrase; it protects from nobody. That the id is the one that the root
// gives is checked when writing and when reading.
//
// # What must always hold
//
//   - No (key, nonce) pair seals two roots: the salt is HKDF-SHA-512(root ‖ 32 random bytes, "qsfs/v1/keyfile/salt"), so
//     that even with randomness that repeats itself (a copied virtual machine) another root has another salt.
//   - A file is written whole or not at all: into a new file of mode 0600 next to it, synced, then renamed without
//     replacing anything, then the directory is synced. An existing file is never touched.
//   - A file that group or others can reach, or that belongs to someone else, is not read.
//   - Lengths, checksum and the bounds above are checked before Argon2id takes any memory: at most 1 GiB, and 8 GiB
//     in all passes together.
package keyfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/secret"
)

// MaxPassphraseBytes is the longest passphrase.
const MaxPassphraseBytes = 4096

var (
	// ErrPermissions means that group or others can reach the file, or that it belongs to someone else. The user runs
	// chmod 600, and asks who read it meanwhile.
	ErrPermissions = errors.New("keyfile: not private")
	// ErrWrongPassphrase means the passphrase does not open the file, which is whole. The caller may ask again.
	ErrWrongPassphrase = errors.New("keyfile: wrong passphrase")
	// ErrNeedPassphrase means the file is sealed and no passphrase was given.
	ErrNeedPassphrase = errors.New("keyfile: sealed with a passphrase")
	// ErrPassphrase means a passphrase is empty or too long.
	ErrPassphrase = errors.New("keyfile: a passphrase has 1 to 4096 bytes")
	// ErrCorrupt means the file is no key file, or damaged. The phrase gives the root again.
	ErrCorrupt = errors.New("keyfile: not a key file, or damaged")
	// ErrTooNew means a later version of qsfs wrote the file.
	ErrTooNew = errors.New("keyfile: made by a newer version")
	// ErrWrongVolume means the root to be written is not the one of the volume. It is a bug of the caller.
	ErrWrongVolume = errors.New("keyfile: the root is of another volume")
)

// Write keeps root in a new plain key file. The error is fs.ErrExist when path exists.
func Write(path string, root *keys.Root, volumeID [16]byte) error {
	data, err := encodePlain(root, volumeID)
	if err != nil {
		return err
	}
	defer secret.Wipe(data)
	return create(osDisk, path, data)
}

// WriteSealed keeps root in a new key file sealed with passphrase, which takes part of a second and 64 MiB. The error is
// fs.ErrExist when path exists.
func WriteSealed(path string, root *keys.Root, volumeID [16]byte, passphrase []byte) error {
	if _, err := os.Lstat(path); err == nil { // before the work; create decides
		return fmt.Errorf("keyfile: %s: %w", path, fs.ErrExist)
	}
	data, err := encodeSealed(rand.Reader, defaultCost, root, volumeID, passphrase)
	if err != nil {
		return err
	}
	return create(osDisk, path, data)
}

// Read returns the root that the file at path keeps. When it is sealed, passphrase is called once, and what it returns
// is wiped after use; nil means there is none. Everything else about the file is checked before the user is asked.
func Read(path string, passphrase func() ([]byte, error)) (*keys.Root, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(data)
	root, err := Decode(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// readPrivate reads up to maxBytes+1 bytes of a file, if it is private to us.
func readPrivate(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the file that is open, whatever path names by now
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	if err := checkPrivate(info, os.Geteuid()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	// ReadAll may have moved the bytes while growing; one copy in memory of its own length is enough.
	kept := bytes.Clone(data)
	secret.Wipe(data[:cap(data)])
	return kept, nil
}

func checkPrivate(info fs.FileInfo, uid int) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is no regular file", ErrCorrupt, info.Mode().Type())
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%w: mode %04o, 0600 wanted", ErrPermissions, perm)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != uid {
		return fmt.Errorf("%w: it belongs to another user", ErrPermissions)
	}
	return nil
}
