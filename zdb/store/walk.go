package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

func listFiles(fs vfs.FS, dir string) ([]fileID, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var ids []fileID
	for _, name := range names {
		if id, ok := parseFileName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// walker reads the records of one data file in order.
type walker struct {
	file   io.ReaderAt
	seed   seed
	end    int64 // nothing is read behind it
	values bool  // verify the values too

	buf    []byte // bytes of the file from bufOff
	bufOff int64
	err    error // of the disk
}

const walkBufferBytes = 256 << 10

// found is what the walk met: a record, or damage where no header can be read.
type found struct {
	Header   recordHeader
	Key      []byte // valid until the next step; nil where the header is damaged
	Offset   int64
	End      int64
	ValueBad bool
}

// at gives n bytes at off, fewer at the end. n is at most walkBufferBytes.
func (w *walker) at(off int64, n int) []byte {
	if off >= w.end {
		return nil
	}
	n = int(min(int64(n), w.end-off))
	if off < w.bufOff || off+int64(n) > w.bufOff+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, walkBufferBytes)
		}
		w.buf = w.buf[:cap(w.buf)]
		got, err := w.file.ReadAt(w.buf[:min(int64(len(w.buf)), w.end-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			w.err = err
		}
		w.buf, w.bufOff = w.buf[:got], off
	}
	b := w.buf[off-w.bufOff:]
	return b[:min(n, len(b))]
}

// header reads the record at off; ok is false when there is none that is whole.
func (w *walker) header(off int64) (recordHeader, []byte, bool) {
	h, key, err := decodeRecord(w.at(off, recordHeaderBytes+zdb.MaxKeyBytes), w.seed)
	if err != nil || off+h.sizeBytes() > w.end {
		return recordHeader{}, nil, false
	}
	return h, key, true
}

func (w *walker) valueGood(h *recordHeader, off int64) bool {
	off += recordHeaderBytes + int64(h.KeyBytes)
	crc, left := uint32(0), int(h.ValueBytes)
	for left > 0 {
		b := w.at(off, min(left, walkBufferBytes))
		if len(b) == 0 {
			return false
		}
		crc = crc32.Update(crc, castagnoli, b)
		off += int64(len(b))
		left -= len(b)
	}
	return crc == h.ValueCRC
}

// next gives what is at off. ok is false when no whole record follows.
func (w *walker) next(off int64) (f found, ok bool) {
	if h, key, good := w.header(off); good {
		return w.record(off, h, key), w.err == nil
	}
	for at := off + 1; at+recordHeaderBytes < w.end && w.err == nil; {
		b := w.at(at, walkBufferBytes)
		if len(b) < recordHeaderBytes {
			break
		}
		i := bytes.Index(b[8:], []byte(recordMagic))
		if i < 0 {
			at += int64(len(b) - 9)
			continue
		}
		at += int64(i)
		if _, _, good := w.header(at); good {
			return found{Offset: off, End: at}, w.err == nil
		}
		at++
	}
	return found{}, false
}

func (w *walker) record(off int64, h recordHeader, key []byte) found {
	f := found{Header: h, Key: key, Offset: off, End: off + h.sizeBytes()}
	if w.values {
		f.Key = bytes.Clone(key) // the buffer moves on with the value
		f.ValueBad = !w.valueGood(&h, off)
	}
	return f
}
