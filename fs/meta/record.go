package meta

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/qsfs/qsfs/fs/wal"
)

// recordVersion leads every value.
const recordVersion = 1

// Lengths of the values of fixed length, and of the fixed part of the others.
const (
	attrBytes     = 113
	dentryBytes   = 18
	cookieBytes   = 10 // and the name
	extentBytes   = 9 + wal.AddrBytes
	countersBytes = 25
	positionBytes = 1 + wal.PositionBytes
)

// dentry is what a directory knows about a name.
type dentry struct {
	ino    Ino
	typ    uint32 // S_IFMT bits
	cookie uint64
}

// counters are the volume's totals.
type counters struct {
	usedBytes uint64
	inodes    uint64
	nextIno   Ino
}

// body checks the leading version and the length of a value and returns what follows the version. A value of
// variable length has exact false and is at least min bytes long.
func body(value []byte, min int, exact bool) ([]byte, error) {
	if len(value) == 0 {
		return nil, fmt.Errorf("%w: empty value", ErrCorrupt)
	}
	if value[0] > recordVersion {
		return nil, fmt.Errorf("%w: value version %d", ErrTooNew, value[0])
	}
	if value[0] != recordVersion || len(value) < min || exact && len(value) != min {
		return nil, fmt.Errorf("%w: value version %d of %d bytes", ErrCorrupt, value[0], len(value))
	}
	return value[1:], nil
}

func appendTime(b []byte, t Time) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, uint64(t.Sec)), t.Nsec)
}

func readTime(b []byte) Time {
	return Time{Sec: int64(binary.LittleEndian.Uint64(b)), Nsec: binary.LittleEndian.Uint32(b[8:])}
}

func appendAttr(b []byte, a *Attr) []byte {
	le := binary.LittleEndian
	b = append(b, recordVersion)
	for _, v := range [...]uint32{a.Mode, a.UID, a.GID, a.Nlink, a.Rdev, a.Flags} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, a.SizeBytes)
	b = le.AppendUint64(b, a.AllocBytes)
	b = appendTime(b, a.Atime)
	b = appendTime(b, a.Mtime)
	b = appendTime(b, a.Ctime)
	b = appendTime(b, a.Btime)
	b = le.AppendUint64(b, uint64(a.Parent))
	b = le.AppendUint64(b, a.DirSeq)
	b = le.AppendUint32(b, a.XattrCount)
	return le.AppendUint32(b, a.XattrNameBytes)
}

func decodeAttr(ino Ino, value []byte) (Attr, error) {
	b, err := body(value, attrBytes, true)
	if err != nil {
		return Attr{}, err
	}
	le := binary.LittleEndian
	a := Attr{
		Ino:  ino,
		Mode: le.Uint32(b), UID: le.Uint32(b[4:]), GID: le.Uint32(b[8:]), Nlink: le.Uint32(b[12:]),
		Rdev: le.Uint32(b[16:]), Flags: le.Uint32(b[20:]),
		SizeBytes: le.Uint64(b[24:]), AllocBytes: le.Uint64(b[32:]),
		Atime: readTime(b[40:]), Mtime: readTime(b[52:]), Ctime: readTime(b[64:]), Btime: readTime(b[76:]),
		Parent: Ino(le.Uint64(b[88:])), DirSeq: le.Uint64(b[96:]),
		XattrCount: le.Uint32(b[104:]), XattrNameBytes: le.Uint32(b[108:]),
	}
	switch {
	case !knownType(a.Mode) || a.Mode&^(syscall.S_IFMT|permMask) != 0:
		return Attr{}, fmt.Errorf("%w: inode %d: mode %o", ErrCorrupt, ino, a.Mode)
	case a.Atime.Nsec >= 1e9 || a.Mtime.Nsec >= 1e9 || a.Ctime.Nsec >= 1e9 || a.Btime.Nsec >= 1e9:
		return Attr{}, fmt.Errorf("%w: inode %d: nanoseconds", ErrCorrupt, ino)
	case a.SizeBytes > MaxFileBytes || a.AllocBytes > a.SizeBytes || a.AllocBytes > 0 && !a.IsRegular():
		return Attr{}, fmt.Errorf("%w: inode %d: size %d, allocated %d", ErrCorrupt, ino, a.SizeBytes, a.AllocBytes)
	case a.IsDir() != (a.DirSeq >= FirstCookie) || a.IsDir() != (a.Parent != 0) || !a.IsDir() && a.DirSeq != 0:
		return Attr{}, fmt.Errorf("%w: inode %d: directory fields", ErrCorrupt, ino)
	}
	return a, nil
}

func appendDentry(b []byte, d dentry) []byte {
	b = append(b, recordVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.ino))
	b = append(b, byte(d.typ>>12))
	return binary.LittleEndian.AppendUint64(b, d.cookie)
}

func decodeDentry(value []byte) (dentry, error) {
	b, err := body(value, dentryBytes, true)
	if err != nil {
		return dentry{}, err
	}
	d := dentry{ino: Ino(binary.LittleEndian.Uint64(b)), typ: uint32(b[8]) << 12, cookie: binary.LittleEndian.Uint64(b[9:])}
	if d.ino <= RootIno || b[8] > 15 || !knownType(d.typ) || d.cookie < FirstCookie {
		return dentry{}, fmt.Errorf("%w: directory entry of inode %d", ErrCorrupt, d.ino)
	}
	return d, nil
}

func appendCookie(b []byte, d dentry, name string) []byte {
	b = append(b, recordVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.ino))
	return append(append(b, byte(d.typ>>12)), name...)
}

// decodeCookie's name aliases the value.
func decodeCookie(cookie uint64, value []byte) (dentry, []byte, error) {
	b, err := body(value, cookieBytes+1, false)
	if err != nil {
		return dentry{}, nil, err
	}
	d, name := dentry{ino: Ino(binary.LittleEndian.Uint64(b)), typ: uint32(b[8]) << 12, cookie: cookie}, b[9:]
	if d.ino <= RootIno || b[8] > 15 || !knownType(d.typ) || cookie < FirstCookie || len(name) > MaxNameBytes {
		return dentry{}, nil, fmt.Errorf("%w: directory entry of inode %d", ErrCorrupt, d.ino)
	}
	return d, name, nil
}

func appendExtent(b []byte, e *Extent) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(append(b, recordVersion), e.Length)
	b = le.AppendUint32(b, e.BlockOffset)
	return e.Block.AppendTo(b)
}

func decodeExtent(end uint64, value []byte) (Extent, error) {
	b, err := body(value, extentBytes, true)
	if err != nil {
		return Extent{}, err
	}
	le := binary.LittleEndian
	e := Extent{Length: le.Uint32(b), BlockOffset: le.Uint32(b[4:])}
	if e.Block, err = wal.DecodeAddr(b[8:]); err != nil {
		return Extent{}, fmt.Errorf("%w: extent: %w", ErrCorrupt, err)
	}
	if uint64(e.Length) > end {
		return Extent{}, fmt.Errorf("%w: extent of %d bytes ends at %d", ErrCorrupt, e.Length, end)
	}
	e.FileOffset = end - uint64(e.Length)
	if e.validate() != nil {
		return Extent{}, fmt.Errorf("%w: extent at %d", ErrCorrupt, e.FileOffset)
	}
	return e, nil
}

func appendCounters(b []byte, c counters) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(append(b, recordVersion), c.usedBytes)
	return le.AppendUint64(le.AppendUint64(b, c.inodes), uint64(c.nextIno))
}

func decodeCounters(value []byte) (counters, error) {
	b, err := body(value, countersBytes, true)
	if err != nil {
		return counters{}, err
	}
	le := binary.LittleEndian
	c := counters{usedBytes: le.Uint64(b), inodes: le.Uint64(b[8:]), nextIno: Ino(le.Uint64(b[16:]))}
	if c.nextIno <= RootIno || c.inodes >= uint64(c.nextIno) {
		return counters{}, fmt.Errorf("%w: counters", ErrCorrupt)
	}
	return c, nil
}

func appendPosition(b []byte, p wal.Position) []byte {
	return p.AppendTo(append(b, recordVersion))
}

func decodePosition(value []byte) (wal.Position, error) {
	b, err := body(value, positionBytes, true)
	if err != nil {
		return wal.Position{}, err
	}
	p, err := wal.DecodePosition(b)
	if err != nil {
		return wal.Position{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return p, nil
}

func decodeTarget(value []byte) (string, error) {
	b, err := body(value, 2, false)
	if err != nil {
		return "", err
	}
	if len(b) > MaxTargetBytes {
		return "", fmt.Errorf("%w: symbolic link of %d bytes", ErrCorrupt, len(b))
	}
	return string(b), nil
}

// appendOpaque is the value of the kinds whose content is the caller's, and of an orphan, which has none.
func appendOpaque(b, content []byte) []byte { return append(append(b, recordVersion), content...) }

// decodeOpaque's content aliases the value.
func decodeOpaque(value []byte) ([]byte, error) { return body(value, 1, false) }
