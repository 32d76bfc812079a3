package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/qsfs/qsfs/zdb"
)

// descriptor is what a namespace is, but for its data. On disk, version 1 (integers
// little endian):
//
//	offset  size  field
//	     0     4  magic "QZNS"
//	     4     4  version, 1
//	     8     4  length of the file
//	    12     4  CRC-32C of all other bytes
//	    16     1  flags: 1 public, 2 write-once
//	    17     1  access: 0 normal, 1 locked (no writes), 2 frozen (no reads either)
//	    18     1  mode: 0 user key
//	    19     1  zero
//	    20     8  limit of live payload bytes, 0 none
//	    28     8  unix time of creation
//	    36     1  length of the name, 1 to 128, and the name
//	     -     1  length of the password, 0 none, at most 128, and the password
type descriptor struct {
	Name        string
	Password    string
	MaxBytes    int64
	Public      bool
	Worm        bool
	Access      access
	CreatedUnix int64
}

type access uint8

const (
	accessNormal access = iota
	accessLocked
	accessFrozen
)

const (
	descriptorMagic    = "QZNS"
	descriptorVersion  = 1
	descriptorMinBytes = 39
	descriptorMaxBytes = 38 + zdb.MaxNamespaceBytes + zdb.MaxPasswordBytes

	flagPublic = 1
	flagWorm   = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (d *descriptor) append(dst []byte) []byte {
	b := append([]byte(nil), descriptorMagic...)
	b = binary.LittleEndian.AppendUint32(b, descriptorVersion)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	var flags byte
	if d.Public {
		flags |= flagPublic
	}
	if d.Worm {
		flags |= flagWorm
	}
	b = append(b, flags, byte(d.Access), 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.MaxBytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.CreatedUnix))
	b = append(append(b, byte(len(d.Name))), d.Name...)
	b = append(append(b, byte(len(d.Password))), d.Password...)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[12:], descriptorChecksum(b))
	return append(dst, b...)
}

func descriptorChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// decodeDescriptor reads a descriptor: zdb.ErrTooNew or zdb.ErrCorrupt when it can't.
func decodeDescriptor(b []byte) (descriptor, error) {
	bad := func(what string) (descriptor, error) {
		return descriptor{}, fmt.Errorf("namespace descriptor: %s: %w", what, zdb.ErrCorrupt)
	}
	if len(b) < 16 || string(b[:4]) != descriptorMagic {
		return bad("no magic")
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v > descriptorVersion {
		return descriptor{}, fmt.Errorf("namespace descriptor version %d: %w", v, zdb.ErrTooNew)
	}
	if len(b) < descriptorMinBytes || len(b) > descriptorMaxBytes || binary.LittleEndian.Uint32(b[8:]) != uint32(len(b)) {
		return bad("length")
	}
	if descriptorChecksum(b) != binary.LittleEndian.Uint32(b[12:]) {
		return bad("checksum")
	}
	d := descriptor{
		Public: b[16]&flagPublic != 0, Worm: b[16]&flagWorm != 0, Access: access(b[17]),
		MaxBytes:    int64(binary.LittleEndian.Uint64(b[20:])),
		CreatedUnix: int64(binary.LittleEndian.Uint64(b[28:])),
	}
	rest := b[36:]
	for _, field := range []*string{&d.Name, &d.Password} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return bad("strings")
		}
		*field, rest = string(rest[1:1+int(rest[0])]), rest[1+int(rest[0]):]
	}
	if d.Name == "" || len(d.Name) > zdb.MaxNamespaceBytes || len(d.Password) > zdb.MaxPasswordBytes ||
		d.MaxBytes < 0 || d.Access > accessFrozen || !bytes.Equal(d.append(nil), b) {
		return bad("fields")
	}
	return d, nil
}

const descriptorName = "descriptor"

// writeDescriptor replaces the descriptor in dir, durably: the old or the new one is
// there at any time.
func writeDescriptor(dir string, d *descriptor) error {
	tmp := filepath.Join(dir, descriptorName+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(d.append(nil))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, descriptorName))
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(dir)
}

func readDescriptor(dir string) (descriptor, error) {
	f, err := os.Open(filepath.Join(dir, descriptorName))
	if err != nil {
		return descriptor{}, err
	}
	defer f.Close()
	b := make([]byte, descriptorMaxBytes+1)
	n := 0
	for n < len(b) {
		got, err := f.Read(b[n:])
		n += got
		if err != nil {
			break
		}
	}
	return decodeDescriptor(b[:n])
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
