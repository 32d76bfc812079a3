package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/qsfs/qsfs/erasure/seal"
)

// windowBytes is how much Scan reads at a time; it grows to the largest frame, 1 MiB.
const windowBytes = 256 << 10

// Entry is a frame that Scan met: a block or a transaction.
type Entry struct {
	Kind    Kind
	After   Position // behind the frame
	Addr    Addr     // of the frame; it can be read when Kind is KindBlock
	Owner   Owner    // of a block, when Scan opened it
	Payload []byte   // of a transaction; valid until fn returns
}

// ScanResult is what Scan found.
type ScanResult struct {
	Header   Header
	End      uint32 // behind the last valid frame; the size of the file when it is complete
	Complete bool   // the end frame is there
}

// ScanOptions says how thorough ScanWith is. The zero value opens everything.
type ScanOptions struct {
	// TrustBlocks leaves the blocks of a complete segment unopened, and unread where that saves reading. It is for segments
	// that are known to be durable, all but the last of a log: otherwise a transaction may be reported whose block is torn.
	// Transactions are verified all the same, and that none is left out; nothing vouches for a block's Addr then.
	TrustBlocks bool
}

// Scan reads a segment file of sizeBytes from the frame at offset from (0: from the first) and calls fn, if not nil, for each block
// and transaction, in order, every one opened and so verified. Without an end frame the error is ErrTorn, once fn has
// seen everything up to ScanResult.End: the caller knows whether that is a crash or damage. Zeros or anything else behind
// the end frame are not looked at. ErrCorrupt: no such segment, or from lies behind the file's end. An error of
// fn is returned as it is.
func Scan(r io.ReaderAt, sizeBytes int64, key *[32]byte, from uint32, fn func(Entry) error) (ScanResult, error) {
	return ScanWith(r, sizeBytes, key, from, ScanOptions{}, fn)
}

// ScanWith is Scan with options.
func ScanWith(r io.ReaderAt, sizeBytes int64, key *[32]byte, from uint32, o ScanOptions, fn func(Entry) error) (ScanResult, error) {
	h, c, err := readHeader(r, key)
	if err != nil {
		return ScanResult{}, err
	}
	if sizeBytes > MaxSegmentBytes {
		return ScanResult{Header: h}, fmt.Errorf("%w: segment file of %d bytes", ErrCorrupt, sizeBytes)
	}
	s := scanner{window: window{r: r, sizeBytes: sizeBytes}, c: c, fn: fn, from: from, partial: from > headerBytes}
	s.result = ScanResult{Header: h, End: max(from, headerBytes)}
	if int64(s.result.End) > sizeBytes {
		return s.result, fmt.Errorf("%w: segment of %d bytes, expected at least %d", ErrCorrupt, sizeBytes, s.result.End)
	}
	// Only behind the end frame is nothing left to be found in a complete segment.
	if done, err := s.isEnd(int64(s.result.End) - endFrameBytes); done || err != nil {
		s.result.Complete = done
		return s.result, err
	}
	if o.TrustBlocks {
		if s.trustBlocks, err = s.isEnd(sizeBytes - endFrameBytes); err != nil {
			return s.result, err
		}
	}
	for !s.result.Complete {
		if err := s.frame(); err != nil {
			return s.result, err
		}
	}
	return s.result, nil
}

type scanner struct {
	window
	c           *Cipher
	fn          func(Entry) error
	trustBlocks bool
	result      ScanResult
	from        uint32 // where the scan begins
	lastTxn     uint32 // where the last transaction begins
	partial     bool   // none was seen yet, but there may be some before
	body, raw   []byte
}

// torn says that the log ends here, and why.
func torn(offset uint32, err error) error {
	return fmt.Errorf("%w at %d: %w", ErrTorn, offset, err)
}

// isEnd reports whether there is an end frame at this offset.
func (s *scanner) isEnd(offset int64) (bool, error) {
	if offset < headerBytes || offset+endFrameBytes > s.sizeBytes {
		return false, nil
	}
	b, err := s.bytes(offset, endFrameBytes)
	if err != nil {
		return false, notTorn(err)
	}
	h, err := s.c.peek(uint32(offset), b)
	if err != nil || h.kind != kindEnd {
		return false, nil
	}
	_, err = s.c.open(nil, uint32(offset), h, b)
	return err == nil, nil
}

// chained reports whether the transaction before the one at offset is prev, so that none was left out, and takes note of
// the one at offset. Of the first one behind the start of a partial scan it is known only that prev lies before the start.
func (s *scanner) chained(offset, prev uint32) bool {
	ok := prev == s.lastTxn
	if s.partial {
		ok = prev < s.from
	}
	s.lastTxn, s.partial = offset, false
	return ok
}

// frame verifies the next frame and reports it.
func (s *scanner) frame() error {
	offset := s.result.End
	b, err := s.bytes(int64(offset), frameHeaderBytes)
	if err != nil {
		return err
	}
	h, err := s.c.peek(offset, b)
	if err != nil {
		return torn(offset, err)
	}
	after := offset + h.frameBytes()
	if int64(after) > s.sizeBytes {
		return fmt.Errorf("%w at %d: %v frame of %d bytes in a file of %d", ErrTorn, offset, h.kind, h.frameBytes(), s.sizeBytes)
	}
	e := Entry{
		Kind:  h.kind,
		After: Position{s.result.Header.Ordinal, after},
		Addr:  Addr{s.result.Header.Ordinal, offset, h.frameBytes(), h.rawBytes},
	}
	if h.kind != KindBlock || !s.trustBlocks {
		if b, err = s.bytes(int64(offset), int(h.frameBytes())); err != nil {
			return err
		}
		if s.body, err = s.c.open(s.body[:0], offset, h, b); err != nil {
			return torn(offset, err)
		}
		if h.kind == KindBlock {
			e.Owner = decodeOwner(s.body)
		} else if prev := binary.BigEndian.Uint32(s.body); !s.chained(offset, prev) {
			return fmt.Errorf("%w at %d: the transaction before is at %d and was not met", ErrTorn, offset, prev)
		} else if s.raw, err = seal.Unpack(s.raw[:0], s.body[prevTxnBytes:], h.codec, int(h.rawBytes)); err != nil {
			// The tag is right, so this was sealed with the key, and not by this code.
			return fmt.Errorf("%w: %v frame at %d: %w", ErrCorrupt, h.kind, offset, err)
		} else {
			e.Payload = s.raw
		}
	}
	if h.kind == kindEnd {
		s.result.End, s.result.Complete = after, true
		return nil
	}
	if s.fn != nil {
		if err := s.fn(e); err != nil {
			return err
		}
	}
	s.result.End = after
	return nil
}

// window is the part of the file that was read last.
type window struct {
	r         io.ReaderAt
	sizeBytes int64
	start     int64
	buf       []byte
}

// bytes returns n bytes of the file at offset, valid until the next call; ErrTorn when the file ends before.
func (w *window) bytes(offset int64, n int) ([]byte, error) {
	if offset+int64(n) > w.sizeBytes {
		return nil, fmt.Errorf("%w at %d: file ends at %d", ErrTorn, offset, w.sizeBytes)
	}
	if offset < w.start || offset+int64(n) > w.start+int64(len(w.buf)) {
		size := int(min(int64(max(n, windowBytes)), w.sizeBytes-offset))
		w.start, w.buf = offset, slices.Grow(w.buf[:0], size)[:size]
		got, err := w.r.ReadAt(w.buf, offset)
		if got < size {
			w.buf = w.buf[:got]
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read segment at %d: %w", offset, err)
			}
			if got < n {
				return nil, fmt.Errorf("%w at %d: file ends at %d", ErrTorn, offset, offset+int64(got))
			}
		}
	}
	at := offset - w.start
	return w.buf[at : at+int64(n)], nil
}

// notTorn passes every error but that of a file that ends too early.
func notTorn(err error) error {
	if errors.Is(err, ErrTorn) {
		return nil
	}
	return err
}
