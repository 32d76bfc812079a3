package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenID is the id of the golden store.
var goldenID = storeID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// goldenFile makes the bytes of data file 1 of the golden store of a version.
func goldenFile(version uint32) []byte {
	h := fileHeader{Store: goldenID, ID: 1, CreatedUnix: 1700000000, version: version}
	if version >= 2 {
		h.FirstSequence, h.Flags = 1, fileFloor
	}
	b := h.append(nil)
	previous := uint32(0)
	s := newSeed(goldenID, 1)
	for i, r := range []struct {
		key, value string
		del        bool
	}{{"hello", "world", false}, {"gone", "soon", false}, {"gone", "", true}, {"empty", "", false}} {
		rh := recordHeader{ValueCRC: checksum([]byte(r.value)), Delete: r.del, KeyBytes: uint8(len(r.key)),
			ValueBytes: uint32(len(r.value)), Sequence: uint64(i + 1), UnixTime: 1700000000 + int64(i), Synced: uint32(len(b))}
		if version >= 2 {
			rh.Previous, previous = previous, uint32(len(b))
		}
		b = append(rh.append(b, s, []byte(r.key)), r.value...)
	}
	return b
}

func golden(t testing.TB, version uint32) []byte {
	t.Helper()
	path := filepath.Join("testdata", fmt.Sprint("v", version), fileName(1))
	if *update {
		if _, err := os.Stat(path); err == nil {
			t.Fatalf("%s is never written again", path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, goldenFile(version), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A store of each version opens and can be written, and what we write now is the last of them.
func TestGolden(t *testing.T) {
	for version := uint32(1); version <= fileVersion; version++ {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) {
			b := golden(t, version)
			if !bytes.Equal(b, goldenFile(version)) {
				t.Fatal("the format differs from the golden file: that needs a new version")
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, fileName(1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s := mustOpen(t, dir, Options{})
				wantGet(t, s, "hello", "world")
				wantGet(t, s, "empty", "")
				_, err := s.Get(ctx, []byte("gone"))
				wantErr(t, err, zdb.ErrNotFound)
				if info, err := s.Stat(ctx, []byte("hello")); err != nil || info.UnixTime != 1700000000 {
					t.Fatalf("%+v, %v", info, err)
				}
				mustSet(t, s, "new", "value")
				wantGet(t, s, "new", "value")
				if n := s.Len(); n != 3 {
					t.Fatalf("%d entries", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			// Nothing of a later version goes into a file of an earlier one.
			if now, err := os.ReadFile(filepath.Join(dir, fileName(1))); err != nil || version < fileVersion && !bytes.Equal(now, b) {
				t.Fatalf("the file of version %d was changed, %v", version, err)
			}
			_, err := Open(dir, Options{Sequential: true})
			wantErr(t, err, zdb.ErrWrongMode)
		})
	}
}

func TestTooNew(t *testing.T) {
	b := goldenFile(fileVersion)
	b[4] = fileVersion + 1
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName(1)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{})
	wantErr(t, err, zdb.ErrTooNew)
}

func FuzzFileHeader(f *testing.F) {
	f.Add(golden(f, 1)[:fileHeaderBytes])
	f.Add(golden(f, 2)[:fileHeaderBytes])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeFileHeader(b)
		if err == nil && !bytes.Equal(h.append(nil), b[:fileHeaderBytes]) {
			t.Fatalf("not canonical: %x", b)
		}
		if err != nil && !errors.Is(err, zdb.ErrCorrupt) && !errors.Is(err, zdb.ErrTooNew) {
			t.Fatal(err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	s := newSeed(goldenID, 1)
	f.Add(golden(f, 1)[fileHeaderBytes:])
	f.Add(golden(f, 2)[fileHeaderBytes:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, key, err := decodeRecord(b, s)
		if err == nil && !bytes.Equal(h.append(nil, s, key), b[:recordHeaderBytes+len(key)]) {
			t.Fatalf("not canonical: %x", b)
		}
		if err != nil && !errors.Is(err, zdb.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// A data file of any content opens or is an error; what opens goes on.
func FuzzDataFile(f *testing.F) {
	f.Add(golden(f, 1), uint16(0), byte(0))
	f.Add(golden(f, 2), uint16(0), byte(0))
	f.Add(golden(f, 2), uint16(100), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, x byte) {
		if len(b) > 1<<16 {
			return
		}
		if len(b) > 0 {
			b[int(at)%len(b)] ^= x
		}
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/s", 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := mem.Create("/s/"+fileName(1), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(bytes.Clone(b))
		file.Close()
		s, err := Open("/s", Options{FS: mem})
		if err != nil {
			if !errors.Is(err, zdb.ErrCorrupt) && !errors.Is(err, zdb.ErrTooNew) && !errors.Is(err, zdb.ErrWrongMode) {
				t.Fatal(err)
			}
			return
		}
		defer s.Close()
		mustSet(t, s, "new", "value")
		wantGet(t, s, "new", "value")
	})
}

func FuzzIndexRecords(f *testing.F) {
	e := entry{File: 1, Offset: 64, ValueBytes: 5, ValueCRC: 9, UnixTime: 3, Sequence: 7}
	m := meta{Store: goldenID, Reached: position{File: 1, Offset: 99}, NextSequence: 3, LiveBytes: 5, Entries: 1}
	f.Add(e.append(nil))
	marker := entry{File: 1, Offset: 64, Deleted: true, UnixTime: 3, Sequence: 7}
	f.Add(marker.append(nil))
	f.Add(m.append(nil))
	f.Add(appendScanItem(nil, []byte("key"), &e))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEntry(b); err == nil && !bytes.Equal(e.append(nil), b) {
			t.Fatalf("entry not canonical: %x", b)
		}
		if key, info, err := decodeScanItem(b); err == nil {
			again := appendScanItem(nil, key, &entry{ValueBytes: uint32(info.ValueBytes), UnixTime: info.UnixTime})
			if !bytes.Equal(again, b) {
				t.Fatalf("order entry not canonical: %x", b)
			}
		}
		if m, err := decodeMeta(b); err == nil && !bytes.Equal(m.append(nil), b) {
			t.Fatalf("state not canonical: %x", b)
		}
	})
}

func FuzzCursor(f *testing.F) {
	s := &Store{id: goldenID}
	c := s.id.cursor(5, 1<<40+3, 7)
	f.Add(c[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		sequence, err := s.parseCursor(b)
		if err == nil {
			if again := s.id.cursor(int(b[0]), sequence, int(uint32(b[5])|uint32(b[6])<<8|uint32(b[7])<<16|uint32(b[8])<<24)); !bytes.Equal(again[:], b) {
				t.Fatalf("not canonical: %x", b)
			}
		} else if !errors.Is(err, zdb.ErrBadCursor) {
			t.Fatal(err)
		}
	})
}

// The time a write is given is the time it keeps.
func TestTime(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{Now: func() time.Time { return time.Unix(1234, 5) }})
	mustSet(t, s, "a", "1")
	if err := s.do(ctx, &Write{Key: []byte("b"), Value: []byte("1"), UnixTime: 77}); err != nil {
		t.Fatal(err)
	}
	a, _ := s.Stat(ctx, []byte("a"))
	b, _ := s.Stat(ctx, []byte("b"))
	if a.UnixTime != 1234 || b.UnixTime != 77 {
		t.Fatalf("%+v %+v", a, b)
	}
}
