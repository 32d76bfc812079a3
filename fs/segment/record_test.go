package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/fs/wal"
)

var update = flag.Bool("update", false, "write the golden files anew")

func goldenRecords() map[string]Record {
	local := Record{Epoch: 3, ID: wal.SegmentID([]byte("0123456789abcdef")), SizeBytes: 5 << 20}
	stored := local
	stored.Layout = &erasure.Layout{
		Object: ObjectID(3, 77), SizeBytes: 5 << 20, Geometry: erasure.Geometry{Data: 4, Parity: 2, ShardBytes: 512 << 10},
		Nodes: []erasure.NodeID{5, 4, 3, 2, 1, 0}, Sums: []shard.Sum{{1}, {2}, {3}}, Missing: []erasure.ShardRef{{Stripe: 1, Shard: 5}},
	}
	return map[string]Record{"record-local": local, "record-stored": stored}
}

// Records of version 1 decode to what they were and encode to the same bytes.
func TestRecordGolden(t *testing.T) {
	for name, want := range goldenRecords() {
		t.Run(name, func(t *testing.T) {
			path := "testdata/v1/" + name
			if *update {
				if err := os.WriteFile(path, want.AppendTo(nil), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeRecord(b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if !bytes.Equal(want.AppendTo(nil), b) {
				t.Error("encodes to other bytes")
			}
		})
	}
}

func TestRecordDamage(t *testing.T) {
	for name, r := range goldenRecords() {
		good := r.AppendTo(nil)
		for n := range good {
			if _, err := DecodeRecord(good[:n]); !errors.Is(err, ErrCorruptRecord) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		for what, edit := range map[string]func(b []byte) []byte{
			"a byte more":   func(b []byte) []byte { return append(b, 0) },
			"version 0":     func(b []byte) []byte { b[0] = 0; return b },
			"version 2":     func(b []byte) []byte { b[0] = 2; return b },
			"negative size": func(b []byte) []byte { b[28] = 0x80; return b },
			"huge layout":   func(b []byte) []byte { binary.LittleEndian.PutUint32(b[29:], 1<<31); return b },
		} {
			if _, err := DecodeRecord(edit(bytes.Clone(good))); !errors.Is(err, ErrCorruptRecord) {
				t.Errorf("%s with %s: %v", name, what, err)
			}
		}
	}
}

func TestObjectID(t *testing.T) {
	id := ObjectID(0x01020304, 0x1112131415161718)
	if want := [16]byte{1, 0, 0, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}; id != want {
		t.Errorf("got %x", id)
	}
	if o, ok := OrdinalOf(id); !ok || o != 0x1112131415161718 {
		t.Errorf("got %x, %v", o, ok)
	}
	if _, ok := OrdinalOf(erasure.ObjectID{0: 2}); ok {
		t.Error("another object is taken for a segment")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(r.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		switch {
		case err == nil && !bytes.Equal(r.AppendTo(nil), b):
			t.Errorf("not canonical: %x", b)
		case err != nil && !errors.Is(err, ErrCorruptRecord):
			t.Errorf("not our error: %v", err)
		}
	})
}
