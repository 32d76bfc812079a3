package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// MaxPayloadBytes is the largest payload given to the Journal, or taken by Replay.
const MaxPayloadBytes = 1 << 20

const (
	payloadVersion     = 1
	payloadHeaderBytes = 5
)

type opKind byte

const (
	opSet         opKind = 1
	opDelete      opKind = 2
	opDeleteRange opKind = 3
)

// op is one operation of a payload. Its slices alias the payload.
type op struct {
	kind  opKind
	key   []byte
	value []byte // of a set; of a delete range the end key
}

// payload is a transaction under construction.
type payload struct {
	buf   []byte
	count uint32
}

func (p *payload) reset() {
	p.buf = append(p.buf[:0], payloadVersion, 0, 0, 0, 0)
	p.count = 0
}

func (p *payload) op(kind opKind, key []byte) {
	p.buf = append(p.buf, byte(kind))
	p.buf = binary.LittleEndian.AppendUint16(p.buf, uint16(len(key)))
	p.buf = append(p.buf, key...)
	p.count++
}

func (p *payload) set(key, value []byte) {
	p.op(opSet, key)
	p.buf = binary.LittleEndian.AppendUint32(p.buf, uint32(len(value)))
	p.buf = append(p.buf, value...)
}

func (p *payload) del(key []byte) { p.op(opDelete, key) }

func (p *payload) delRange(from, to []byte) {
	p.op(opDeleteRange, from)
	p.buf = binary.LittleEndian.AppendUint16(p.buf, uint16(len(to)))
	p.buf = append(p.buf, to...)
}

// finish completes the header and returns the payload, which the next reset overwrites.
func (p *payload) finish() []byte {
	binary.LittleEndian.PutUint32(p.buf[1:], p.count)
	return p.buf
}

// decodePayload calls fn with each operation. It returns ErrCorrupt or ErrTooNew for what is not a payload, at any
// point of it, or the error of fn; so decode once with a fn that only looks before anything is applied.
func decodePayload(b []byte, fn func(op) error) error {
	if len(b) < payloadHeaderBytes || len(b) > MaxPayloadBytes {
		return fmt.Errorf("%w: payload of %d bytes", ErrCorrupt, len(b))
	}
	if b[0] > payloadVersion {
		return fmt.Errorf("%w: payload version %d", ErrTooNew, b[0])
	}
	if b[0] != payloadVersion {
		return fmt.Errorf("%w: payload version %d", ErrCorrupt, b[0])
	}
	count := binary.LittleEndian.Uint32(b[1:])
	r := reader{b: b[payloadHeaderBytes:]}
	for i := uint32(0); i < count; i++ {
		o := op{kind: opKind(r.byte())}
		o.key = r.take(uint32(r.uint16()))
		switch o.kind {
		case opSet:
			o.value = r.take(r.uint32())
		case opDelete:
		case opDeleteRange:
			o.value = r.take(uint32(r.uint16()))
		default:
			r.bad = true
		}
		if r.bad {
			return fmt.Errorf("%w: payload operation %d of %d", ErrCorrupt, i, count)
		}
		if err := checkOp(o); err != nil {
			return fmt.Errorf("payload operation %d: %w", i, err)
		}
		if err := fn(o); err != nil {
			return err
		}
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%w: %d bytes after the payload", ErrCorrupt, len(r.b))
	}
	return nil
}

// checkOp refuses keys that no transaction touches.
func checkOp(o op) error {
	if err := checkKey(o.key); err != nil {
		return err
	}
	if o.key[0] == kindPosition {
		return fmt.Errorf("%w: the position is not a transaction's", ErrCorrupt)
	}
	if o.kind == opDeleteRange && (len(o.value) == 0 || len(o.value) > maxKeyBytes || o.value[0] != o.key[0] || bytes.Compare(o.key, o.value) >= 0) {
		return fmt.Errorf("%w: range %x to %x", ErrCorrupt, o.key, o.value)
	}
	return nil
}

// reader takes fields off the front of b; a field that is not there sets bad and reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if v := r.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}
