package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/qsfs/qsfs/zdb"
)

var ctx = context.Background()

func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustSet(t testing.TB, s *Store, key, value string) {
	t.Helper()
	if err := s.Set(ctx, []byte(key), []byte(value)); err != nil {
		t.Fatalf("set %q: %v", key, err)
	}
}

func wantGet(t testing.TB, s *Store, key, want string) {
	t.Helper()
	got, err := s.Get(ctx, []byte(key))
	if err != nil || string(got) != want {
		t.Fatalf("get %q: got %.40q, %v; want %.40q", key, got, err, want)
	}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func cursorBytes(i Item) []byte { c := i.Cursor(); return c[:] }

func scanAll(t testing.TB, s *Store, o ScanOptions) (keys []string) {
	t.Helper()
	if err := s.Scan(ctx, o, func(i Item) bool { keys = append(keys, string(i.Key)); return true }); err != nil {
		t.Fatal(err)
	}
	return keys
}

// What is set can be read, also after a reopen; the rest is an error with its sentinel.
func TestBasics(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustSet(t, s, "a", "1")
	mustSet(t, s, "empty", "")
	mustSet(t, s, "a", "2")
	big := string(bytes.Repeat([]byte("x"), zdb.MaxValueBytes))
	mustSet(t, s, "big", big)
	mustSet(t, s, "gone", "g")
	if err := s.Del(ctx, []byte("gone")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.Del(ctx, []byte("gone")), zdb.ErrNotFound)
	wantErr(t, s.Set(ctx, nil, nil), zdb.ErrKeyEmpty)
	wantErr(t, s.Set(ctx, make([]byte, 256), nil), zdb.ErrKeyTooLarge)
	wantErr(t, s.Set(ctx, []byte("k"), make([]byte, zdb.MaxValueBytes+1)), zdb.ErrValueTooLarge)
	check := func(s *Store) {
		t.Helper()
		wantGet(t, s, "a", "2")
		wantGet(t, s, "empty", "")
		wantGet(t, s, "big", big)
		_, err := s.Get(ctx, []byte("gone"))
		wantErr(t, err, zdb.ErrNotFound)
		if got, want := s.Len(), int64(3); got != want {
			t.Fatalf("got %d entries, want %d", got, want)
		}
		sp, err := s.Space(ctx)
		if err != nil || sp.UsedBytes != 1+int64(len(big)) || sp.DiskFreeBytes == 0 || sp.Device == "" {
			t.Fatalf("space: %+v, %v", sp, err)
		}
		if diff := cmp.Diff(scanAll(t, s, ScanOptions{}), []string{"empty", "a", "big"}); diff != "" {
			t.Fatal(diff)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.Set(ctx, []byte("a"), nil), zdb.ErrClosed)
	_, err := s.Get(ctx, []byte("a"))
	wantErr(t, err, zdb.ErrClosed)
	check(mustOpen(t, dir, Options{}))
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	_, err := Open(dir, Options{})
	wantErr(t, err, zdb.ErrLocked)
	s.Close()
	mustOpen(t, dir, Options{})
}

// A value that is there already grows no file, also within one batch.
func TestIdenticalSet(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	mustSet(t, s, "k", "v")
	before := s.Stats().DataOffset
	w := &Write{Key: []byte("k"), Value: []byte("v")}
	if err := s.do(ctx, w); err != nil || w.Changed {
		t.Fatalf("changed %v, %v", w.Changed, err)
	}
	if after := s.Stats().DataOffset; after != before {
		t.Fatalf("file grew from %d to %d", before, after)
	}
	var ws []*Write
	for _, v := range []string{"x", "x", "y", "x"} {
		w := &Write{Key: []byte("k"), Value: []byte(v)}
		if err := s.Submit(ctx, w); err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	var got []bool
	for _, w := range ws {
		if err := w.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		got = append(got, w.Changed)
	}
	if diff := cmp.Diff(got, []bool{true, false, true, true}); diff != "" {
		t.Fatal(diff)
	}
}

// live + new > limit + old is refused; deletes make room; nothing else changes.
func TestLimit(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{MaxBytes: 10})
	mustSet(t, s, "a", "12345")
	mustSet(t, s, "b", "12345")
	wantErr(t, s.Set(ctx, []byte("c"), []byte("1")), zdb.ErrNoSpace)
	mustSet(t, s, "c", "")
	mustSet(t, s, "a", "54321")
	wantErr(t, s.Set(ctx, []byte("a"), []byte("123456")), zdb.ErrNoSpace)
	wantGet(t, s, "a", "54321")
	if err := s.Del(ctx, []byte("b")); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "a", "1234567890")
	s.SetLimit(0)
	mustSet(t, s, "d", "123")
}

func TestWriteOnce(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	if err := s.do(ctx, &Write{Key: []byte("a"), Value: []byte("1"), WriteOnce: true}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.do(ctx, &Write{Key: []byte("a"), Value: []byte("1"), WriteOnce: true}), zdb.ErrWorm)
	wantErr(t, s.do(ctx, &Write{Key: []byte("a"), Delete: true, WriteOnce: true}), zdb.ErrWorm)
	wantErr(t, s.do(ctx, &Write{Key: []byte("b"), Delete: true, WriteOnce: true}), zdb.ErrNotFound)
}

// Concurrent writers in small files, then everything is there after a reopen and
// after the index was lost.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	o := Options{FileBytes: 256 << 10}
	s := mustOpen(t, dir, o)
	value := func(w, i int) []byte {
		r := rand.New(rand.NewPCG(uint64(w), uint64(i)))
		b := make([]byte, r.IntN(40<<10))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		return b
	}
	const writers, each = 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				k := fmt.Appendf(nil, "%d/%d", w, i)
				if err := s.Set(ctx, k, value(w, i)); err != nil {
					t.Error(err)
				}
				if got, err := s.Get(ctx, k); err != nil || !bytes.Equal(got, value(w, i)) {
					t.Errorf("%s: %v", k, err)
				}
				if i%4 == 3 {
					if err := s.Del(ctx, fmt.Appendf(nil, "%d/%d", w, i-1)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	order := scanAll(t, s, ScanOptions{})
	for _, lose := range []bool{false, true} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if lose {
			if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
				t.Fatal(err)
			}
		}
		s = mustOpen(t, dir, o)
		if diff := cmp.Diff(scanAll(t, s, ScanOptions{}), order); diff != "" {
			t.Fatal(diff)
		}
		for w := range writers {
			for i := range each {
				got, err := s.Get(ctx, fmt.Appendf(nil, "%d/%d", w, i))
				if i%4 == 2 {
					wantErr(t, err, zdb.ErrNotFound)
				} else if err != nil || !bytes.Equal(got, value(w, i)) {
					t.Fatalf("%d/%d: %v", w, i, err)
				}
			}
		}
	}
	if files, _ := s.files.list(); len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
}

// Pages joined by cursors give every entry once, either way; a cursor outlives its entry.
func TestScan(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	var want []string
	for i := range 10 {
		k := fmt.Sprintf("k%d", i)
		mustSet(t, s, k, "v")
		want = append(want, k)
	}
	var cursors [][]byte
	s.Scan(ctx, ScanOptions{}, func(i Item) bool { cursors = append(cursors, cursorBytes(i)); return true })
	if diff := cmp.Diff(scanAll(t, s, ScanOptions{After: cursors[3]}), want[4:]); diff != "" {
		t.Fatal(diff)
	}
	if got := scanAll(t, s, ScanOptions{After: cursors[3], Reverse: true}); len(got) != 3 || got[0] != "k2" {
		t.Fatal(got)
	}
	if got := scanAll(t, s, ScanOptions{Reverse: true}); len(got) != 10 || got[0] != "k9" {
		t.Fatal(got)
	}
	s.Del(ctx, []byte("k3"))
	mustSet(t, s, "k4", "w")
	if diff := cmp.Diff(scanAll(t, s, ScanOptions{After: cursors[3]}), append(want[5:10:10], "k4")); diff != "" {
		t.Fatal(diff)
	}
	if got := scanAll(t, s, ScanOptions{After: cursors[4], Reverse: true}); len(got) != 3 {
		t.Fatal(got)
	}
	for i := range cursors[0] {
		bad := bytes.Clone(cursors[0])
		bad[i] ^= 1
		wantErr(t, s.Scan(ctx, ScanOptions{After: bad}, func(Item) bool { return true }), zdb.ErrBadCursor)
	}
	wantErr(t, s.Scan(ctx, ScanOptions{After: []byte{}}, func(Item) bool { return true }), zdb.ErrBadCursor)
	other := mustOpen(t, t.TempDir(), Options{})
	wantErr(t, other.Scan(ctx, ScanOptions{After: cursors[0]}, func(Item) bool { return true }), zdb.ErrBadCursor)
}

// A full disk refuses values, takes deletes, and works again when space is back.
func TestDiskReserve(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "/s", Options{FS: mem, ReserveBytes: 1000})
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1100, TotalBytes: 1 << 20})
	mustSet(t, s, "a", "1")
	wantErr(t, s.Set(ctx, []byte("b"), make([]byte, 200)), zdb.ErrNoSpace)
	if err := s.Del(ctx, []byte("a")); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 20})
	mustSet(t, s, "b", string(make([]byte, 200)))
}

// A write whose context ended before the disk began with it leaves no trace.
func TestCancel(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	c, cancel := context.WithCancel(ctx)
	cancel()
	wantErr(t, s.Set(c, []byte("a"), []byte("1")), context.Canceled)
	if n := s.Len(); n != 0 {
		t.Fatalf("%d entries", n)
	}
}

// A reader that gets no memory for a value is told so, and it is no fault of the disk.
func TestNoMemoryIsNoReadError(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	if err := s.Set(ctx, []byte("k"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	none := func(int) []byte { return nil }
	if _, err := s.GetInto(ctx, []byte("k"), none); !errors.Is(err, zdb.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := s.History(ctx, []byte("k"), nil, none); !errors.Is(err, zdb.ErrUnavailable) {
		t.Fatal(err)
	}
	if n := s.Stats().ReadErrors; n != 0 {
		t.Fatalf("%d read errors", n)
	}
}
