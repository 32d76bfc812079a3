package meta

import (
	"encoding/binary"
	"fmt"
)

// The kinds of keys; see the package comment.
const (
	kindCookie   = 'C'
	kindDentry   = 'D'
	kindExtent   = 'E'
	kindInode    = 'I'
	kindTarget   = 'L'
	kindCounters = 'N'
	kindOrphan   = 'O'
	kindPosition = 'P'
	kindSegment  = 'S'
	kindRecord   = 'V'
	kindXattr    = 'X'
)

// maxKeyBytes is the longest key: a kind, an ino and a name, or a kind and a record's key.
const maxKeyBytes = 1 + 8 + MaxNameBytes

var (
	keyCounters = []byte{kindCounters}
	keyPosition = []byte{kindPosition}
)

// appendKey appends a key of a kind and one integer: an ino or an ordinal.
func appendKey(b []byte, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind), n)
}

// appendKey2 appends a key of a kind and two integers.
func appendKey2(b []byte, kind byte, n, m uint64) []byte {
	return binary.BigEndian.AppendUint64(appendKey(b, kind, n), m)
}

// appendKeyName appends a key of a kind, an ino and a name.
func appendKeyName(b []byte, kind byte, ino Ino, name string) []byte {
	return append(appendKey(b, kind, uint64(ino)), name...)
}

// appendKeyEnd appends the smallest key above all keys of a kind that begin with n.
func appendKeyEnd(b []byte, kind byte, n uint64) []byte {
	if n == ^uint64(0) {
		return append(b, kind+1)
	}
	return appendKey(b, kind, n+1)
}

// keyNumbers reads the integers of a key: the first after the kind and, if there is room, the second.
func keyNumbers(key []byte) (n, m uint64) {
	n = binary.BigEndian.Uint64(key[1:])
	if len(key) >= 17 {
		m = binary.BigEndian.Uint64(key[9:])
	}
	return n, m
}

// checkKey says whether a key is one that we write.
func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > maxKeyBytes {
		return fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(key))
	}
	ok := false
	switch key[0] {
	case kindInode, kindTarget, kindOrphan, kindSegment:
		ok = len(key) == 9
	case kindCookie, kindExtent:
		ok = len(key) == 17
	case kindDentry, kindXattr:
		ok = len(key) > 9
	case kindCounters, kindPosition:
		ok = len(key) == 1
	case kindRecord:
		ok = len(key) > 1
	}
	if !ok {
		return fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	return nil
}
