package sealfs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files anew")

// goldenFiles are small files of every shape, with ids from a counting reader.
func goldenFiles(t testing.TB) (*FS, *vfs.MemFS, map[string][]byte) {
	mem := vfs.NewMem()
	fs := New(mem, testKey, Options{Rand: &counting{}})
	plain := map[string][]byte{}
	plain["table.sst"] = put(t, fs, "table.sst", []byte("hello"), nil)
	plain["empty.sst"] = put(t, fs, "empty.sst")
	plain["runs.sst"] = put(t, fs, "runs.sst", nil, []byte("one"), nil, []byte("two"), []byte("three"), nil, nil, []byte("four"))
	plain["stream"] = put(t, fs, "stream", []byte("hello"), []byte("again"), nil, []byte("and"), []byte("so on"), nil, []byte("end"))
	return fs, mem, plain
}

// Every file of version 1 opens for ever, and the same writes make the same bytes.
func TestGolden(t *testing.T) {
	_, mem, plain := goldenFiles(t)
	for name, want := range plain {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "v1", name)
			stored := raw(t, mem, name)
			if *update {
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				must(t, os.WriteFile(path, stored, 0o644))
			}
			golden, err := os.ReadFile(path)
			must(t, err)
			if !bytes.Equal(stored, golden) {
				t.Errorf("stored bytes\n got %x\nwant %x", stored, golden)
			}
			fs, mem := newTestFS(t)
			store(t, mem, name, golden)
			if got := raw(t, fs, name); !bytes.Equal(got, want) {
				t.Errorf("got %q want %q", got, want)
			}
		})
	}
	if n := len(raw(t, mem, "table.sst")); n != 77 { // the number in the package comment
		t.Errorf("a 5-byte table takes %d bytes", n)
	}
}

// What is written in pieces of any size comes back, sequentially and at random, and
// no nonce seals twice, whatever the syncs.
func TestModel(t *testing.T) {
	for _, name := range []string{"000001.sst", "000002.blob", "MANIFEST-000003"} {
		t.Run(name, rapid.MakeCheck(func(rt *rapid.T) {
			fs, _ := newTestFS(t)
			f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
			must(rt, err)
			watch(rt, f)
			var want []byte
			for range rapid.IntRange(0, 12).Draw(rt, "ops") {
				size := rapid.SampledFrom([]int{0, 1, 5, 100, 4096, frameBytes - 1, frameBytes, frameBytes + 1, 3*frameBytes + 7, 200000}).Draw(rt, "size")
				p := text(size, uint64(len(want)))
				if n, err := f.Write(bytes.Clone(p)); n != size || err != nil {
					rt.Fatalf("write %d: %d %v", size, n, err)
				}
				want = append(want, p...)
				if rapid.Bool().Draw(rt, "sync") {
					if err := f.Sync(); err != nil {
						rt.Fatal(err)
					}
					// What is synced opens as it is, while the writer goes on.
					if got := raw(rt, fs, name); !bytes.Equal(got, want) {
						rt.Fatalf("after sync: got %d bytes, want %d", len(got), len(want))
					}
				}
				if info, err := f.Stat(); err != nil || info.Size() != int64(len(want)) {
					rt.Fatalf("size of the writer: %v, want %d", info, len(want))
				}
			}
			if err := f.Close(); err != nil {
				rt.Fatal(err)
			}
			if info, err := fs.Stat(name); err != nil || info.Size() != int64(len(want)) {
				rt.Fatalf("stat: %v %v, want %d", info, err, len(want))
			}
			r, err := fs.Open(name)
			must(rt, err)
			defer r.Close()
			for range 20 {
				off := rapid.IntRange(0, len(want)+10).Draw(rt, "off")
				n := rapid.SampledFrom([]int{0, 1, 10, 4096, frameBytes, 70000}).Draw(rt, "len")
				p := make([]byte, n)
				got, err := r.ReadAt(p, int64(off))
				rest := want[min(off, len(want)):]
				wantN := min(n, len(rest))
				if got != wantN || !bytes.Equal(p[:got], rest[:wantN]) {
					rt.Fatalf("read %d at %d of %d: got %d", n, off, len(want), got)
				}
				if (err == io.EOF) != (wantN < n) || (err != nil && err != io.EOF) {
					rt.Fatalf("read %d at %d of %d: %v", n, off, len(want), err)
				}
			}
		}))
	}
}

// Each flipped byte and each cut of a small file gives an error or the right bytes:
// in a table synced once always the error, in a stream at most a shorter file.
func TestFlipAndCutEveryByte(t *testing.T) {
	_, mem, plain := goldenFiles(t)
	for name, want := range plain {
		t.Run(name, func(t *testing.T) {
			stored := raw(t, mem, name)
			check := func(what string, b []byte) {
				fs, mem := newTestFS(t)
				store(t, mem, name, b)
				got, err := readAll(fs, name)
				switch {
				case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew):
					t.Errorf("%s: %v", what, err)
				case name == "table.sst" || name == "empty.sst":
					if err == nil {
						t.Errorf("%s: no error", what)
					}
				case err == nil && !bytes.HasPrefix(want, got):
					t.Errorf("%s: got %q of %q", what, got, want)
				case err == nil && strings.HasPrefix(what, "flip") && name == "runs.sst" && !bytes.Equal(got, want):
					t.Errorf("%s: got %q want %q", what, got, want)
				}
			}
			for i := range stored {
				for _, bit := range []byte{1, 0x80} {
					b := bytes.Clone(stored)
					b[i] ^= bit
					check(fmt.Sprintf("flip %d", i), b)
				}
				check(fmt.Sprintf("cut %d", i), stored[:i])
			}
		})
	}
}

// A multi-frame table does not open when cut, at the border of a frame or anywhere near it.
func TestCutTable(t *testing.T) {
	fs, mem := newTestFS(t)
	put(t, fs, "1.sst", text(3*frameBytes+100, 1), nil)
	stored := raw(t, mem, "1.sst")
	for border := headerBytes; border < len(stored); border += fullSealed {
		for _, n := range []int{border - 1, border, border + 1, border + minSealedTrailer, border + minSealedTrailer + lengthBytes} {
			if n < 0 || n >= len(stored) {
				continue
			}
			store(t, mem, "2.sst", stored[:n])
			if _, err := fs.Open("2.sst"); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut at %d: %v", n, err)
			}
			if _, err := fs.Stat("2.sst"); !errors.Is(err, ErrCorrupt) {
				t.Errorf("stat, cut at %d: %v", n, err)
			}
		}
	}
}

// Frames moved within a file, taken from another file or from an earlier file of the same
// name do not open.
func TestMovedFrames(t *testing.T) {
	for _, name := range []string{"1.sst", "MANIFEST-000001"} {
		t.Run(name, func(t *testing.T) {
			fs, mem := newTestFS(t)
			content := text(4*frameBytes, 1)
			put(t, fs, name, content, nil)
			first := raw(t, mem, name)
			put(t, fs, name, content, nil) // same plaintext, another id
			second := raw(t, mem, name)
			size := fullSealed
			if layoutOf(name) == layoutStream {
				size = maxStreamFrameSize
			}
			frame := func(b []byte, i int) []byte { return b[headerBytes+i*size:][:size] }
			tests := map[string]func(b []byte){
				"swapped in a file":    func(b []byte) { copy(frame(b, 1), frame(first, 2)); copy(frame(b, 2), frame(first, 1)) },
				"from another file":    func(b []byte) { copy(frame(b, 1), frame(second, 1)) },
				"header of other file": func(b []byte) { copy(b[:headerBytes], second) },
			}
			for what, change := range tests {
				b := bytes.Clone(first)
				change(b)
				store(t, mem, "x"+name, b)
				got, err := readAll(fs, "x"+name)
				if layoutOf(name) == layoutFixed && !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
				if !bytes.HasPrefix(content, got) || (err != nil && !errors.Is(err, ErrCorrupt)) {
					t.Errorf("%s: other bytes (%d), %v", what, len(got), err)
				}
			}
		})
	}
}

// In a stream a bad frame is the end when nothing behind it was written after a sync, else damage.
func TestStreamTail(t *testing.T) {
	tests := []struct {
		name   string
		pieces [][]byte
		frame  int // that is damaged
		want   string
		err    error
	}{
		{"last frame", [][]byte{[]byte("aaaa"), nil, []byte("bbbb")}, 1, "aaaa", nil},
		{"unsynced middle", [][]byte{[]byte("aaaa"), nil, []byte("bbbb"), []byte("cccc")}, 1, "aaaa", nil},
		{"synced middle", [][]byte{[]byte("aaaa"), []byte("bbbb"), nil, []byte("cccc")}, 1, "", ErrCorrupt},
		{"synced first", [][]byte{[]byte("aaaa"), nil, []byte("bbbb"), []byte("cccc")}, 0, "", ErrCorrupt},
		{"synced, far behind", [][]byte{[]byte("aaaa"), nil, []byte("bbbb"), []byte("cccc"), nil, []byte("dddd")}, 2, "", ErrCorrupt},
	}
	const size = streamHeaderBytes + 4 + tagBytes
	for _, test := range tests {
		for at := range size {
			fs, mem := newTestFS(t)
			put(t, fs, "OPTIONS", test.pieces...)
			b := raw(t, mem, "OPTIONS")
			b[headerBytes+test.frame*size+at] ^= 0x40
			store(t, mem, "OPTIONS", b)
			got, err := readAll(fs, "OPTIONS")
			if string(got) != test.want || !errors.Is(err, test.err) {
				t.Errorf("%s, byte %d: got %q, %v", test.name, at, got, err)
			}
		}
	}
}

// A tail full of things that look like frames costs a bounded number of attempts.
func TestStreamTailBounded(t *testing.T) {
	fs, mem := newTestFS(t)
	put(t, fs, "OPTIONS", []byte("aaaa"), nil)
	b := raw(t, mem, "OPTIONS")
	for range maxResyncAttempts + 2 {
		b = append(b, "QFR\x01\x01\x00\x00\x00"...)
	}
	b = append(b, make([]byte, 64)...)
	store(t, mem, "OPTIONS", b)
	if _, err := fs.Open("OPTIONS"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// After any failed write or sync a file takes nothing more, and nothing is sealed again.
func TestWriteErrorIsFinal(t *testing.T) {
	for _, name := range []string{"1.sst", "MANIFEST-000001"} {
		for fail := range 6 {
			t.Run(fmt.Sprint(name, fail), func(t *testing.T) {
				op := 0
				var failed bool
				inject := errorfs.InjectorFunc(func(o errorfs.Op) error {
					if o.Kind != errorfs.OpFileWrite && o.Kind != errorfs.OpFileSync && o.Kind != errorfs.OpFileSyncData {
						return nil
					}
					if op++; op-1 == fail {
						failed = true
						return errorfs.ErrInjected
					}
					return nil
				})
				fs := New(errorfs.Wrap(vfs.NewMem(), inject), testKey, Options{})
				f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
				must(t, err)
				watch(t, f)
				for i := range 5 {
					_, err := f.Write(text(frameBytes*2/3, uint64(i)))
					if failed != (err != nil) {
						t.Fatalf("write: failed %v, %v", failed, err)
					}
					if err := f.SyncData(); failed != (err != nil) {
						t.Fatalf("sync: failed %v, %v", failed, err)
					}
				}
				if err := f.Close(); !errors.Is(err, errorfs.ErrInjected) {
					t.Fatal(err)
				}
			})
		}
	}
}

// Syncs in the middle of a table are bounded by what a trailer can tell.
func TestTooManySyncs(t *testing.T) {
	fs, _ := newTestFS(t)
	f, err := fs.Create("1.sst", vfs.WriteCategoryUnspecified)
	must(t, err)
	for range maxRuns + 1 {
		_, err := f.Write([]byte{1})
		must(t, err)
		must(t, f.Sync())
	}
	if got := raw(t, fs, "1.sst"); len(got) != maxRuns+1 {
		t.Errorf("got %d bytes", len(got))
	}
	if _, err := f.Write([]byte{1}); !errors.Is(err, ErrTooManySyncs) {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, ErrTooManySyncs) {
		t.Error(err)
	}
}

func TestUnsupported(t *testing.T) {
	fs, mem := newTestFS(t)
	f, err := fs.Create("1.sst", vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	_, err2 := f.ReadAt(make([]byte, 1), 0)
	_, err3 := fs.OpenReadWrite("1.sst", vfs.WriteCategoryUnspecified)
	must(t, f.Close())
	r, err4 := fs.Open("1.sst")
	must(t, err4)
	_, err5 := r.Write([]byte("x"))
	for _, err := range []error{err, err2, err3, err5} {
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	if r.Fd() != vfs.InvalidFd || fs.Unwrap() != vfs.FS(mem) {
		t.Error("descriptor or base")
	}
}

// A marker file costs nothing and reads as empty; a table of no bytes is no table.
func TestEmpty(t *testing.T) {
	fs, mem := newTestFS(t)
	put(t, fs, "marker.manifest.000001.MANIFEST-000001")
	if n := len(raw(t, mem, "marker.manifest.000001.MANIFEST-000001")); n != 0 {
		t.Errorf("marker takes %d bytes", n)
	}
	if got := raw(t, fs, "marker.manifest.000001.MANIFEST-000001"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	store(t, mem, "1.sst", nil)
	if _, err := fs.Open("1.sst"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestWrongKeyAndNewerFormat(t *testing.T) {
	fs, mem := newTestFS(t)
	put(t, fs, "1.sst", []byte("hello"), nil)
	other := New(mem, [32]byte{9}, Options{})
	if _, err := other.Open("1.sst"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	b := raw(t, mem, "1.sst")
	b[4] = 2
	store(t, mem, "1.sst", b)
	if _, err := fs.Open("1.sst"); !errors.Is(err, ErrTooNew) {
		t.Error(err)
	}
}

// Reading from a table does not allocate once the buffers exist.
func TestReadAllocates(t *testing.T) {
	fs, _ := newTestFS(t)
	put(t, fs, "1.sst", text(8*frameBytes, 1), nil)
	f, err := fs.Open("1.sst")
	must(t, err)
	defer f.Close()
	p := make([]byte, 4096)
	off := int64(0)
	n := testing.AllocsPerRun(200, func() {
		if _, err := f.ReadAt(p, off%(7*frameBytes)); err != nil {
			t.Fatal(err)
		}
		off += 5000
	})
	if n > 0 {
		t.Errorf("%v allocations a read", n)
	}
}
