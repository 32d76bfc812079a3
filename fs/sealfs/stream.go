package sealfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	streamHeaderBytes  = 8
	flagSyncedBefore   = 1
	indexEveryBytes    = 64 << 10 // of plaintext
	maxResyncAttempts  = 4096     // frames tried behind a torn one that do not open
	streamWindowBytes  = 128 << 10
	maxStreamFrameSize = streamHeaderBytes + fullSealed
)

var streamMagic = []byte("QFR")

// streamWriter writes a file in the stream layout. Its methods are called under writeFile.mu.
type streamWriter struct {
	sealer
	sizePlain int64
	synced    bool // since the last frame
}

func newStreamWriter(base vfs.File, c *fileCipher) *streamWriter {
	return &streamWriter{sealer: newSealer(base, c)}
}

func (w *streamWriter) write(p []byte) error {
	for len(p) > 0 {
		plain := p[:min(len(p), frameBytes)]
		p = p[len(plain):]
		var flags byte
		if w.synced {
			flags, w.synced = flagSyncedBefore, false
		}
		w.begin()
		w.out = append(w.out, streamMagic...)
		w.out = append(w.out, flags)
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(len(plain)))
		w.out = w.cipher.seal(&w.nonce, w.out, plain, w.at, kindStream, flags)
		w.at += int64(streamHeaderBytes + len(plain) + tagBytes)
		if err := w.flush(); err != nil {
			return err
		}
		w.sizePlain += int64(len(plain))
	}
	return nil
}

func (w *streamWriter) beforeSync() error  { return nil }
func (w *streamWriter) afterSync()         { w.synced = w.at > 0 }
func (w *streamWriter) beforeClose() error { return nil }
func (w *streamWriter) heldBack() bool     { return false }
func (w *streamWriter) size() int64        { return w.sizePlain }

// window reads a file in large pieces and gives small ones.
type window struct {
	base io.ReaderAt
	end  int64 // of the file
	buf  []byte
	at   int64 // of buf
}

// bytes gives up to n bytes at off, fewer only at the end of the file. They are valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.end-off))
	if n <= 0 {
		return nil, nil
	}
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, 0, min(int64(streamWindowBytes), max(w.end, 1)))
		}
		size := min(int64(cap(w.buf)), w.end-off)
		w.buf, w.at = w.buf[:size], off
		if err := readFull(w.base, w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.at:][:n], nil
}

// streamFrame is one opened frame.
type streamFrame struct {
	sealed, next int64 // where it starts and where the next one does
	flags        byte
	plain        []byte
}

// streamIndex is a frame's start.
type streamIndex struct {
	plain, sealed int64
}

// streamReader reads a file in the stream layout, as far as it went when it was opened.
// Safe for concurrent use; meant for reading from front to back.
type streamReader struct {
	cipher    *fileCipher
	sizePlain int64
	index     []streamIndex // one frame in every indexEveryBytes

	mu      sync.Mutex // guards what follows
	window  window
	nonce   nonce
	scratch []byte
	cur     streamFrame // plain is in scratch
	curAt   int64       // its plaintext offset; -1: none
}

// openStream walks over the whole file and opens every frame.
func openStream(base io.ReaderAt, rawSize int64, c *fileCipher) (*streamReader, error) {
	r := &streamReader{
		cipher: c,
		window: window{base: base, end: rawSize},
		curAt:  -1,
	}
	at := int64(headerBytes)
	for at < rawSize {
		f, ok, err := r.open(at)
		if err != nil {
			return nil, err
		}
		if !ok {
			if err := r.checkTail(at); err != nil {
				return nil, err
			}
			break
		}
		if n := len(r.index); n == 0 || r.sizePlain-r.index[n-1].plain >= indexEveryBytes {
			r.index = append(r.index, streamIndex{plain: r.sizePlain, sealed: at})
		}
		r.sizePlain += int64(len(f.plain))
		at = f.next
	}
	r.window.end = at
	r.window.buf = nil
	return r, nil
}

// open opens the frame at off; ok is false when there is none.
func (r *streamReader) open(off int64) (f streamFrame, ok bool, err error) {
	b, err := r.window.bytes(off, maxStreamFrameSize)
	if err != nil {
		return f, false, err
	}
	if len(b) < streamHeaderBytes || !bytes.HasPrefix(b, streamMagic) {
		return f, false, nil
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if b[3]&^flagSyncedBefore != 0 || length == 0 || length > frameBytes || len(b) < streamHeaderBytes+int(length)+tagBytes {
		return f, false, nil
	}
	if cap(r.scratch) < int(length) {
		r.scratch = make([]byte, 0, max(int(length), min(frameBytes, 2*cap(r.scratch))))
	}
	sealed := b[streamHeaderBytes : streamHeaderBytes+int(length)+tagBytes]
	plain, err := r.cipher.open(&r.nonce, r.scratch[:0], sealed, off, kindStream, b[3])
	if err != nil {
		return f, false, nil
	}
	return streamFrame{
		sealed: off,
		next:   off + int64(streamHeaderBytes+len(sealed)),
		flags:  b[3],
		plain:  plain,
	}, true, nil
}

// checkTail is called where a frame does not open. A torn tail holds only what was
// never synced; a frame further on that was written after a sync proves damage.
func (r *streamReader) checkTail(torn int64) error {
	attempts := 0
	for at := torn + 1; at < r.window.end; {
		b, err := r.window.bytes(at, maxStreamFrameSize)
		if err != nil {
			return err
		}
		i := bytes.Index(b, streamMagic)
		if i < 0 {
			if at += int64(len(b) - len(streamMagic) + 1); len(b) < maxStreamFrameSize {
				return nil
			}
			continue
		}
		at += int64(i)
		f, ok, err := r.open(at)
		switch {
		case err != nil:
			return err
		case ok && f.flags&flagSyncedBefore != 0:
			return fmt.Errorf("%w: frame at %d, which had been synced", ErrCorrupt, torn)
		case ok:
			at = f.next
		default:
			if attempts++; attempts > maxResyncAttempts {
				return fmt.Errorf("%w: frame at %d and what follows", ErrCorrupt, torn)
			}
			at++
		}
	}
	return nil
}

func (r *streamReader) size() int64 { return r.sizePlain }

func (r *streamReader) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("sealfs: negative offset %d", off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	done := 0
	for done < len(p) {
		if off >= r.sizePlain {
			return done, io.EOF
		}
		if err := r.seek(off); err != nil {
			return done, err
		}
		n := copy(p[done:], r.cur.plain[off-r.curAt:])
		done += n
		off += int64(n)
	}
	return done, nil
}

// seek makes the frame that holds off the current one. Every frame passed on the way is
// opened: lengths are believed only in frames that open.
func (r *streamReader) seek(off int64) error {
	if r.curAt >= 0 && off >= r.curAt && off < r.curAt+int64(len(r.cur.plain)) {
		return nil
	}
	i := sort.Search(len(r.index), func(i int) bool { return r.index[i].plain > off }) - 1
	from := r.index[i]
	if r.curAt >= 0 {
		if next := r.curAt + int64(len(r.cur.plain)); next <= off && next > from.plain {
			from = streamIndex{plain: next, sealed: r.cur.next}
		}
	}
	r.curAt = -1
	for {
		f, ok, err := r.open(from.sealed)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: frame at %d, which opened before", ErrCorrupt, from.sealed)
		}
		if next := from.plain + int64(len(f.plain)); off >= next {
			from = streamIndex{plain: next, sealed: f.next}
			continue
		}
		r.cur, r.curAt = f, from.plain
		return nil
	}
}

func (r *streamReader) prefetch(off, length int64) error { return nil }
func (r *streamReader) verify() error                    { return nil } // opened all frames when it was opened
