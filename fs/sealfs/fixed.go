package sealfs

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fixedWriter writes a file in the fixed layout. Its methods are called under writeFile.mu.
type fixedWriter struct {
	sealer
	partial []byte // plaintext of the frame being filled
	trailer trailer
	ended   bool // the trailer on disk tells all that was written
}

func newFixedWriter(base vfs.File, c *fileCipher) *fixedWriter {
	return &fixedWriter{
		sealer:  newSealer(base, c),
		partial: make([]byte, 0, frameBytes),
		trailer: trailer{runs: []run{{plain: 0, sealed: headerBytes}}},
	}
}

func (w *fixedWriter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if w.ended {
		if err := w.startRun(); err != nil {
			return err
		}
	}
	w.trailer.sizePlain += int64(len(p))
	for len(p) > 0 {
		if len(w.partial) == 0 && len(p) >= frameBytes {
			w.add(p[:frameBytes], kindData)
			p = p[frameBytes:]
		} else {
			n := min(len(p), frameBytes-len(w.partial))
			w.partial = append(w.partial, p[:n]...)
			p = p[n:]
			if len(w.partial) < frameBytes {
				break
			}
			w.add(w.partial, kindData)
			w.partial = w.partial[:0]
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// startRun goes on behind a trailer.
func (w *fixedWriter) startRun() error {
	if len(w.trailer.runs) > maxRuns {
		return ErrTooManySyncs
	}
	w.trailer.runs = append(w.trailer.runs, run{plain: w.trailer.sizePlain, sealed: w.at})
	w.ended = false
	return nil
}

// end completes the file as it is now.
func (w *fixedWriter) end() error {
	if w.ended {
		return nil
	}
	if len(w.partial) > 0 {
		w.add(w.partial, kindData)
		w.partial = w.partial[:0]
	}
	w.begin()
	before := len(w.out)
	w.add(w.trailer.append(nil), kindTrailer)
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(len(w.out)-before))
	w.at += lengthBytes
	if err := w.flush(); err != nil {
		return err
	}
	w.ended = true
	return nil
}

func (w *fixedWriter) beforeSync() error  { return w.end() }
func (w *fixedWriter) afterSync()         {}
func (w *fixedWriter) beforeClose() error { return w.end() }
func (w *fixedWriter) heldBack() bool     { return !w.ended }
func (w *fixedWriter) size() int64        { return w.trailer.sizePlain }

// fixedReader reads a file in the fixed layout. Safe for concurrent use.
type fixedReader struct {
	base    vfs.File
	cipher  *fileCipher
	trailer trailer
	cache   *frameCache
}

func openFixed(base vfs.File, rawSize int64, c *fileCipher, cache *frameCache) (*fixedReader, error) {
	t, err := readTrailer(base, rawSize, c)
	if err != nil {
		return nil, err
	}
	return &fixedReader{base: base, cipher: c, trailer: t, cache: cache}, nil
}

func (r *fixedReader) size() int64 { return r.trailer.sizePlain }

func (r *fixedReader) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("sealfs: negative offset %d", off)
	}
	done := 0
	for done < len(p) {
		if off+int64(done) >= r.trailer.sizePlain {
			return done, io.EOF
		}
		at := r.trailer.locate(off + int64(done))
		dst := p[done:min(len(p), done+at.plain-at.inFrame)]
		if err := r.readFrame(dst, at); err != nil {
			return done, err
		}
		done += len(dst)
	}
	return done, nil
}

// readFrame fills dst from the frame. A whole frame is opened straight into dst; of a
// part, the rest stays in the cache for the next read.
func (r *fixedReader) readFrame(dst []byte, at place) error {
	key := frameKey{id: r.cipher.header.id, sealed: at.sealed}
	if r.cache.read(key, dst, at.inFrame) {
		return nil
	}
	buf := framePool.Get().(*frameBuf)
	sealed := buf.b[:at.plain+tagBytes]
	if err := readFull(r.base, sealed, at.sealed); err != nil {
		framePool.Put(buf)
		return err
	}
	if len(dst) == at.plain {
		_, err := r.cipher.open(&buf.nonce, dst[:0:len(dst)], sealed, at.sealed, kindData, 0)
		framePool.Put(buf)
		return err
	}
	if _, err := r.cipher.open(&buf.nonce, sealed[:0], sealed, at.sealed, kindData, 0); err != nil {
		framePool.Put(buf)
		return err
	}
	buf.plain = at.plain
	copy(dst, buf.b[at.inFrame:at.plain])
	r.cache.put(key, buf)
	return nil
}

func (r *fixedReader) prefetch(off, length int64) error {
	if off < 0 || length <= 0 || off >= r.trailer.sizePlain {
		return nil
	}
	last := min(off+length, r.trailer.sizePlain) - 1
	from, to := r.trailer.locate(off), r.trailer.locate(last)
	return r.base.Prefetch(from.sealed, to.sealed+int64(to.plain)+tagBytes-from.sealed)
}

// verify opens every frame.
func (r *fixedReader) verify() error {
	buf := framePool.Get().(*frameBuf)
	defer framePool.Put(buf)
	for off := int64(0); off < r.trailer.sizePlain; {
		at := r.trailer.locate(off)
		sealed := buf.b[:at.plain+tagBytes]
		if err := readFull(r.base, sealed, at.sealed); err != nil {
			return err
		}
		if _, err := r.cipher.open(&buf.nonce, sealed[:0], sealed, at.sealed, kindData, 0); err != nil {
			return err
		}
		off += int64(at.plain)
	}
	return nil
}
