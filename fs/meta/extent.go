package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/qsfs/qsfs/fs/wal"
)

// Extent says that a range of a file is found in a range of a block. Several extents, of one or of several files, may share
// a block. What no extent covers is a hole and reads as zeros.
type Extent struct {
	FileOffset  uint64
	Length      uint32
	BlockOffset uint32 // where the range begins in the block's plaintext
	Block       wal.Addr
}

// End is the file offset just behind the extent.
func (e *Extent) End() uint64 { return e.FileOffset + uint64(e.Length) }

func (e *Extent) validate() error {
	switch {
	case e.FileOffset > MaxFileBytes || e.End() > MaxFileBytes:
		return ErrFileTooBig
	case e.Length == 0 || uint64(e.BlockOffset)+uint64(e.Length) > uint64(e.Block.RawBytes):
		return ErrInvalid
	}
	return nil
}

// from is the part of an extent behind an offset inside it; until is the part before.
func (e Extent) from(off uint64) Extent {
	cut := uint32(off - e.FileOffset)
	e.FileOffset, e.BlockOffset, e.Length = off, e.BlockOffset+cut, e.Length-cut
	return e
}

func (e Extent) until(off uint64) Extent {
	e.Length = uint32(off - e.FileOffset)
	return e
}

// Extents appends to dst the extents that overlap length bytes of a file at off, in order, clipped to that range. Of an inode
// that is not there, or is no regular file, there are none.
func (s *Store) Extents(ino Ino, off, length uint64, dst []Extent) ([]Extent, error) {
	if err := s.gate.enter(); err != nil {
		return dst, err
	}
	defer s.gate.leave()
	end := off + length
	if end < off || end > MaxFileBytes {
		end = MaxFileBytes
	}
	err := s.eachExtent(ino, off, func(e Extent) bool {
		if e.FileOffset >= end {
			return false
		}
		if e.FileOffset < off {
			e = e.from(off)
		}
		if e.End() > end {
			e = e.until(end)
		}
		dst = append(dst, e)
		return e.End() < end
	})
	return dst, err
}

// eachExtent calls fn with the extents that end behind off, in order, until it returns false.
func (s *Store) eachExtent(ino Ino, off uint64, fn func(Extent) bool) error {
	if off >= MaxFileBytes {
		return nil
	}
	from := appendKey2(make([]byte, 0, 17), kindExtent, uint64(ino), off+1)
	to := appendKeyEnd(make([]byte, 0, 9), kindExtent, uint64(ino))
	err := scan(s.db, from, to, func(key, value []byte) (bool, error) {
		e, err := readExtent(key, value)
		if err != nil {
			return false, err
		}
		return fn(e), nil
	})
	if err != nil {
		return fmt.Errorf("extents of inode %d: %w", ino, err)
	}
	return nil
}

func readExtent(key, value []byte) (Extent, error) {
	if len(key) != 17 {
		return Extent{}, checkKey(key)
	}
	return decodeExtent(binary.BigEndian.Uint64(key[9:]), value)
}

// NextData returns the first offset at or behind off where a file has data, as lseek(2) with SEEK_DATA; ErrNoData if
// there is none.
func (s *Store) NextData(ino Ino, off uint64) (uint64, error) {
	if err := s.gate.enter(); err != nil {
		return 0, err
	}
	defer s.gate.leave()
	found, data := false, uint64(0)
	err := s.eachExtent(ino, off, func(e Extent) bool {
		found, data = true, max(off, e.FileOffset)
		return false
	})
	if err == nil && !found {
		err = ErrNoData
	}
	return data, err
}

// NextHole returns the first offset at or behind off where a file has none, as lseek(2) with SEEK_HOLE: at the latest its
// end; ErrNoData if off is not before the end.
func (s *Store) NextHole(ino Ino, off uint64) (uint64, error) {
	if err := s.gate.enter(); err != nil {
		return 0, err
	}
	defer s.gate.leave()
	a, err := s.attr(ino)
	if err != nil {
		return 0, err
	}
	if off >= a.SizeBytes {
		return 0, ErrNoData
	}
	hole := off
	err = s.eachExtent(ino, off, func(e Extent) bool {
		if e.FileOffset > hole {
			return false
		}
		hole = e.End()
		return true
	})
	return hole, err
}

// payloadRoom is how full a payload may be before another extent goes into it: one new extent can delete pointDeletes keys of
// 17 bytes and set three values, which is far below the rest.
const payloadRoom = MaxPayloadBytes / 2

// WriteExtents puts new extents into a regular file, in place of what they overlap, and makes the file as long as they
// reach. They are in order and do not overlap. Of ch, a size counts if it is larger still; times and the rest
// are set as given, and stay when not: moving data changes no times. Many extents take several transactions.
func (s *Store) WriteExtents(ino Ino, exts []Extent, ch Change) (Attr, error) {
	if err := ch.validate(); err != nil {
		return Attr{}, err
	}
	var buf [wal.AddrBytes]byte
	for i := range exts {
		if err := exts[i].validate(); err != nil {
			return Attr{}, err
		}
		if _, err := wal.DecodeAddr(exts[i].Block.AppendTo(buf[:0])); err != nil {
			return Attr{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if i > 0 && exts[i-1].End() > exts[i].FileOffset {
			return Attr{}, ErrInvalid
		}
	}
	var result Attr
	for first := true; first || len(exts) > 0; first = false {
		err := s.update(false, func(t *txn) error {
			in, err := t.regular(ino)
			if err != nil {
				return err
			}
			n, err := t.putExtents(in, exts)
			if err != nil {
				return err
			}
			exts = exts[n:]
			if len(exts) == 0 && ch.has(ChangeSize) {
				in.SizeBytes = max(in.SizeBytes, ch.SizeBytes)
			}
			ch.apply(&in.Attr)
			in.dirty = true
			result = in.Attr
			return nil
		})
		if err != nil {
			return Attr{}, err
		}
	}
	return result, nil
}

// regular stages a regular file.
func (t *txn) regular(ino Ino) (*stagedInode, error) {
	in, err := t.inode(ino)
	switch {
	case err != nil:
		return nil, err
	case in.IsDir():
		return nil, ErrIsDir
	case !in.IsRegular():
		return nil, ErrInvalid
	}
	return in, nil
}

// putExtents puts in as many extents as fit into the payload and says how many.
func (t *txn) putExtents(in *stagedInode, exts []Extent) (n int, err error) {
	c := carver{t: t, in: in, sizeBytes: in.SizeBytes}
	defer c.close(&err)
	for n < len(exts) && (n == 0 || len(t.payload.buf) < t.s.payloadRoom) {
		e := &exts[n]
		if err := c.carve(e.FileOffset, e.End()); err != nil {
			return 0, err
		}
		t.setExtent(in.Ino, e)
		in.AllocBytes += uint64(e.Length)
		t.total.usedBytes += uint64(e.Length)
		in.SizeBytes = max(in.SizeBytes, e.End())
		n++
	}
	return n, nil
}

func (t *txn) setExtent(ino Ino, e *Extent) {
	t.value = appendExtent(t.value[:0], e)
	t.set(appendKey2(t.key[:0], kindExtent, uint64(ino), e.End()), t.value)
}

// freed takes bytes off what a file and the volume use.
func (t *txn) freed(in *stagedInode, bytes uint64) error {
	if bytes > in.AllocBytes || bytes > t.total.usedBytes {
		return fmt.Errorf("%w: inode %d has more extents than allocated bytes", ErrCorrupt, in.Ino)
	}
	in.AllocBytes -= bytes
	t.total.usedBytes -= bytes
	return nil
}

// PunchHole makes length bytes at off a hole. The size of the file stays; ch sets times.
func (s *Store) PunchHole(ino Ino, off, length uint64, ch Change) (Attr, error) {
	if err := ch.validate(); err != nil {
		return Attr{}, err
	}
	end := off + length
	if end < off {
		end = MaxFileBytes
	}
	var result Attr
	err := s.update(false, func(t *txn) (err error) {
		in, err := t.regular(ino)
		if err != nil {
			return err
		}
		c := carver{t: t, in: in, sizeBytes: in.SizeBytes}
		defer c.close(&err)
		if err := c.carve(off, end); err != nil {
			return err
		}
		ch.apply(&in.Attr)
		in.dirty = true
		result = in.Attr
		return nil
	})
	return result, err
}

// resize sets the size of a regular file: extents behind it go, the one across it is shortened.
func (t *txn) resize(in *stagedInode, sizeBytes uint64) (err error) {
	if sizeBytes == 0 {
		err = t.dropExtents(in)
	} else if sizeBytes < in.SizeBytes {
		c := carver{t: t, in: in, sizeBytes: in.SizeBytes}
		defer c.close(&err)
		err = c.carve(sizeBytes, in.SizeBytes)
	}
	in.SizeBytes = sizeBytes
	return err
}

// dropExtents removes all extents of a file. How much that frees the inode knows.
func (t *txn) dropExtents(in *stagedInode) error {
	if in.AllocBytes == 0 {
		return nil
	}
	if err := t.dropAll(kindExtent, in.Ino); err != nil {
		return err
	}
	return t.freed(in, in.AllocBytes)
}

// carver removes ranges of a file, each behind the one before, from its extents. It reads what is in pebble and
// remembers the one extent that it has cut and that goes on behind the range.
type carver struct {
	t         *txn
	in        *stagedInode
	sizeBytes uint64 // of the file in pebble: there are no extents behind it
	it        *pebble.Iterator
	cur       Extent // the extent to look at next, if held
	held      bool
	ends      []uint64 // of the extents inside the range, up to pointDeletes
}

func (c *carver) close(err *error) {
	if c.it != nil {
		if e := c.it.Close(); e != nil && *err == nil {
			*err = corrupt(e)
		}
	}
}

// seek holds the first extent that ends behind off.
func (c *carver) seek(off uint64) error {
	if c.held && c.cur.End() > off {
		return nil
	}
	ino := uint64(c.in.Ino)
	if c.it == nil {
		it, err := c.t.s.db.NewIter(&pebble.IterOptions{
			LowerBound: appendKey(make([]byte, 0, 9), kindExtent, ino),
			UpperBound: appendKeyEnd(make([]byte, 0, 9), kindExtent, ino),
		})
		if err != nil {
			return corrupt(err)
		}
		c.it = it
	}
	return c.hold(c.it.SeekGE(appendKey2(c.t.key[:0], kindExtent, ino, off+1)))
}

// hold reads the extent at the iterator.
func (c *carver) hold(valid bool) error {
	c.held = valid
	if !valid {
		return corrupt(c.it.Error())
	}
	value, err := c.it.ValueAndErr()
	if err != nil {
		return corrupt(err)
	}
	c.cur, err = readExtent(c.it.Key(), value)
	return err
}

// carve removes the range from from to before to.
func (c *carver) carve(from, to uint64) error {
	if from >= c.sizeBytes || from >= to {
		return nil
	}
	if err := c.seek(from); err != nil {
		return fmt.Errorf("extents of inode %d: %w", c.in.Ino, err)
	}
	c.ends = c.ends[:0]
	inside, first, last, bytes := 0, uint64(0), uint64(0), uint64(0)
	for c.held && c.cur.FileOffset < to {
		bytes += min(c.cur.End(), to) - max(c.cur.FileOffset, from)
		if c.cur.FileOffset < from {
			left := c.cur.until(from)
			c.t.setExtent(c.in.Ino, &left)
		}
		if c.cur.End() > to {
			c.cur = c.cur.from(to)
			c.t.setExtent(c.in.Ino, &c.cur) // the same key as before
			break
		}
		if inside == 0 {
			first = c.cur.End()
		}
		last = c.cur.End()
		if inside++; inside <= c.t.s.pointDeletes {
			c.ends = append(c.ends, last)
		}
		if err := c.hold(c.it.Next()); err != nil {
			return fmt.Errorf("extents of inode %d: %w", c.in.Ino, err)
		}
	}
	ino := uint64(c.in.Ino)
	if inside > c.t.s.pointDeletes {
		c.t.delRange(appendKey2(c.t.key[:0], kindExtent, ino, first), appendKey2(c.t.end[:0], kindExtent, ino, last+1))
	} else {
		for _, end := range c.ends {
			c.t.del(appendKey2(c.t.key[:0], kindExtent, ino, end))
		}
	}
	return c.t.freed(c.in, bytes)
}
