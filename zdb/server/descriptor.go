package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/qsfs/qsfs/zdb"
)

// descriptor is what a namespace is, but for its data. On disk, version 2 (integers
// little endian):
//
//	offset  size  field
//	     0     4  magic "QZNS"
//	     4     4  version, 2
//	     8     4  length of the file
//	    12     4  CRC-32C of all other bytes
//	    16     1  flags: 1 public, 2 write-once
//	    17     1  access: 0 normal, 1 locked (no writes), 2 frozen (no reads either)
//	    18     1  mode: 0 user key, 1 sequential
//	    19     1  zero
//	    20     8  limit of live payload bytes, 0 none
//	    28     8  unix time of creation
//	    36     1  length of the name, 1 to 128, and the name
//	     -     1  length of the sealed password, 0 none, else 29 to 156, and the sealed
//	              password (see the type sealer)
//
// Version 1 had the password itself in the last field, and mode 0 only. It is read, and
// replaced at start.
type descriptor struct {
	Name           string
	SealedPassword []byte // empty: no password
	MaxBytes       int64
	Public         bool
	Worm           bool
	Access         access
	Mode           keyMode
	CreatedUnix    int64
}

type access uint8

const (
	accessNormal access = iota
	accessLocked
	accessFrozen
)

// keyMode says who chooses the keys of a namespace.
type keyMode uint8

const (
	userKeys       keyMode = iota // the client
	sequentialKeys                // the store: ids of 8 bytes, counted up
)

const (
	descriptorMagic    = "QZNS"
	descriptorVersion  = 2
	descriptorMinBytes = 39
	descriptorMaxBytes = 38 + zdb.MaxNamespaceBytes + sealedMaxBytes

	flagPublic = 1
	flagWorm   = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (d *descriptor) append(dst []byte) []byte {
	return append(dst, d.encode(descriptorVersion, d.SealedPassword)...)
}

func (d *descriptor) encode(version uint32, last []byte) []byte {
	b := append([]byte(nil), descriptorMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	var flags byte
	if d.Public {
		flags |= flagPublic
	}
	if d.Worm {
		flags |= flagWorm
	}
	b = append(b, flags, byte(d.Access), byte(d.Mode), 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.MaxBytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.CreatedUnix))
	b = append(append(b, byte(len(d.Name))), d.Name...)
	b = append(append(b, byte(len(last))), last...)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[12:], descriptorChecksum(b))
	return b
}

func descriptorChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// decodeDescriptor reads a descriptor: zdb.ErrTooNew or zdb.ErrCorrupt when it can't. Of
// version 1 it gives the password too, and none is sealed.
func decodeDescriptor(b []byte) (d descriptor, version uint32, clearPassword string, err error) {
	bad := func(what string) (descriptor, uint32, string, error) {
		return descriptor{}, 0, "", fmt.Errorf("namespace descriptor: %s: %w", what, zdb.ErrCorrupt)
	}
	if len(b) < 16 || string(b[:4]) != descriptorMagic {
		return bad("no magic")
	}
	version = binary.LittleEndian.Uint32(b[4:])
	if version > descriptorVersion {
		return descriptor{}, 0, "", fmt.Errorf("namespace descriptor version %d: %w", version, zdb.ErrTooNew)
	}
	if len(b) < descriptorMinBytes || len(b) > descriptorMaxBytes || binary.LittleEndian.Uint32(b[8:]) != uint32(len(b)) {
		return bad("length")
	}
	if descriptorChecksum(b) != binary.LittleEndian.Uint32(b[12:]) {
		return bad("checksum")
	}
	d = descriptor{
		Public: b[16]&flagPublic != 0, Worm: b[16]&flagWorm != 0, Access: access(b[17]), Mode: keyMode(b[18]),
		MaxBytes:    int64(binary.LittleEndian.Uint64(b[20:])),
		CreatedUnix: int64(binary.LittleEndian.Uint64(b[28:])),
	}
	name, rest, ok := cutString(b[36:])
	last, _, whole := cutString(rest)
	if !ok || !whole {
		return bad("strings")
	}
	d.Name = string(name)
	if d.Name == "" || len(d.Name) > zdb.MaxNamespaceBytes || d.MaxBytes < 0 || d.Access > accessFrozen || d.Mode > sequentialKeys ||
		!bytes.Equal(d.encode(version, last), b) {
		return bad("fields")
	}
	switch {
	case version == 1:
		if len(last) > zdb.MaxPasswordBytes || d.Mode != userKeys {
			return bad("fields")
		}
		clearPassword = string(last)
	case version != descriptorVersion, len(last) > sealedMaxBytes, len(last) > 0 && len(last) < sealedMinBytes:
		return bad("fields")
	case len(last) > 0:
		d.SealedPassword = bytes.Clone(last)
	}
	return d, version, clearPassword, nil
}

// cutString takes a string behind its length byte off b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):], true
}

const descriptorName = "descriptor"

// writeDescriptor replaces the descriptor in dir, durably: the old or the new one is
// there at any time.
func writeDescriptor(dir string, d *descriptor) error {
	return replaceFile(filepath.Join(dir, descriptorName), d.append(nil))
}

// readDescriptor reads the descriptor in dir, and of one of version 1 the password too.
func readDescriptor(dir string) (d descriptor, version uint32, clearPassword string, err error) {
	f, err := os.Open(filepath.Join(dir, descriptorName))
	if err != nil {
		return descriptor{}, 0, "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, descriptorMaxBytes+1))
	if err != nil {
		return descriptor{}, 0, "", err
	}
	return decodeDescriptor(b)
}

// replaceDescriptor replaces one of an older version, so that the password in it is in no
// file any more. The old file loses its name, and what was in its blocks.
func replaceDescriptor(dir string, d *descriptor) error {
	old, err := os.OpenFile(filepath.Join(dir, descriptorName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	st, err := old.Stat()
	if err != nil {
		return err
	}
	if err := writeDescriptor(dir, d); err != nil {
		return err
	}
	if _, err := old.WriteAt(make([]byte, st.Size()), 0); err != nil {
		return err
	}
	return old.Sync()
}

// replaceFile writes a file of its owner's only, durably: the old or the new one is
// there at any time.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
