package wal

import (
	"errors"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// Segments are written past the page cache where the filesystem can (O_DIRECT): nobody reads them from there, the copy costs
// as much as the sealing, and cached they would push out what users read. Such writes have pages as their unit.
const (
	pageBytes = 4 << 10
	// smallBytes: up to this much, whole pages are gathered in one buffer, so that a small Sync is one write.
	smallBytes = 64 << 10
)

// alignedBytes returns n bytes that begin on a page.
func alignedBytes(n int) []byte {
	b := make([]byte, n+pageBytes)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (pageBytes - 1)
	return b[skip : skip+n : skip+n]
}

func pageDown(n int) int { return n &^ (pageBytes - 1) }
func pageUp(n int) int   { return pageDown(n + pageBytes - 1) }

// setDirect switches a file to writes past the page cache and reports whether that worked.
func setDirect(f vfs.File) bool {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return false
	}
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return false
	}
	_, err = unix.FcntlInt(fd, unix.F_SETFL, flags|unix.O_DIRECT)
	return err == nil
}

func clearDirect(f vfs.File) {
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT)
	}
}

// writeOut writes the frames up to filled that the file does not have. Without all, a page that is not full may be
// left for later.
func (s *segment) writeOut(filled int, all bool) error {
	if s.direct {
		err := s.writeDirect(filled, all)
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
		// The filesystem took the flag and not the write: its pages are larger, or it lies.
		clearDirect(s.file)
		s.direct = false
	}
	if s.written >= filled {
		return nil
	}
	n, err := s.file.WriteAt(s.buf[s.written:filled], int64(s.written))
	s.written += n
	return err
}

// writeDirect is writeOut in whole pages. The page that filled lies in is written from a copy with zeros behind the
// frames, because others append to the buffer meanwhile.
func (s *segment) writeDirect(filled int, all bool) error {
	from, whole := pageDown(s.written), pageDown(filled)
	if s.page == nil {
		s.page = alignedBytes(smallBytes)
	}
	if all && filled-from <= smallBytes-pageBytes {
		if filled == s.written {
			return nil
		}
		end := pageUp(filled)
		clear(s.page[copy(s.page, s.buf[from:filled]) : end-from])
		if _, err := s.file.WriteAt(s.page[:end-from], int64(from)); err != nil {
			return err
		}
		s.written = filled
		return nil
	}
	if whole > from {
		n, err := s.file.WriteAt(s.buf[from:whole], int64(from))
		s.written = max(s.written, from+pageDown(n))
		if err != nil {
			return err
		}
	}
	if all && filled > s.written {
		clear(s.page[copy(s.page, s.buf[whole:filled]):pageBytes])
		if _, err := s.file.WriteAt(s.page[:pageBytes], int64(whole)); err != nil {
			return err
		}
		s.written = filled
	}
	return nil
}
