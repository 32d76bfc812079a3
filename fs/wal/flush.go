package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

const (
	// A Sync that writes less than aheadBelowBytes writes aheadBytes of zeros behind it as well, once per that many bytes:
	// the following ones then overwrite, and their fdatasync needs no metadata.
	aheadBelowBytes = 64 << 10
	aheadBytes      = 256 << 10
)

var zeros = alignedBytes(aheadBytes)

// Sync makes everything up to this position durable. Callers at the same time share one fdatasync; when nobody is at it,
// the caller does it itself. It returns nil at once for what is durable already. ErrNoSpace: try again once there is
// space. ErrFailed: never. When ctx ends the wait for another caller's I/O, nothing is known.
func (l *Log) Sync(ctx context.Context, upTo Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end.Less(upTo) {
		upTo = l.end
	}
	for l.durable.Less(upTo) {
		if l.err != nil {
			return l.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if l.busy {
			err = l.waitTurn(ctx)
		} else {
			err = l.takeTurn(l.end, true)
		}
		if err != nil && l.durable.Less(upTo) {
			return err
		}
	}
	return nil
}

// Cut closes the open segment when it holds a frame that is not lazy, says whether it did, and makes every closed
// segment complete. The open segment stays closed also when that fails or ctx ends; the next Sync or Cut goes on.
func (l *Log) Cut(ctx context.Context) (bool, error) {
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return false, l.err
	}
	did := l.open != nil && l.open.pendingBytes > 0
	if did {
		l.closeOpen()
	}
	var closed *segment
	for _, s := range l.held {
		if s.closed {
			closed = s
		}
	}
	if closed == nil {
		l.mu.Unlock()
		return false, nil
	}
	upTo := Position{closed.Ordinal, uint32(closed.filled)}
	l.mu.Unlock()
	return did, l.Sync(ctx, upTo)
}

// waitTurn waits until the turn that is under way ends. l.mu is held, and released meanwhile.
func (l *Log) waitTurn(ctx context.Context) error {
	if l.turnDone == nil {
		l.turnDone = make(chan struct{})
	}
	done := l.turnDone
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeTurn does the I/O for the segments up to upTo: writes what they hold, completes the closed ones, and with sync
// makes the rest durable too. The turn is free, l.mu is held, and released meanwhile.
func (l *Log) takeTurn(upTo Position, sync bool) error {
	l.busy = true
	err := l.write(upTo, sync)
	l.busy = false
	if l.turnDone != nil {
		close(l.turnDone)
		l.turnDone = nil
	}
	switch {
	case err == nil:
		l.full = false
	case errors.Is(err, ErrNoSpace):
		l.full = true
	default:
		l.err = err
	}
	return err
}

// write goes through the segments in memory, oldest first. It has the turn; l.mu is held, and released around I/O.
func (l *Log) write(upTo Position, sync bool) error {
	for len(l.held) > 0 && l.held[0].Ordinal <= upTo.Segment {
		s := l.held[0]
		filled, closed, before := s.filled, s.closed, s.written
		l.mu.Unlock()
		err := l.store(s, filled, closed, sync)
		l.mu.Lock()
		l.writtenBytes += int64(s.written - before)
		if err != nil {
			return err
		}
		if closed || sync {
			l.durable = Position{s.Ordinal, uint32(filled)}
		}
		if !closed {
			return nil // the open one is the last
		}
		l.held = slices.Delete(l.held, 0, 1)
		if s.readers == 0 {
			l.spare = s.buf
		}
	}
	return nil
}

// store brings the first filled bytes of s to its file; when the segment is closed they are all and the file is complete
// afterwards; with sync they are durable. It is called with the turn, without l.mu.
func (l *Log) store(s *segment, filled int, closed, sync bool) error {
	if err := l.createFile(s); err != nil {
		return err
	}
	first := s.written
	if err := s.writeOut(filled, closed || sync); err != nil {
		return diskError(s, "write", err)
	}
	if closed {
		return l.complete(s)
	}
	if sync {
		if err := s.writeAhead(filled - first); err != nil {
			return err
		}
		return l.syncFile(s)
	}
	if !s.direct {
		startWriteback(s.file, first, s.written-first)
	}
	return nil
}

// createFile makes the file of s with room for all of it, when that was not done yet.
func (l *Log) createFile(s *segment) error {
	if s.file == nil {
		if _, err := l.o.FS.Stat(s.name); err == nil {
			return failed(s, "create", ErrExists)
		}
		f, err := l.o.FS.OpenReadWrite(s.name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return diskError(s, "create", err)
		}
		s.file, s.canTruncate = f, canTruncate(f)
		s.direct = s.canTruncate && setDirect(f)
	}
	if !s.preallocated {
		// Not every filesystem can; but one that says it has no space would say so later, in a worse place.
		err := s.file.Preallocate(0, int64(len(s.buf)))
		if err != nil && isNoSpace(err) {
			return diskError(s, "preallocate", err)
		}
		s.preallocated = true
	}
	return nil
}

// writeAhead writes zeros behind the frames when the Sync under way was a small one. They never cover a frame: whoever
// writes a later one does so in a later turn.
func (s *segment) writeAhead(justWritten int) error {
	if !s.canTruncate || justWritten >= aheadBelowBytes || s.written <= s.zeroedTo {
		return nil
	}
	from := s.written
	if s.direct {
		from = pageUp(from) // the rest of the page has zeros already
	}
	n := min(aheadBytes, pageDown(len(s.buf)-from))
	if n <= 0 {
		s.zeroedTo = len(s.buf)
		return nil
	}
	_, err := s.file.WriteAt(zeros[:n], int64(from))
	switch {
	case err == nil:
		s.zeroedTo = from + n
	case isNoSpace(err):
		s.zeroedTo = len(s.buf) // do without
	default:
		return failed(s, "write ahead", err)
	}
	return nil
}

// syncFile makes what was written to the file durable, and its name.
func (l *Log) syncFile(s *segment) error {
	if err := s.file.SyncData(); err != nil {
		return failed(s, "fdatasync", err)
	}
	if !s.nameSynced {
		if err := syncDir(l.o.FS, l.o.Dir); err != nil {
			return failed(s, "sync the directory", err)
		}
		s.nameSynced = true
	}
	return nil
}

// complete cuts the file to its size, makes it durable and tells OnClosed.
func (l *Log) complete(s *segment) error {
	if s.canTruncate {
		if err := truncate(s.file, int64(s.written)); err != nil {
			return diskError(s, "truncate", err)
		}
	}
	if err := l.syncFile(s); err != nil {
		return err
	}
	dropCached(s.file)
	if err := s.file.Close(); err != nil { // it is durable all the same
		l.o.Log.Warn("close of a complete log segment", "segment", s.Ordinal, "error", err)
	}
	s.file = nil
	l.o.OnClosed(Closed{Header: s.Header, SizeBytes: int64(s.written), Path: s.name})
	return nil
}

// flusher writes out in the background what Append leaves in memory.
func (l *Log) flusher() {
	defer close(l.stopped)
	for {
		select {
		case <-l.stop:
			return
		case <-l.kick:
		}
		l.mu.Lock()
		for l.busy {
			_ = l.waitTurn(context.Background())
		}
		work := len(l.held) > 0 && (l.held[0].closed || l.appendedBytes-l.writtenBytes >= flushBytes)
		if work && l.err == nil && !l.released {
			// Its error is kept in l for those who Append and Sync.
			_ = l.takeTurn(l.end, false)
		}
		l.mu.Unlock()
	}
}

func (l *Log) wakeFlusher() {
	select {
	case l.kick <- struct{}{}:
	default: // it will look again anyway
	}
}

// diskError tells lack of space, after which the same write may be repeated, from everything else.
func diskError(s *segment, what string, err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %s segment %d: %w", ErrNoSpace, what, s.Ordinal, err)
	}
	return failed(s, what, err)
}

func failed(s *segment, what string, err error) error {
	return fmt.Errorf("%w: %s segment %d: %w", ErrFailed, what, s.Ordinal, err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// truncater is what vfs.File lacks; the operating system's files have it.
type truncater interface{ Truncate(sizeBytes int64) error }

func canTruncate(f vfs.File) bool {
	_, ok := f.(truncater)
	return ok || f.Fd() != vfs.InvalidFd
}

// startWriteback lets the disk begin, so that the next Sync has less to wait for. It is a hint, and fdatasync tells of any
// error: without waiting, sync_file_range takes none away from it (mm/filemap.c, fs/sync.c).
func startWriteback(f vfs.File, first, n int) {
	if fd := f.Fd(); fd != vfs.InvalidFd && n > 0 {
		_ = unix.SyncFileRange(int(fd), int64(first), int64(n), unix.SYNC_FILE_RANGE_WRITE)
	}
}

// dropCached gives the page cache of a complete segment back. It is read once more, for upload; what users read of it they
// find as plaintext in the cache of the mount. Kept, it would push out what they need, and a machine that writes
// fast would touch ever new memory: measured in a virtual machine 2026-11, that costs more than the writing.
func dropCached(f vfs.File) {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		_ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) // a hint
	}
}

func truncate(f vfs.File, sizeBytes int64) error {
	if t, ok := f.(truncater); ok {
		return t.Truncate(sizeBytes)
	}
	return unix.Ftruncate(int(f.Fd()), sizeBytes)
}
