package meta

import (
	"syscall"
	"time"
)

// Ino is the number of an inode. It is never used again for another one.
type Ino uint64

// RootIno is the root directory of a volume.
const RootIno Ino = 1

// FirstCookie is the cookie of the first entry of a directory; the smaller ones are free for "." and "..".
const FirstCookie uint64 = 3

// Limits. They are part of what a user can rely on, not of the format, save MaxFileBytes.
const (
	MaxNameBytes       = 255
	MaxTargetBytes     = 4095      // PATH_MAX less the final NUL
	MaxXattrBytes      = 64 << 10  // XATTR_SIZE_MAX
	MaxXattrNamesBytes = 64 << 10  // XATTR_LIST_MAX, each name with its final NUL
	MaxLinks           = 1<<31 - 1 // as XFS
	MaxFileBytes       = 1<<63 - 1 // loff_t
	MaxRecordBytes     = 512 << 10 // of PutSegment and PutRecord
)

// Time is a point in time as inodes keep it.
type Time struct {
	Sec  int64
	Nsec uint32
}

// TimeOf converts from the standard library's time.
func TimeOf(t time.Time) Time { return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())} }

// Std converts to the standard library's time.
func (t Time) Std() time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// Attr is an inode.
type Attr struct {
	Ino   Ino
	Mode  uint32 // S_IFMT bits and permissions, as in struct stat
	UID   uint32
	GID   uint32
	Nlink uint32
	Rdev  uint32
	Flags uint32 // the caller's

	SizeBytes  uint64 // of a directory: its number of entries
	AllocBytes uint64 // sum of the lengths of its extents

	Atime, Mtime, Ctime, Btime Time

	Parent         Ino    // of a directory: what ".." is; else 0
	DirSeq         uint64 // of a directory: the next cookie; else 0
	XattrCount     uint32 // 0: there is nothing to look up
	XattrNameBytes uint32 // of all names, each with its final NUL
}

// Type is the S_IFMT bits of the mode.
func (a *Attr) Type() uint32 { return a.Mode & syscall.S_IFMT }

// IsDir says whether the inode is a directory.
func (a *Attr) IsDir() bool { return a.Type() == syscall.S_IFDIR }

// IsRegular says whether the inode is a regular file.
func (a *Attr) IsRegular() bool { return a.Type() == syscall.S_IFREG }

// ChangeMask says which fields of a Change count.
type ChangeMask uint32

// The fields of a Change.
const (
	ChangeMode ChangeMask = 1 << iota
	ChangeUID
	ChangeGID
	ChangeAtime
	ChangeMtime
	ChangeCtime
	ChangeSize
	ChangeFlags
)

// Change is a set of new values for an inode. Only the fields named in Mask count.
type Change struct {
	Mask                ChangeMask
	Mode                uint32 // permission bits; the type never changes
	UID, GID            uint32
	Atime, Mtime, Ctime Time
	SizeBytes           uint64
	Flags               uint32
}

func (c *Change) has(m ChangeMask) bool { return c.Mask&m != 0 }

// validate checks what apply would put into an inode.
func (c *Change) validate() error {
	if c.has(ChangeAtime) && c.Atime.Nsec >= 1e9 || c.has(ChangeMtime) && c.Mtime.Nsec >= 1e9 || c.has(ChangeCtime) && c.Ctime.Nsec >= 1e9 {
		return ErrInvalid
	}
	if c.has(ChangeSize) && c.SizeBytes > MaxFileBytes {
		return ErrFileTooBig
	}
	return nil
}

// apply sets all named fields but the size, which also concerns extents.
func (c *Change) apply(a *Attr) {
	if c.has(ChangeMode) {
		a.Mode = a.Type() | c.Mode&permMask
	}
	if c.has(ChangeUID) {
		a.UID = c.UID
	}
	if c.has(ChangeGID) {
		a.GID = c.GID
	}
	if c.has(ChangeAtime) {
		a.Atime = c.Atime
	}
	if c.has(ChangeMtime) {
		a.Mtime = c.Mtime
	}
	if c.has(ChangeCtime) {
		a.Ctime = c.Ctime
	}
	if c.has(ChangeFlags) {
		a.Flags = c.Flags
	}
}

// permMask is every mode bit that is not the type.
const permMask = 0o7777

// knownType says whether the S_IFMT bits of a mode are a type that can be stored.
func knownType(mode uint32) bool {
	switch mode & syscall.S_IFMT {
	case syscall.S_IFREG, syscall.S_IFDIR, syscall.S_IFLNK, syscall.S_IFCHR, syscall.S_IFBLK, syscall.S_IFIFO, syscall.S_IFSOCK:
		return true
	}
	return false
}
