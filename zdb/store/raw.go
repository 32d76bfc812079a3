package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/qsfs/qsfs/zdb"
)

// RawRecord is a record as it lies in a data file, whether it still counts or not.
type RawRecord struct {
	Key, Value []byte
	Deleted    bool // a delete marker: no value
	UnixTime   int64
	ValueCRC   uint32
	Previous   int64 // where the record before it begins; 0 where there is none, or in a file of version 1
	End        int64 // where the next one begins
}

// FirstRecord is the offset of the first record of a data file.
const FirstRecord = fileHeaderBytes

// Raw reads the record at a place of a data file: io.EOF behind the last one, zdb.ErrNotFound
// when there is no such file, zdb.ErrCorrupt when no whole record begins there. alloc is as
// with GetInto.
func (s *Store) Raw(ctx context.Context, file uint32, offset int64, alloc func(n int) []byte) (RawRecord, error) {
	if err := ctx.Err(); err != nil {
		return RawRecord{}, err
	}
	end := s.space.end(fileID(file))
	switch {
	case end == 0:
		return RawRecord{}, zdb.ErrNotFound
	case offset >= end:
		return RawRecord{}, io.EOF
	case offset < fileHeaderBytes:
		return RawRecord{}, fmt.Errorf("%w: offset in the header of the file", zdb.ErrCorrupt)
	}
	f, err := s.files.acquire(fileID(file))
	if errors.Is(err, os.ErrNotExist) {
		return RawRecord{}, zdb.ErrNotFound
	}
	if err != nil {
		return RawRecord{}, diskError(err)
	}
	defer s.files.release(f)
	w := walker{file: f.file, seed: f.seed, end: end}
	h, key, ok := w.header(offset)
	switch {
	case w.err != nil:
		return RawRecord{}, diskError(w.err)
	case !ok:
		return RawRecord{}, fmt.Errorf("%w: no record at %d of data file %d", zdb.ErrCorrupt, offset, file)
	}
	r := RawRecord{Key: bytes.Clone(key), Deleted: h.Delete, UnixTime: h.UnixTime, ValueCRC: h.ValueCRC,
		Previous: int64(h.Previous), End: offset + h.sizeBytes()}
	if h.Delete {
		return r, nil
	}
	if alloc == nil {
		alloc = func(n int) []byte { return make([]byte, n) }
	}
	if r.Value = alloc(int(h.ValueBytes)); len(r.Value) != int(h.ValueBytes) {
		return RawRecord{}, fmt.Errorf("%w: no memory for the value", zdb.ErrUnavailable)
	}
	if err := readFull(f.file, r.Value, r.End-int64(h.ValueBytes)); err != nil {
		return RawRecord{}, err
	}
	if checksum(r.Value) != h.ValueCRC {
		return RawRecord{}, fmt.Errorf("%w: value checksum at %d of data file %d", zdb.ErrCorrupt, offset, file)
	}
	return r, nil
}
