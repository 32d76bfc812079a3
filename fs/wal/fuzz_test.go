package wal

import (
	"bytes"
	"errors"
	"testing"
)

func ours(err error) bool {
	return err == nil || errors.Is(err, ErrTorn) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooNew)
}

// Whatever a file holds: one of our errors, and no entry but those that were sealed.
func FuzzScan(f *testing.F) {
	golden := readGolden(f)
	want := goldenRecords()
	f.Add(golden, uint32(0), false)
	f.Add(golden, uint32(0), true)
	f.Add(golden[:500], uint32(100), false)
	f.Add(append(bytes.Clone(golden), make([]byte, 100)...), uint32(0), true)
	f.Add([]byte("QSEG"), uint32(0), false)
	f.Fuzz(func(t *testing.T, file []byte, from uint32, trust bool) {
		n := 0
		res, err := ScanWith(bytes.NewReader(file), int64(len(file)), &testKey, from, ScanOptions{TrustBlocks: trust}, func(e Entry) error {
			if n++; e.Kind == KindBlock && trust {
				return nil
			}
			var got []record
			must(t, collect(t, file, &got)(e))
			for _, rec := range want {
				if rec.equal(got[0]) {
					return nil
				}
			}
			t.Fatalf("%v was never written", got[0])
			return nil
		})
		if !ours(err) {
			t.Fatalf("foreign error %v", err)
		}
		if err == nil && (!res.Complete || int(res.End) > len(file)) {
			t.Fatalf("complete with %+v", res)
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	golden := readGolden(f)
	f.Add(golden[:headerBytes])
	f.Add(golden[:headerBytes-1])
	f.Add(make([]byte, headerBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHeader(bytes.NewReader(b), &testKey)
		if !ours(err) {
			t.Fatalf("foreign error %v", err)
		}
		if err != nil {
			return
		}
		c, err := NewCipher(&testKey, h.ID)
		must(t, err)
		again := make([]byte, headerBytes)
		if h.encode(again, c); !bytes.Equal(again, b[:headerBytes]) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

func FuzzOpenBlock(f *testing.F) {
	golden := readGolden(f)
	h, err := ReadHeader(bytes.NewReader(golden), &testKey)
	must(f, err)
	c, err := NewCipher(&testKey, h.ID)
	must(f, err)
	blocks := map[Addr][]byte{}
	_, err = Scan(bytes.NewReader(golden), int64(len(golden)), &testKey, 0, func(e Entry) error {
		frame := golden[e.Addr.Offset:e.After.Offset]
		f.Add(e.Addr.Offset, e.Addr.RawBytes, frame)
		if e.Kind == KindBlock {
			blocks[e.Addr], err = c.OpenBlock(nil, e.Addr, frame)
		}
		return err
	})
	must(f, err)
	f.Fuzz(func(t *testing.T, offset, rawBytes uint32, frame []byte) {
		a := Addr{h.Ordinal, offset, uint32(len(frame)), rawBytes}
		got, err := c.OpenBlock(nil, a, frame)
		if want, ok := blocks[a]; err == nil && (!ok || !bytes.Equal(got, want)) {
			t.Fatalf("opened %v as %q", a, got)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("foreign error %v", err)
		}
	})
}

// The header of a frame is looked at before anything vouches for it.
func FuzzFrameHeader(f *testing.F) {
	for _, h := range []frameHeader{{16, KindBlock, 0, 0}, {4, kindEnd, 0, 0}, {100, KindTxn, 1, MaxTxnBytes}, {MaxBlockBytes + ownerBytes, KindBlock, 0, MaxBlockBytes}} {
		b := make([]byte, frameHeaderBytes)
		h.encode(b)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameHeaderBytes {
			return
		}
		h, err := decodeFrameHeader(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("foreign error %v", err)
			}
			return
		}
		again := make([]byte, frameHeaderBytes)
		if h.encode(again); !bytes.Equal(again, b[:frameHeaderBytes]) {
			t.Fatalf("not canonical: %x", b)
		}
		if h.rawBytes > MaxTxnBytes || h.frameBytes() > MaxTxnBytes+frameOverhead+ownerBytes || h.frameBytes() < endFrameBytes && h.kind != kindEnd {
			t.Fatalf("%+v", h)
		}
	})
}

func FuzzPositions(f *testing.F) {
	f.Add(Position{1, 2}.AppendTo(nil))
	f.Add(Addr{5, 80, 140, 100}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePosition(b); err == nil && !bytes.Equal(p.AppendTo(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
		if a, err := DecodeAddr(b); err == nil && !bytes.Equal(a.AppendTo(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}
