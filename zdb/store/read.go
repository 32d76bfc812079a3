package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// Info is what the index knows of a key.
type Info struct {
	ValueBytes int
	UnixTime   int64
}

// lookup finds the entry of a key; zdb.ErrNotFound when there is none.
func (s *Store) lookup(ctx context.Context, key []byte) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if len(key) == 0 {
		return entry{}, zdb.ErrNotFound
	}
	if len(key) > zdb.MaxKeyBytes {
		return entry{}, zdb.ErrKeyTooLarge
	}
	e, ok, err := s.findEntry(key)
	if err == nil && (!ok || e.Deleted) {
		err = zdb.ErrNotFound
	}
	return e, err
}

// findEntry finds what the index has of a key, which may be a delete marker.
func (s *Store) findEntry(key []byte) (entry, bool, error) {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.closed || s.ix == nil {
		return entry{}, false, zdb.ErrClosed
	}
	e, ok, err := find(s.ix.db, key)
	if err != nil {
		s.noteReadError()
		s.markDamaged(err)
		return entry{}, false, fmt.Errorf("%w: %w", zdb.ErrDisk, err)
	}
	return e, ok, nil
}

// Get gives the value of a key: zdb.ErrNotFound when there is none, zdb.ErrCorrupt
// when what is stored fails its checksums. The slice is the caller's.
func (s *Store) Get(ctx context.Context, key []byte) ([]byte, error) {
	return s.GetInto(ctx, key, nil)
}

// GetInto is Get with memory of the caller's: alloc gives a slice of length n that
// the value will be a part of, or nil to give up. A nil alloc means make.
func (s *Store) GetInto(ctx context.Context, key []byte, alloc func(n int) []byte) ([]byte, error) {
	for {
		e, err := s.lookup(ctx, key)
		if err != nil {
			return nil, err
		}
		value, err := s.read(e, key, alloc)
		if err != nil && s.isVoid(ctx, key, e, err) {
			continue
		}
		if err != nil {
			s.noteUnread(err)
		}
		return value, err
	}
}

// isVoid says whether a read failed because the record was moved or cleared away under it.
func (s *Store) isVoid(ctx context.Context, key []byte, was entry, err error) bool {
	if !errors.Is(err, zdb.ErrCorrupt) {
		return false
	}
	now, lookupErr := s.lookup(ctx, key)
	return lookupErr != nil || now != was
}

// readPieceBytes: what was read is still in the processor's cache when it is summed.
const readPieceBytes = 256 << 10

// readSummed fills b from the file and gives the checksum of all but the first head bytes.
func readSummed(f vfs.File, b []byte, off int64, head int) (sum uint32, err error) {
	for from := 0; from < len(b); {
		piece := b[from:min(len(b), from+readPieceBytes)]
		if err := readFull(f, piece, off+int64(from)); err != nil {
			return 0, err
		}
		from += len(piece)
		sum = crc32.Update(sum, castagnoli, piece[min(head, len(piece)):])
		head = max(0, head-len(piece))
	}
	return sum, nil
}

// read fetches a record and verifies all of it.
func (s *Store) read(e entry, key []byte, alloc func(n int) []byte) ([]byte, error) {
	f, err := s.files.acquire(e.File)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", zdb.ErrCorrupt, err)
		}
		return nil, diskError(err)
	}
	defer s.files.release(f)
	n := recordHeaderBytes + len(key) + int(e.ValueBytes)
	var b []byte
	if alloc == nil {
		b = make([]byte, n)
	} else {
		b = alloc(n)
	}
	if len(b) != n {
		return nil, fmt.Errorf("%w: no memory for the value", zdb.ErrUnavailable)
	}
	value := b[recordHeaderBytes+len(key):]
	sum, err := readSummed(f.file, b, int64(e.Offset), len(b)-len(value))
	if err != nil {
		return nil, err
	}
	h, k, err := decodeRecord(b, f.seed)
	switch {
	case err != nil:
	case h.Delete, !bytes.Equal(k, key), h.Sequence != e.Sequence, h.ValueBytes != e.ValueBytes:
		err = fmt.Errorf("%w: not the record of this key", zdb.ErrCorrupt)
	case sum != h.ValueCRC:
		err = fmt.Errorf("%w: value checksum", zdb.ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("data file %d at %d: %w", e.File, e.Offset, err)
	}
	return value[:len(value):len(value)], nil
}

// Exists says whether the key is there; its value is not read.
func (s *Store) Exists(ctx context.Context, key []byte) (bool, error) {
	_, err := s.lookup(ctx, key)
	if errors.Is(err, zdb.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Check reads and verifies the value: nil, zdb.ErrNotFound, zdb.ErrCorrupt or a disk error.
func (s *Store) Check(ctx context.Context, key []byte) error {
	_, err := s.Get(ctx, key)
	return err
}

// Length is the length of the value; zdb.ErrNotFound when there is none.
func (s *Store) Length(ctx context.Context, key []byte) (int, error) {
	info, err := s.Stat(ctx, key)
	return info.ValueBytes, err
}

// Stat gives length and time of a key; zdb.ErrNotFound when there is none.
func (s *Store) Stat(ctx context.Context, key []byte) (Info, error) {
	e, err := s.lookup(ctx, key)
	return Info{ValueBytes: int(e.ValueBytes), UnixTime: e.UnixTime}, err
}
