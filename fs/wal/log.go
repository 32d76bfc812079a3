package wal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/erasure/seal"
)

const (
	// DefaultSegmentBytes is the size of a segment when Options has none.
	DefaultSegmentBytes = 16 << 20
	// MinSegmentBytes is the smallest size of a segment; so small ones are for tests.
	MinSegmentBytes = 4 << 10
	// DefaultHeldSegments is how many segments are held in memory at most when Options does not say.
	DefaultHeldSegments = 4

	// flushBytes is how much waits in memory before the flusher begins to write.
	flushBytes = 1 << 20
	// packTxnBytes is the size from which a transaction is worth an attempt to compress it.
	packTxnBytes = 512
)

// Options says where a log continues. FS, SegmentBytes, MaxHeldSegments, Rand, Now, Log and OnClosed have good zero
// values. Next, Prev and PrevEnd come from Replay, or are zero for a new log.
type Options struct {
	FS    vfs.FS   // nil: the operating system's
	Dir   string   // of the segment files, made when absent
	Key   [32]byte // the volume's data key
	Epoch uint32   // of this writer, in the header of each segment

	Next    uint64    // ordinal of the first segment to be written
	Prev    SegmentID // the segment before it
	PrevEnd uint32    // where that one ends; when its file is longer, Open cuts it there. 0: not known

	// SegmentBytes bounds a segment file; 0 means 16 MiB, at most 64 MiB. A frame that does not fit in one is refused,
	// so transactions of MaxTxnBytes need somewhat more than 1 MiB.
	SegmentBytes    int
	MaxHeldSegments int // in memory; 0 means 4

	Rand io.Reader        // nil: crypto/rand
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: discarded

	// OnClosed is told of each segment once, in order, when its file is complete. It is called while the log does its
	// I/O: it must be quick, and must not call Append, Sync, Cut or Close nor wait for someone who does.
	OnClosed func(Closed)
}

// Closed is a segment whose file is complete, synced and never changes again.
type Closed struct {
	Header
	SizeBytes int64
	Path      string
}

// Log is the open end of a volume log. All methods may be called concurrently.
type Log struct {
	o       Options
	kick    chan struct{} // wakes the flusher; holds one
	stop    chan struct{} // ends it
	stopped chan struct{} // it has ended

	// mu guards what follows and the fields of segment that say so. It is held while a frame is sealed (12 µs for 64 KiB),
	// never across I/O.
	mu      sync.Mutex
	held    []*segment // in memory, oldest first
	open    *segment   // the last of held while it takes frames, else nil
	spare   []byte     // buffer of a segment that is complete
	next    uint64     // ordinal of the next segment to be opened
	prev    SegmentID
	prevEnd uint32
	end     Position // behind the last frame
	durable Position // everything before it is durable

	appendedBytes int64 // since Open
	writtenBytes  int64 // of those, in a file
	err           error // final: ErrFailed or ErrClosed
	closing       bool  // no more appends
	released      bool
	full          bool // the last write found no space

	// The I/O turn: one goroutine at a time creates, writes and syncs files. Whoever needs I/O takes the turn when it is
	// free and waits for turnDone (made when the first waiter comes, closed when the turn ends) otherwise.
	busy     bool
	turnDone chan struct{}
}

// Open prepares to append segments from o.Next on; no file is written before the first Sync or 1 MiB of frames. What is
// there of the previous segment is made durable first, and cut to o.PrevEnd: the caller has based its state on it.
func Open(o Options) (*Log, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return nil, fmt.Errorf("wal: segments of %d bytes, want %d to %d", o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.MaxHeldSegments <= 0 {
		o.MaxHeldSegments = DefaultHeldSegments
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnClosed == nil {
		o.OnClosed = func(Closed) {}
	}
	if err := prepareDir(&o); err != nil {
		return nil, fmt.Errorf("open log %s: %w", filepath.Base(o.Dir), err)
	}
	start := Position{Segment: o.Next}
	l := &Log{
		o: o, kick: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
		next: o.Next, prev: o.Prev, prevEnd: o.PrevEnd, end: start, durable: start,
	}
	go l.flusher()
	return l, nil
}

// AppendBlock appends a block of up to MaxBlockBytes that was written for owner. It waits when too many segments are in
// memory. After an error the block is not in the log; after ErrNoSpace the same call may succeed later.
func (l *Log) AppendBlock(owner Owner, plain []byte) (Addr, error) {
	if len(plain) > MaxBlockBytes {
		return Addr{}, fmt.Errorf("%w: block of %d bytes, at most %d", ErrTooLarge, len(plain), MaxBlockBytes)
	}
	scratch := getScratch(ownerBytes + len(plain))
	defer putScratch(scratch)
	body, codec := seal.Pack(owner.appendTo((*scratch)[:0]), plain)

	l.mu.Lock()
	defer l.mu.Unlock()
	offset, err := l.append(KindBlock, codec, len(plain), body)
	if err != nil {
		return Addr{}, err
	}
	return Addr{
		Segment: l.end.Segment, Offset: offset, FrameBytes: l.end.Offset - offset, RawBytes: uint32(len(plain)),
	}, nil
}

// AppendTxn appends a transaction of up to MaxTxnBytes and returns the position behind it: where to Sync to, and where
// to replay from once its effect is durable elsewhere. A lazy one is bookkeeping that gives Cut no reason to close a
// segment. Waits and errors are those of AppendBlock.
func (l *Log) AppendTxn(payload []byte, lazy bool) (Position, error) {
	if len(payload) > MaxTxnBytes {
		return Position{}, fmt.Errorf("%w: transaction of %d bytes, at most %d", ErrTooLarge, len(payload), MaxTxnBytes)
	}
	kind, codec := KindTxn, seal.CodecNone
	if lazy {
		kind = KindLazyTxn
	}
	scratch := getScratch(prevTxnBytes + len(payload))
	defer putScratch(scratch)
	body := (*scratch)[:prevTxnBytes]
	if len(payload) >= packTxnBytes {
		body, codec = seal.Pack(body, payload)
	} else {
		body = append(body, payload...)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.append(kind, codec, len(payload), body); err != nil {
		return Position{}, err
	}
	return l.end, nil
}

// append seals a frame at the end of the log. l.mu is held, and released while waiting for room.
func (l *Log) append(kind Kind, codec seal.Codec, rawBytes int, body []byte) (uint32, error) {
	frameBytes := len(body) + frameOverhead
	s, err := l.room(frameBytes)
	if err != nil {
		return 0, err
	}
	offset := s.put(kind, codec, rawBytes, body)
	if kind != KindLazyTxn {
		s.pendingBytes += int64(frameBytes)
	}
	l.grown(s, frameBytes)
	return offset, nil
}

// grown takes note that segment s, the last, has n more bytes. l.mu is held.
func (l *Log) grown(s *segment, n int) {
	l.end = Position{s.Ordinal, uint32(s.filled)}
	l.appendedBytes += int64(n)
	if !l.full && l.appendedBytes-l.writtenBytes >= flushBytes {
		l.wakeFlusher()
	}
}

// room returns the open segment once it has room for n bytes. l.mu is held, and released while waiting.
func (l *Log) room(n int) (*segment, error) {
	if headerBytes+n+endFrameBytes > l.o.SegmentBytes {
		return nil, fmt.Errorf("%w: frame of %d bytes in segments of %d", ErrTooLarge, n, l.o.SegmentBytes)
	}
	for {
		switch {
		case l.err != nil:
			return nil, l.err
		case l.closing:
			return nil, ErrClosed
		case l.open != nil && l.open.fits(n):
			return l.open, nil
		case l.open != nil:
			l.closeOpen()
		case len(l.held) < l.o.MaxHeldSegments:
			return l.openSegment()
		case l.busy:
			if err := l.waitTurn(context.Background()); err != nil {
				return nil, err
			}
		default:
			if err := l.takeTurn(Position{l.held[0].Ordinal, math.MaxUint32}, false); err != nil {
				return nil, err
			}
		}
	}
}

// openSegment begins the next segment, in memory only. l.mu is held.
func (l *Log) openSegment() (*segment, error) {
	h := Header{Epoch: l.o.Epoch, Ordinal: l.next, Prev: l.prev, PrevEnd: l.prevEnd, CreatedAt: l.o.Now()}
	if _, err := io.ReadFull(l.o.Rand, h.ID[:]); err != nil {
		return nil, fmt.Errorf("draw segment id: %w", err)
	}
	c, err := NewCipher(&l.o.Key, h.ID)
	if err != nil {
		return nil, err
	}
	s := &segment{Header: h, cipher: c, buf: l.spare, filled: headerBytes, name: Path(l.o.Dir, h.Ordinal)}
	l.spare = nil
	if s.buf == nil {
		s.buf = alignedBytes(l.o.SegmentBytes)
	}
	h.encode(s.buf[:headerBytes], c)
	l.open = s
	l.held = append(l.held, s)
	l.next++
	l.grown(s, headerBytes)
	return s, nil
}

// closeOpen puts the end frame to the open segment. l.mu is held.
func (l *Log) closeOpen() {
	s := l.open
	s.put(kindEnd, seal.CodecNone, 0, make([]byte, prevTxnBytes))
	s.closed = true
	l.open = nil
	l.prev, l.prevEnd = s.ID, uint32(s.filled)
	l.grown(s, endFrameBytes)
	if !l.full {
		l.wakeFlusher()
	}
}

// End is the position behind the last frame, durable or not.
func (l *Log) End() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Durable is the position up to which everything is durable.
func (l *Log) Durable() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// PendingBytes is how many bytes of frames that are not lazy the open segment holds.
func (l *Log) PendingBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return 0
	}
	return l.open.pendingBytes
}

// UnwrittenBytes is how much of what was appended is not in a file yet.
func (l *Log) UnwrittenBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appendedBytes - l.writtenBytes
}

// ReadBlock appends the block at a to dst when its segment is still in memory. ErrNotHeld: it is not, so its file, if it
// was ever in this log, is complete.
func (l *Log) ReadBlock(dst []byte, a Addr) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	s := l.find(a.Segment)
	if s == nil {
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: %d", ErrNotHeld, a.Segment)
	}
	frameEnd := int(a.Offset) + int(a.FrameBytes)
	if frameEnd > s.filled {
		l.mu.Unlock()
		return nil, fmt.Errorf("%w: no block at %v yet", ErrCorrupt, a)
	}
	s.readers++
	l.mu.Unlock()

	out, err := s.cipher.OpenBlock(dst, a, s.buf[a.Offset:frameEnd])

	l.mu.Lock()
	s.readers--
	l.mu.Unlock()
	return out, err
}

// find returns the segment with this ordinal when it is in memory. l.mu is held.
func (l *Log) find(ordinal uint64) *segment {
	if len(l.held) == 0 || ordinal < l.held[0].Ordinal || ordinal-l.held[0].Ordinal >= uint64(len(l.held)) {
		return nil
	}
	return l.held[ordinal-l.held[0].Ordinal]
}

// Close ends the log: it closes the open segment, also when all in it is lazy, and makes everything durable. When the
// error is neither nil nor ErrFailed, everything is still in memory, and Close may be tried again or Discard gives up.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	if l.open != nil && l.err == nil {
		l.closeOpen()
	}
	end := l.end
	l.mu.Unlock()

	err := l.Sync(ctx, end)
	if err == nil || errors.Is(err, ErrFailed) {
		l.release()
	}
	return err
}

// Discard ends the log without any further I/O: what is not durable yet is lost, as in a crash.
func (l *Log) Discard() {
	l.mu.Lock()
	l.closing = true
	for l.busy {
		_ = l.waitTurn(context.Background())
	}
	if l.err == nil && l.durable != l.end {
		l.err = fmt.Errorf("%w: discarded", ErrClosed)
	}
	l.mu.Unlock()
	l.release()
}

// release stops the flusher and gives back files, buffers and the key. No I/O is under way or comes after.
func (l *Log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return
	}
	l.released = true
	close(l.stop)
	l.mu.Unlock()
	<-l.stopped
	l.mu.Lock()
	for l.busy {
		_ = l.waitTurn(context.Background())
	}
	for _, s := range l.held {
		if s.file != nil {
			_ = s.file.Close()
			s.file = nil
		}
	}
	l.held, l.open, l.spare = nil, nil, nil
	clear(l.o.Key[:])
}
