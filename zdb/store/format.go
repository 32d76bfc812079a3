package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/qsfs/qsfs/zdb"
)

const (
	fileMagic       = "QZDB"
	fileVersion     = 2
	fileHeaderBytes = 64

	// Flags of a file header; version 1 had none.
	fileFloor      = 1 // all files of a lower id are void: the store was cleared
	fileSequential = 2 // the store gives the keys

	recordHeaderBytes = 40
	recordMagic       = "QZ"
	flagDelete        = 1

	// maxFileBytes keeps every offset in 32 bits with a full batch to spare.
	maxFileBytes = 3 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// storeID is random and in every data file: it ties files and index together.
type storeID [16]byte

// fileID numbers the data files of a store from 1; a later file has a higher id.
type fileID uint32

func fileName(id fileID) string { return fmt.Sprintf("%08x.qzd", uint32(id)) }

// parseFileName is the inverse of fileName; other names are no data files.
func parseFileName(name string) (fileID, bool) {
	if len(name) != 12 || name[8:] != ".qzd" {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:8], 16, 32)
	if err != nil || n == 0 || fileName(fileID(n)) != name {
		return 0, false
	}
	return fileID(n), true
}

// fileHeader is the head of a data file.
type fileHeader struct {
	Store       storeID
	ID          fileID
	Previous    fileID // 0: this is the first
	PreviousEnd uint64
	CreatedUnix int64
	// FirstSequence is a bound: no record of an earlier file has it or a higher one. 0 in
	// version 1, which did not keep it.
	FirstSequence uint64
	Flags         uint32

	version uint32 // 0 stands for the present one
}

func (h *fileHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, fileMagic...)
	version := h.version
	if version == 0 {
		version = fileVersion
	}
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = append(dst, h.Store[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.ID))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Previous))
	dst = binary.LittleEndian.AppendUint64(dst, h.PreviousEnd)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.CreatedUnix))
	dst = binary.LittleEndian.AppendUint64(dst, h.FirstSequence)
	dst = binary.LittleEndian.AppendUint32(dst, h.Flags)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// decodeFileHeader reads the head of a data file. A version above ours is
// zdb.ErrTooNew; anything else that is wrong is zdb.ErrCorrupt.
func decodeFileHeader(b []byte) (fileHeader, error) {
	if len(b) < fileHeaderBytes || string(b[:4]) != fileMagic {
		return fileHeader{}, fmt.Errorf("data file header: no magic: %w", zdb.ErrCorrupt)
	}
	version := binary.LittleEndian.Uint32(b[4:])
	if version > fileVersion {
		return fileHeader{}, fmt.Errorf("data file version %d: %w", version, zdb.ErrTooNew)
	}
	if checksum(b[:60]) != binary.LittleEndian.Uint32(b[60:]) {
		return fileHeader{}, fmt.Errorf("data file header: checksum: %w", zdb.ErrCorrupt)
	}
	h := fileHeader{
		Store:         storeID(b[8:24]),
		ID:            fileID(binary.LittleEndian.Uint32(b[24:])),
		Previous:      fileID(binary.LittleEndian.Uint32(b[28:])),
		PreviousEnd:   binary.LittleEndian.Uint64(b[32:]),
		CreatedUnix:   int64(binary.LittleEndian.Uint64(b[40:])),
		FirstSequence: binary.LittleEndian.Uint64(b[48:]),
		Flags:         binary.LittleEndian.Uint32(b[56:]),
		version:       version,
	}
	if !bytes.Equal(h.append(nil), b[:fileHeaderBytes]) || h.ID == 0 || h.Previous >= h.ID || h.PreviousEnd > 1<<32 ||
		h.Flags&^(fileFloor|fileSequential) != 0 || (version < 2 && (h.FirstSequence != 0 || h.Flags != 0)) || version == 0 {
		return fileHeader{}, fmt.Errorf("data file header: fields: %w", zdb.ErrCorrupt)
	}
	return h, nil
}

// recordHeader is the fixed part of a record.
type recordHeader struct {
	ValueCRC   uint32
	Delete     bool
	KeyBytes   uint8
	ValueBytes uint32
	Sequence   uint64
	UnixTime   int64
	Synced     uint32
	Previous   uint32
}

// sizeBytes is what the record takes in the file.
func (h *recordHeader) sizeBytes() int64 {
	return recordHeaderBytes + int64(h.KeyBytes) + int64(h.ValueBytes)
}

// nextSequence is what the store goes on with behind the record. A delete marker has the
// sequence that the next value gets, and does not use it up.
func (h *recordHeader) nextSequence() uint64 {
	if h.Delete {
		return h.Sequence
	}
	return h.Sequence + 1
}

// seed starts the header checksums of one file.
type seed uint32

func newSeed(store storeID, file fileID) seed {
	return seed(checksum(binary.LittleEndian.AppendUint32(store[:len(store):len(store)], uint32(file))))
}

func (s seed) checksum(headerTail, key []byte) uint32 {
	return crc32.Update(crc32.Update(uint32(s), castagnoli, headerTail), castagnoli, key)
}

// append writes header and key; the value follows them in the file.
func (h *recordHeader) append(dst []byte, s seed, key []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, h.ValueCRC)
	dst = append(dst, recordMagic...)
	var flags byte
	if h.Delete {
		flags = flagDelete
	}
	dst = append(dst, flags, h.KeyBytes)
	dst = binary.LittleEndian.AppendUint32(dst, h.ValueBytes)
	dst = binary.LittleEndian.AppendUint64(dst, h.Sequence)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.UnixTime))
	dst = binary.LittleEndian.AppendUint32(dst, h.Synced)
	dst = binary.LittleEndian.AppendUint32(dst, h.Previous)
	dst = append(dst, key...)
	binary.LittleEndian.PutUint32(dst[start:], s.checksum(dst[start+4:start+recordHeaderBytes], key))
	return dst
}

// errShort means the bytes end before the record does.
var errShort = errors.New("record is cut short")

// decodeRecord reads header and key from the start of b. The value is not looked
// at; its checksum is in the header. The key is a part of b.
func decodeRecord(b []byte, s seed) (recordHeader, []byte, error) {
	if len(b) < recordHeaderBytes {
		return recordHeader{}, nil, fmt.Errorf("%w: %w", errShort, zdb.ErrCorrupt)
	}
	h := recordHeader{
		ValueCRC:   binary.LittleEndian.Uint32(b[4:]),
		Delete:     b[10] == flagDelete,
		KeyBytes:   b[11],
		ValueBytes: binary.LittleEndian.Uint32(b[12:]),
		Sequence:   binary.LittleEndian.Uint64(b[16:]),
		UnixTime:   int64(binary.LittleEndian.Uint64(b[24:])),
		Synced:     binary.LittleEndian.Uint32(b[32:]),
		Previous:   binary.LittleEndian.Uint32(b[36:]),
	}
	switch {
	case string(b[8:10]) != recordMagic, b[10]&^flagDelete != 0,
		h.KeyBytes == 0, h.ValueBytes > zdb.MaxValueBytes, h.Delete && h.ValueBytes != 0:
		return recordHeader{}, nil, fmt.Errorf("record header: fields: %w", zdb.ErrCorrupt)
	case len(b) < recordHeaderBytes+int(h.KeyBytes):
		return recordHeader{}, nil, fmt.Errorf("%w: %w", errShort, zdb.ErrCorrupt)
	}
	key := b[recordHeaderBytes : recordHeaderBytes+int(h.KeyBytes)]
	if s.checksum(b[4:recordHeaderBytes], key) != binary.LittleEndian.Uint32(b) {
		return recordHeader{}, nil, fmt.Errorf("record header: checksum: %w", zdb.ErrCorrupt)
	}
	return h, key, nil
}

// entry is where the record that counts of a key is: its value, or the delete marker that
// keeps older records of the key from counting.
type entry struct {
	File       fileID
	Offset     uint32
	Deleted    bool // a delete marker
	ValueBytes uint32
	ValueCRC   uint32
	UnixTime   int64
	Sequence   uint64
}

const entryBytes = 32

// deletedBytes stands in the place of the value's length in the entry of a delete marker.
const deletedBytes = math.MaxUint32

// recordBytes is what the record takes in its file.
func (e *entry) recordBytes(key []byte) int64 {
	return recordHeaderBytes + int64(len(key)) + int64(e.ValueBytes)
}

// live says whether e is the entry of a value.
func (e *entry) live() bool { return e != nil && !e.Deleted }

func (e *entry) append(dst []byte) []byte {
	valueBytes := e.ValueBytes
	if e.Deleted {
		valueBytes = deletedBytes
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.File))
	dst = binary.LittleEndian.AppendUint32(dst, e.Offset)
	dst = binary.LittleEndian.AppendUint32(dst, valueBytes)
	dst = binary.LittleEndian.AppendUint32(dst, e.ValueCRC)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.UnixTime))
	return binary.LittleEndian.AppendUint64(dst, e.Sequence)
}

func decodeEntry(b []byte) (entry, error) {
	e := entry{}
	if len(b) != entryBytes {
		return e, fmt.Errorf("index entry of %d bytes: %w", len(b), errIndexDamaged)
	}
	e.File = fileID(binary.LittleEndian.Uint32(b))
	e.Offset = binary.LittleEndian.Uint32(b[4:])
	e.ValueBytes = binary.LittleEndian.Uint32(b[8:])
	e.ValueCRC = binary.LittleEndian.Uint32(b[12:])
	e.UnixTime = int64(binary.LittleEndian.Uint64(b[16:]))
	e.Sequence = binary.LittleEndian.Uint64(b[24:])
	if e.ValueBytes == deletedBytes {
		e.Deleted, e.ValueBytes = true, 0
	}
	if e.File == 0 || e.Offset < fileHeaderBytes || e.ValueBytes > zdb.MaxValueBytes || (e.Deleted && e.ValueCRC != 0) {
		return entry{}, fmt.Errorf("index entry fields: %w", errIndexDamaged)
	}
	return e, nil
}

// position is a place between two records.
type position struct {
	File   fileID
	Offset uint32
}

// meta is the state the index stands for.
type meta struct {
	Store        storeID
	Reached      position
	LastRecord   uint32 // offset of the record that ends there, 0 where the file has none
	NextSequence uint64
	LiveBytes    int64
	Entries      int64
}

const (
	metaVersion = 2 // 1 had no order by id, no stale records and no delete markers
	metaBytes   = 56
)

func (m *meta) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, metaVersion)
	dst = append(dst, m.Store[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(m.Reached.File))
	dst = binary.LittleEndian.AppendUint32(dst, m.Reached.Offset)
	dst = binary.LittleEndian.AppendUint32(dst, m.LastRecord)
	dst = binary.LittleEndian.AppendUint64(dst, m.NextSequence)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.LiveBytes))
	return binary.LittleEndian.AppendUint64(dst, uint64(m.Entries))
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) != metaBytes || binary.LittleEndian.Uint32(b) != metaVersion {
		return meta{}, fmt.Errorf("index state record: %w", errIndexDamaged)
	}
	m := meta{
		Store:        storeID(b[4:20]),
		Reached:      position{File: fileID(binary.LittleEndian.Uint32(b[20:])), Offset: binary.LittleEndian.Uint32(b[24:])},
		LastRecord:   binary.LittleEndian.Uint32(b[28:]),
		NextSequence: binary.LittleEndian.Uint64(b[32:]),
		LiveBytes:    int64(binary.LittleEndian.Uint64(b[40:])),
		Entries:      int64(binary.LittleEndian.Uint64(b[48:])),
	}
	if m.LiveBytes < 0 || m.Entries < 0 || m.NextSequence == 0 {
		return meta{}, fmt.Errorf("index state fields: %w", errIndexDamaged)
	}
	return m, nil
}
