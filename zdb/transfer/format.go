package transfer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/minio/sha256-simd"

	"github.com/qsfs/qsfs/zdb"
)

// ErrDamaged means that a stream is cut short, or has bytes in it that no export wrote.
// What was imported from it before is good.
var ErrDamaged = errors.New("transfer: stream is cut or damaged")

// Header is what a stream begins with.
type Header struct {
	Sequential bool
	UnixTime   int64
	Namespace  string // for people
}

// Record is a value with its key.
type Record struct {
	Key, Value []byte
	UnixTime   int64
}

const (
	magic         = "QZDT"
	formatVersion = 1

	headerBytes       = 18
	recordHeaderBytes = 14
	endBytes          = 61
	checksumBytes     = 4
	idBytes           = 8
	bufferBytes       = 64 << 10

	typeRecord = 1
	typeEnd    = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *Header) append(dst []byte) []byte {
	b := append([]byte(nil), magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	mode := byte(0)
	if h.Sequential {
		mode = 1
	}
	b = append(b, mode, byte(len(h.Namespace)))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.UnixTime))
	b = append(b, h.Namespace...)
	return append(dst, binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))...)
}

// Writer writes a stream. It is not complete before Close returned nil.
type Writer struct {
	NextID uint64 // of the end; set it before Close

	w      *bufio.Writer
	sum    hash.Hash
	head   []byte
	h      Header
	last   uint64 // id of the last record of a sequential stream
	count  uint64
	values uint64
	err    error
}

// NewWriter begins a stream.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if len(h.Namespace) > zdb.MaxNamespaceBytes {
		return nil, fmt.Errorf("export: name of the namespace is longer than %d bytes", zdb.MaxNamespaceBytes)
	}
	t := &Writer{w: bufio.NewWriterSize(w, bufferBytes), sum: sha256.New(), h: h}
	return t, t.write(h.append(nil))
}

func (t *Writer) write(parts ...[]byte) error {
	for _, p := range parts {
		if t.err != nil {
			return t.err
		}
		t.sum.Write(p)
		_, t.err = t.w.Write(p)
	}
	return t.err
}

// Write adds a record.
func (t *Writer) Write(r Record) error {
	if err := checkKey(&t.h, r.Key, t.last, t.count == 0); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if len(r.Value) > zdb.MaxValueBytes {
		return fmt.Errorf("export: %w", zdb.ErrValueTooLarge)
	}
	if t.h.Sequential {
		t.last = binary.LittleEndian.Uint64(r.Key)
	}
	t.head = append(t.head[:0], typeRecord, byte(len(r.Key)))
	t.head = binary.LittleEndian.AppendUint32(t.head, uint32(len(r.Value)))
	t.head = binary.LittleEndian.AppendUint64(t.head, uint64(r.UnixTime))
	t.head = append(t.head, r.Key...)
	crc := crc32.Update(crc32.Checksum(t.head, castagnoli), castagnoli, r.Value)
	t.count++
	t.values += uint64(len(r.Value))
	return t.write(t.head, r.Value, binary.LittleEndian.AppendUint32(nil, crc))
}

// Close writes the end.
func (t *Writer) Close() error {
	if !rightNextID(&t.h, t.NextID, t.last, t.count == 0) {
		return fmt.Errorf("export: next id %d after id %d", t.NextID, t.last)
	}
	b := []byte{typeEnd}
	b = binary.LittleEndian.AppendUint64(b, t.count)
	b = binary.LittleEndian.AppendUint64(b, t.values)
	b = binary.LittleEndian.AppendUint64(b, t.NextID)
	b = t.sum.Sum(b)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if err := t.write(b); err != nil {
		return err
	}
	return t.w.Flush()
}

// checkKey says whether a key can follow in a stream.
func checkKey(h *Header, key []byte, last uint64, first bool) error {
	switch {
	case len(key) == 0:
		return zdb.ErrKeyEmpty
	case len(key) > zdb.MaxKeyBytes:
		return zdb.ErrKeyTooLarge
	case !h.Sequential:
		return nil
	case len(key) != idBytes:
		return fmt.Errorf("key of %d bytes in a sequential namespace", len(key))
	case !first && binary.LittleEndian.Uint64(key) <= last:
		return errors.New("ids do not grow")
	}
	return nil
}

// rightNextID says whether the next id of the source fits to its last one.
func rightNextID(h *Header, next, last uint64, none bool) bool {
	if !h.Sequential {
		return next == 0
	}
	return none || next > last
}

// Reader reads a stream.
type Reader struct {
	Header Header
	NextID uint64 // of the end; known behind it

	r      *bufio.Reader
	sum    hash.Hash
	last   uint64
	count  uint64
	values uint64
	err    error // what Next gives from now on
}

// NewReader reads the header of a stream: ErrDamaged when it is none, zdb.ErrTooNew when this
// program does not know its version.
func NewReader(r io.Reader) (*Reader, error) {
	t := &Reader{r: bufio.NewReaderSize(r, bufferBytes), sum: sha256.New()}
	b := make([]byte, headerBytes, headerBytes+zdb.MaxNamespaceBytes+checksumBytes)
	if err := t.read(b[:8]); err != nil {
		return nil, err
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: it is no export of zdbd", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v > formatVersion {
		return nil, fmt.Errorf("stream of version %d: %w", v, zdb.ErrTooNew)
	} else if v != formatVersion {
		return nil, fmt.Errorf("%w: version %d", ErrDamaged, v)
	}
	if err := t.read(b[8:headerBytes]); err != nil {
		return nil, err
	}
	nameBytes := int(b[9])
	if b[8] > 1 || nameBytes > zdb.MaxNamespaceBytes {
		return nil, fmt.Errorf("%w: header", ErrDamaged)
	}
	b = b[:headerBytes+nameBytes+checksumBytes]
	if err := t.read(b[headerBytes:]); err != nil {
		return nil, err
	}
	body := b[:headerBytes+nameBytes]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("%w: checksum of the header", ErrDamaged)
	}
	t.Header = Header{Sequential: b[8] == 1, UnixTime: int64(binary.LittleEndian.Uint64(b[10:])), Namespace: string(body[headerBytes:])}
	return t, nil
}

// read fills p; an end before that is a cut.
func (t *Reader) read(p []byte) error {
	_, err := io.ReadFull(t.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends in the middle, after %d records", ErrDamaged, t.count)
	}
	if err != nil {
		return err
	}
	t.sum.Write(p)
	return nil
}

// Next gives the next record, whose bytes are the caller's. io.EOF comes only behind a
// right end: all records have been read then, and are those that were written.
func (t *Reader) Next() (Record, error) {
	if t.err != nil {
		return Record{}, t.err
	}
	r, err := t.next()
	if err != nil {
		if errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("record %d: %w", t.count, err)
		}
		t.err = err
		return Record{}, err
	}
	t.count++
	t.values += uint64(len(r.Value))
	return r, nil
}

func (t *Reader) next() (Record, error) {
	kind, err := t.r.Peek(1)
	switch {
	case errors.Is(err, io.EOF):
		return Record{}, fmt.Errorf("%w: it has no end", ErrDamaged)
	case err != nil:
		return Record{}, err
	case kind[0] == typeEnd:
		return Record{}, t.end()
	case kind[0] != typeRecord:
		return Record{}, fmt.Errorf("%w: neither a record nor the end", ErrDamaged)
	}
	var head [recordHeaderBytes]byte
	if err := t.read(head[:]); err != nil {
		return Record{}, err
	}
	keyBytes, valueBytes := int(head[1]), binary.LittleEndian.Uint32(head[2:])
	if valueBytes > zdb.MaxValueBytes {
		return Record{}, fmt.Errorf("%w: value too long", ErrDamaged)
	}
	key := make([]byte, keyBytes)
	if err := t.read(key); err != nil {
		return Record{}, err
	}
	value, err := t.value(int(valueBytes))
	if err != nil {
		return Record{}, err
	}
	crc := crc32.Update(crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, key), castagnoli, value)
	var stored [checksumBytes]byte
	if err := t.read(stored[:]); err != nil {
		return Record{}, err
	}
	if crc != binary.LittleEndian.Uint32(stored[:]) {
		return Record{}, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	if err := checkKey(&t.Header, key, t.last, t.count == 0); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if t.Header.Sequential {
		t.last = binary.LittleEndian.Uint64(key)
	}
	return Record{Key: key, Value: value, UnixTime: int64(binary.LittleEndian.Uint64(head[6:]))}, nil
}

// value reads n bytes; memory comes as they do, so that a length that lies costs nothing.
func (t *Reader) value(n int) ([]byte, error) {
	const step = 256 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		more := min(n-len(b), max(step, len(b)))
		b = append(b, make([]byte, more)...)
		if err := t.read(b[len(b)-more:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// end checks the end: io.EOF when it is right.
func (t *Reader) end() error {
	want := t.sum.Sum(nil)
	var b [endBytes]byte
	if err := t.read(b[:]); err != nil {
		return err
	}
	body := b[:endBytes-checksumBytes]
	switch {
	case crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]):
		return fmt.Errorf("%w: checksum of the end", ErrDamaged)
	case binary.LittleEndian.Uint64(b[1:]) != t.count, binary.LittleEndian.Uint64(b[9:]) != t.values, string(b[25:57]) != string(want):
		return fmt.Errorf("%w: the end is that of another stream", ErrDamaged)
	case !rightNextID(&t.Header, binary.LittleEndian.Uint64(b[17:]), t.last, t.count == 0):
		return fmt.Errorf("%w: next id", ErrDamaged)
	}
	t.NextID = binary.LittleEndian.Uint64(b[17:])
	if _, err := t.r.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: something follows the end", ErrDamaged)
	}
	return io.EOF
}
