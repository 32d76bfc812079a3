package erasure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/erasure/shard"
)

func goldenLayout() Layout {
	return Layout{
		Object:    ObjectID([]byte("0123456789abcdef")),
		SizeBytes: 5_000_000,
		Geometry:  Geometry{4, 2, 512 << 10},
		Nodes:     []NodeID{3, 1, 6, 65534, 0, NoNode},
		Sums:      []shard.Sum{{1}, {2}, {3}},
		Missing:   []ShardRef{{0, 5}, {1, 0}, {1, 4}, {2, 3}},
	}
}

// The golden layout of version 1 decodes to what it was and encodes to the same bytes.
func TestLayoutGolden(t *testing.T) {
	want := goldenLayout()
	if err := want.Check(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "v1", "layout.bin")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want.AppendTo(nil), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLayout(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if !bytes.Equal(got.AppendTo(nil), golden) {
		t.Fatal("encodes to other bytes")
	}
}

// Encodings that are not layouts are refused, before anything large is allocated.
func TestDecodeLayoutRejects(t *testing.T) {
	l := goldenLayout()
	good := l.AppendTo(nil)
	for n := range good {
		if _, err := DecodeLayout(good[:n]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	missingAt := len(good) - 5*len(l.Missing)
	for name, change := range map[string]func(b []byte) []byte{
		"longer":           func(b []byte) []byte { return append(b, 0) },
		"magic":            func(b []byte) []byte { b[0]++; return b },
		"version 0":        func(b []byte) []byte { b[4] = 0; return b },
		"no data":          func(b []byte) []byte { b[5] = 0; return b },
		"flags":            func(b []byte) []byte { b[7] |= 2; return b },
		"shard bytes":      func(b []byte) []byte { b[8]++; return b },
		"negative size":    func(b []byte) []byte { b[19] = 0x80; return b },
		"huge size":        func(b []byte) []byte { b[18] = 0x7f; return b },
		"node twice":       func(b []byte) []byte { copy(b[36:38], b[38:40]); return b },
		"missing count":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[missingAt-4:], 1<<31); return b },
		"missing order":    func(b []byte) []byte { b[missingAt+4]--; b[missingAt] = 1; return b },
		"missing shard":    func(b []byte) []byte { b[missingAt+4] = 6; return b },
		"missing stripe":   func(b []byte) []byte { b[len(b)-5] = 3; return b },
		"sums that aren't": func(b []byte) []byte { b[7] = 0; return b },
	} {
		if _, err := DecodeLayout(change(bytes.Clone(good))); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	newer := bytes.Clone(good)
	newer[4] = 2
	if _, err := DecodeLayout(newer); !errors.Is(err, ErrTooNew) {
		t.Errorf("newer: %v, want ErrTooNew", err)
	}
}

// Missing shards are kept in order, without doubles, and counted by stripe.
func TestMissing(t *testing.T) {
	l := goldenLayout()
	if l.DegradedStripes() != 3 || l.Stripes() != 3 {
		t.Errorf("degraded %d of %d", l.DegradedStripes(), l.Stripes())
	}
	for _, tc := range []struct {
		ref  ShardRef
		want bool
	}{{ShardRef{0, 0}, true}, {ShardRef{0, 0}, false}, {ShardRef{1, 4}, false}, {ShardRef{1, 3}, true}, {ShardRef{3, 0}, false}, {ShardRef{0, 6}, false}} {
		if got := l.AddMissing(tc.ref); got != tc.want {
			t.Errorf("add %v: %v", tc.ref, got)
		}
	}
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	if !l.IsMissing(ShardRef{1, 3}) || l.IsMissing(ShardRef{1, 2}) {
		t.Error("wrong shards are missing")
	}
	c := l.Clone()
	c.Missing[0].Shard, c.Nodes[0], c.Sums[0][0] = 9, 9, 9
	if l.Missing[0].Shard == 9 || l.Nodes[0] == 9 || l.Sums[0][0] == 9 {
		t.Error("clone shares memory")
	}
}

// Each byte of an object is in exactly one place, and the places follow one another.
func TestLocate(t *testing.T) {
	for _, size := range []int64{1, 256, 1023, 1024, 1025, 2048, 3000, 10_000} {
		l := Layout{SizeBytes: size, Geometry: Geometry{4, 2, 256}}
		prev, prevShard, expect := -1, -1, int64(0)
		for off := range size {
			stripe, index, in, n := l.Locate(off)
			if stripe != prev || index != prevShard {
				prev, prevShard, expect = stripe, index, 0
			}
			if in != expect || in >= int64(n) || n > 256 || index >= 4 || stripe >= l.Stripes() {
				t.Fatalf("size %d byte %d: stripe %d shard %d at %d of %d", size, off, stripe, index, in, n)
			}
			expect++
		}
	}
}

func FuzzDecodeLayout(f *testing.F) {
	l := goldenLayout()
	f.Add(l.AppendTo(nil))
	l.Sums, l.Missing = nil, nil
	f.Add(l.AppendTo(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLayout(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooNew) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		if again := l.AppendTo(nil); !bytes.Equal(again, b) {
			t.Fatalf("not canonical: %x", b)
		}
		if l.SizeBytes > 0 {
			l.Locate(l.SizeBytes - 1)
		}
	})
}
