package wal

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Recovered says where a log ends and how its next writer continues it: Next, Prev and PrevEnd go into Options.
type Recovered struct {
	Next     uint64
	Prev     SegmentID
	PrevEnd  uint32
	End      Position
	Epoch    uint32         // of the last segment
	Segments []FoundSegment // with a header, in order, from the one replayed first
}

// FoundSegment is a segment that Replay read.
type FoundSegment struct {
	Header
	End      uint32 // behind its last valid frame
	Complete bool   // it has its end frame
}

// Replay reads the log in dir from a position on and calls fn for every frame behind it, by the rules of the package comment.
// from is where the caller's state is at; of a segment that is complete, covered and removed it is the beginning of the next.
// Blocks are opened in the last segment; in others their transactions are durable, and so are they. ErrCorrupt is
// damage: a segment that is missing, exchanged, or ends before the next one says.
func Replay(fsys vfs.FS, dir string, key *[32]byte, from Position, fn func(Entry) error) (Recovered, error) {
	found := Recovered{Next: from.Segment, End: from}
	all, err := List(fsys, dir)
	if err != nil {
		return found, err
	}
	var ordinals []uint64
	for _, ordinal := range all {
		if ordinal >= from.Segment {
			ordinals = append(ordinals, ordinal)
		}
	}
	if len(ordinals) == 0 && from.Offset > 0 {
		return found, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, from.Segment)
	}
	for i, ordinal := range ordinals {
		if want := from.Segment + uint64(i); ordinal != want {
			return found, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, want)
		}
	}
	// A file without a header is as if it was not there; only the last can be one.
	if n := len(ordinals); n > 0 {
		_, err := readFileHeader(fsys, dir, ordinals[n-1], key)
		if errors.Is(err, ErrTorn) && (n > 1 || from.Offset == 0) {
			ordinals = ordinals[:n-1]
		} else if err != nil {
			return found, fmt.Errorf("segment %d: %w", ordinals[n-1], damage(err))
		}
	}
	for i, ordinal := range ordinals {
		offset := uint32(0)
		if i == 0 {
			offset = from.Offset
		}
		if err := found.segment(fsys, dir, key, ordinal, offset, i == len(ordinals)-1, fn); err != nil {
			return found, fmt.Errorf("segment %d: %w", ordinal, err)
		}
	}
	return found, nil
}

// segment replays one more segment behind those found.
func (r *Recovered) segment(fsys vfs.FS, dir string, key *[32]byte, ordinal uint64, offset uint32, last bool, fn func(Entry) error) error {
	f, err := fsys.Open(Path(dir, ordinal))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := ReadHeader(f, key)
	if err != nil {
		return damage(err)
	}
	if h.Ordinal != ordinal {
		return fmt.Errorf("%w: file holds segment %d", ErrCorrupt, h.Ordinal)
	}
	if n := len(r.Segments); n > 0 {
		if err := h.Follows(r.Segments[n-1].Header, r.Segments[n-1].End); err != nil {
			return err
		}
	}
	sizeBytes := info.Size()
	if !last {
		next, err := readFileHeader(fsys, dir, ordinal+1, key)
		if err != nil {
			return fmt.Errorf("header of the next: %w", damage(err))
		}
		// What lies behind was cut off before the next segment began.
		if next.PrevEnd != 0 && int64(next.PrevEnd) < sizeBytes {
			sizeBytes = int64(next.PrevEnd)
		}
	}
	res, err := ScanWith(f, sizeBytes, key, offset, ScanOptions{TrustBlocks: !last}, fn)
	switch {
	case err == nil || errors.Is(err, ErrTorn) && (last || int64(res.End) == sizeBytes):
	default:
		return damage(err)
	}
	r.Segments = append(r.Segments, FoundSegment{Header: h, End: res.End, Complete: res.Complete})
	r.Next, r.Prev, r.PrevEnd, r.Epoch = ordinal+1, h.ID, res.End, h.Epoch
	r.End = Position{ordinal, res.End}
	return nil
}

// damage says of an error that would mean a crash at the end of the log that it is not there.
func damage(err error) error {
	if errors.Is(err, ErrTorn) {
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return err
}

func readFileHeader(fsys vfs.FS, dir string, ordinal uint64, key *[32]byte) (Header, error) {
	f, err := fsys.Open(Path(dir, ordinal))
	if err != nil {
		return Header{}, err
	}
	h, err := ReadHeader(f, key)
	return h, errors.Join(err, f.Close())
}
