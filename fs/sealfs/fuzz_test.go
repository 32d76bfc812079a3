package sealfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func addGolden(f *testing.F) {
	paths, err := filepath.Glob("testdata/v1/*")
	must(f, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		must(f, err)
		f.Add(b)
	}
}

// An arbitrary header decodes to our errors or to what encodes to the same bytes.
func FuzzHeader(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), headerBytes)]
		h, err := decodeHeader(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(h.append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

// An arbitrary trailer decodes to ErrCorrupt or is canonical, and places every offset within the file.
func FuzzTrailer(f *testing.F) {
	f.Add([]byte{5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, int64(45))
	two := trailer{sizePlain: 8, runs: []run{{0, 24}, {3, 24 + 19 + 32}}}
	f.Add(two.append(nil), two.runs[1].sealed+sealedBytes(5))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		if at < 0 || at > 1<<40 {
			return
		}
		tr, err := decodeTrailer(b, at)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(tr.append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
		for _, r := range tr.runs {
			for _, off := range []int64{r.plain, r.plain + 1, r.plain - 1, tr.sizePlain - 1, tr.sizePlain / 2} {
				if off < 0 || off >= tr.sizePlain {
					continue
				}
				p := tr.locate(off)
				if p.sealed < headerBytes || p.plain < 1 || p.plain > frameBytes || p.inFrame >= p.plain ||
					p.sealed+int64(p.plain)+tagBytes > at {
					t.Fatalf("offset %d of %d: %+v", off, tr.sizePlain, p)
				}
			}
		}
	})
}

// Arbitrary stored bytes give our errors; what is accepted reads to its size.
func FuzzOpen(f *testing.F) {
	addGolden(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"1.sst", "MANIFEST-000001"} {
			mem := vfs.NewMem()
			fs := New(mem, testKey, Options{CacheFrames: 4})
			store(t, mem, name, b)
			got, err := readAll(fs, name)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
					t.Fatal(err)
				}
				continue
			}
			if info, err := fs.Stat(name); err != nil || info.Size() != int64(len(got)) {
				t.Fatalf("read %d bytes, stat %v %v", len(got), info, err)
			}
		}
	})
}

// A stream whose plaintext frames are ours but whose order, flags and gaps are arbitrary
// never gives other bytes. The input is a script: which frame, and how it is damaged.
func FuzzStreamScript(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{0, 0x81, 2, 0x43})
	f.Fuzz(func(t *testing.T, script []byte) {
		fs, mem := newTestFS(t)
		want := put(t, fs, "OPTIONS", []byte("aaaa"), []byte("bbbb"), nil, []byte("cccc"), nil, []byte("dddd"))
		stored := raw(t, mem, "OPTIONS")
		const size = streamHeaderBytes + 4 + tagBytes
		b := bytes.Clone(stored[:headerBytes])
		for i, op := range script[:min(len(script), 64)] {
			frame := bytes.Clone(stored[headerBytes+int(op&3)*size:][:size])
			if op&0x80 != 0 {
				frame[int(op>>2)%size] ^= 1 << (i % 8)
			}
			if op&0x40 != 0 {
				frame = frame[:int(op>>2)%size]
			}
			b = append(b, frame...)
		}
		store(t, mem, "OPTIONS", b)
		got, err := readAll(fs, "OPTIONS")
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(want, got) {
			t.Fatalf("got %q", got)
		}
	})
}
