package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// fillKeys writes keys with values of n bytes each.
func fillKeys(t *testing.T, s *Store, from, to, n int) {
	t.Helper()
	for i := from; i < to; i++ {
		mustSet(t, s, fmt.Sprint("key", i), value(i, n))
	}
}

func value(i, n int) string { return strings.Repeat(fmt.Sprintf("%07d ", i), n/8) }

// What is deleted and overwritten comes back; what is there stays; afterwards little is dead.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	o := Options{FileBytes: 64 << 10}
	s := mustOpen(t, dir, o)
	fillKeys(t, s, 0, 200, 4<<10)
	for i := range 200 {
		switch i % 4 {
		case 0:
			if err := s.Del(ctx, fmt.Append(nil, "key", i)); err != nil {
				t.Fatal(err)
			}
		case 1:
			mustSet(t, s, fmt.Sprint("key", i), value(i+1000, 2<<10))
		}
	}
	before := diskBytes(t, dir)
	got, err := s.Compact(ctx)
	if err != nil {
		t.Fatal(err)
	}
	after := diskBytes(t, dir)
	// 100 values of 4 KiB and 50 of 2 KiB are left.
	if want := int64(100*4<<10 + 50*2<<10); after > want+want/8 {
		t.Errorf("%d bytes before, %d after, for values of %d", before, after, want)
	}
	// The headers of the files that the moved records are in are not counted.
	if n := before - after; got.Bytes < n || got.Bytes > n+n/50 || got.Files == 0 {
		t.Errorf("said to have given back %+v, it is %d", got, before-after)
	}
	check := func() {
		t.Helper()
		for i := range 200 {
			switch key := fmt.Sprint("key", i); i % 4 {
			case 0:
				_, err := s.Get(ctx, []byte(key))
				wantErr(t, err, zdb.ErrNotFound)
			case 1:
				wantGet(t, s, key, value(i+1000, 2<<10))
			default:
				wantGet(t, s, key, value(i, 4<<10))
			}
		}
		if err := checkFigures(s); err != nil {
			t.Fatal(err)
		}
	}
	check()
	// Nothing is dead any more, so a second time does nothing.
	if got, err := s.Compact(ctx); err != nil || got != (Reclaimed{}) {
		t.Errorf("a second time: %+v, %v", got, err)
	}
	for range 2 {
		s.Close()
		s = mustOpen(t, dir, o)
		check()
		s.Close()
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, o)
		check()
	}
	if r, err := verifyClosed(s, dir, nil); err != nil || r.Problems != 0 || r.LiveKeys != 150 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

func verifyClosed(s *Store, dir string, problem func(Problem)) (VerifyResult, error) {
	if err := s.Close(); err != nil {
		return VerifyResult{}, err
	}
	return Verify(ctx, dir, VerifyOptions{Problem: problem})
}

// diskBytes is what the data files take.
func diskBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.qzd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

// A delete marker lives as long as a record that it keeps out is on disk, and no longer.
func TestDeleteMarkers(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	jump := func() {
		if _, _, err := s.Jump(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mustSet(t, s, "k", "value")
	mustSet(t, s, "stays", strings.Repeat("x", 1000))
	jump()
	if err := s.Del(ctx, []byte("k")); err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "other", "value")
	mustSet(t, s, "other", "value 2") // so that the file of the marker is worth a cleaning
	jump()
	clean := func(id fileID) {
		t.Helper()
		once := true
		if _, err := s.compactAll(ctx, func() (fileID, bool) { b := once; once = false; return id, b }, false); err != nil {
			t.Fatal(err)
		}
	}
	marker := func() bool {
		t.Helper()
		e, ok, err := s.findEntry([]byte("k"))
		if err != nil || ok && !e.Deleted {
			t.Fatalf("%+v, %v", e, err)
		}
		return ok
	}
	clean(2) // the marker's file goes before the record's: the marker moves
	if !marker() {
		t.Fatal("the marker is gone before the record that it keeps out")
	}
	reopen := func() {
		t.Helper()
		s.Close()
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, Options{})
		_, err := s.Get(ctx, []byte("k"))
		wantErr(t, err, zdb.ErrNotFound)
	}
	reopen()
	clean(1)
	if marker() {
		t.Fatal("the marker outlives the record that it keeps out")
	}
	reopen()
	wantGet(t, s, "stays", strings.Repeat("x", 1000))
}

// While keys are overwritten at random by several writers and read by others, the background
// keeps the dead part of the data small, and no read is wrong.
func TestCompactUnderLoad(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{FileBytes: 256 << 10, NoSync: true})
	const keys, writers, rounds, size = 400, 4, 1500, 2 << 10
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for r := range 2 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(100+r)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := random.IntN(keys)
				got, err := s.Get(ctx, fmt.Append(nil, "key", i))
				if errors.Is(err, zdb.ErrNotFound) {
					continue
				}
				if err != nil || len(got) != size || !bytes.HasPrefix(got, fmt.Appendf(nil, "%07d ", i)) {
					t.Errorf("key %d: %.20q, %v", i, got, err)
					return
				}
			}
		})
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			for round := range rounds {
				i := random.IntN(keys/writers)*writers + w
				v := []byte(value(i, size))
				v[size-1], v[size-2], v[size-3] = byte(round), byte(round>>8), byte(w)
				if err := s.Set(ctx, fmt.Append(nil, "key", i), v); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	wg.Wait()
	if _, err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Compactions == 0 {
		t.Error("nothing was compacted")
	}
	if st.DataBytes > keys*(size+100)*5/4 {
		t.Errorf("%d data bytes for %d live ones", st.DataBytes, st.LiveBytes)
	}
	if err := checkFigures(s); err != nil {
		t.Fatal(err)
	}
}

// A file with damage in it is left alone; the others are compacted.
func TestCompactDamage(t *testing.T) {
	dir := t.TempDir()
	o := Options{FileBytes: 32 << 10}
	s := mustOpen(t, dir, o)
	fillKeys(t, s, 0, 40, 4<<10)
	s.Close()
	flip(t, filepath.Join(dir, fileName(2)), fileHeaderBytes+5)
	s = mustOpen(t, dir, o)
	for i := 0; i < 40; i += 2 {
		if err := s.Del(ctx, fmt.Append(nil, "key", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	files, err := s.files.list()
	if err != nil || !slices.Contains(files, 2) || slices.Contains(files, 1) {
		t.Fatalf("files %v, %v", files, err)
	}
	bad := 0
	for i := 1; i < 40; i += 2 {
		switch _, err := s.Get(ctx, fmt.Append(nil, "key", i)); {
		case errors.Is(err, zdb.ErrCorrupt):
			bad++
		case err != nil:
			t.Fatal(err)
		}
	}
	if bad > 1 {
		t.Fatalf("%d values are lost, one record was damaged", bad)
	}
	var problems []Problem
	r, err := verifyClosed(s, dir, func(p Problem) { problems = append(problems, p) })
	if err != nil || r.Problems != 1 || problems[0].File != 2 || problems[0].Offset != fileHeaderBytes {
		t.Fatalf("verify: %+v, %+v, %v", r, problems, err)
	}
}

// Damage of a value stays damage: it is never made good by a new checksum, and the file stays.
func TestCompactBadValue(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustSet(t, s, "bad", strings.Repeat("v", 1000))
	mustSet(t, s, "good", "1")
	mustSet(t, s, "good", "2")
	s.Close()
	flip(t, filepath.Join(dir, fileName(1)), fileHeaderBytes+recordHeaderBytes+100)
	s = mustOpen(t, dir, Options{})
	if r, err := s.Compact(ctx); err != nil || r.Files != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err := s.Get(ctx, []byte("bad"))
	wantErr(t, err, zdb.ErrCorrupt)
	wantGet(t, s, "good", "2")
	var problems []Problem
	if r, err := verifyClosed(s, dir, func(p Problem) { problems = append(problems, p) }); err != nil || r.Problems != 1 ||
		string(problems[0].Key) != "bad" || !problems[0].Live {
		t.Fatalf("verify: %+v, %+v, %v", r, problems, err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// Each change of the disk that a compaction makes fails once, with either error. Nothing is
// lost, and when the disk is good again it is done.
func TestCompactErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for nth := 1; ; nth++ {
			mem := vfs.NewMem()
			w := &watchFS{FS: mem}
			s := mustOpen(t, "/s", Options{FS: w, FileBytes: 16 << 10})
			fillKeys(t, s, 0, 20, 4<<10)
			for i := 0; i < 20; i += 2 {
				if err := s.Del(ctx, fmt.Append(nil, "key", i)); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			w.set(func(op, name string) error {
				if strings.Contains(name, "index") {
					return nil // TestIndexWriteError
				}
				if n++; n == nth {
					return errno
				}
				return nil
			})
			_, err := s.Compact(ctx)
			w.set(nil)
			hit := n >= nth
			if _, err2 := s.Compact(ctx); err2 != nil {
				t.Fatalf("%v at change %d (%v): and again: %v", errno, nth, err, err2)
			}
			for i := 1; i < 20; i += 2 {
				wantGet(t, s, fmt.Sprint("key", i), value(i, 4<<10))
			}
			if err := checkFigures(s); err != nil {
				t.Fatalf("%v at change %d (%v): %v", errno, nth, err, err)
			}
			if st := s.Stats(); st.DeadBytes > 1<<10 {
				t.Fatalf("%v at change %d (%v): %d bytes stay dead", errno, nth, err, st.DeadBytes)
			}
			s.Close()
			if !hit {
				t.Logf("%v: %d changes", errno, nth-1)
				break
			}
		}
	}
}

// Clear leaves nothing, gives the space back, and begins anew.
func TestClear(t *testing.T) {
	for _, sequential := range []bool{false, true} {
		dir := t.TempDir()
		o := Options{FileBytes: 64 << 10, Sequential: sequential}
		s := mustOpen(t, dir, o)
		for i := range 50 {
			w := &Write{Value: []byte(value(i, 4<<10))}
			if !sequential {
				w.Key = fmt.Append(nil, "key", i)
			}
			if err := s.do(ctx, w); err != nil {
				t.Fatal(err)
			}
		}
		var cursor Cursor
		if err := s.Scan(ctx, ScanOptions{}, func(i Item) bool { cursor = i.Cursor(); return false }); err != nil {
			t.Fatal(err)
		}
		if err := s.Clear(ctx); err != nil {
			t.Fatal(err)
		}
		if n := diskBytes(t, dir); n != fileHeaderBytes || s.Len() != 0 || len(scanAll(t, s, ScanOptions{})) != 0 {
			t.Fatalf("%d bytes and %d keys are left", n, s.Len())
		}
		wantErr(t, s.Scan(ctx, ScanOptions{After: cursor[:]}, func(Item) bool { return true }), zdb.ErrBadCursor)
		w := &Write{Value: []byte("first")}
		if !sequential {
			w.Key = []byte("k")
		}
		if err := s.do(ctx, w); err != nil {
			t.Fatal(err)
		}
		if sequential && !bytes.Equal(w.Key, make([]byte, idBytes)) {
			t.Fatalf("the first id is %x", w.Key)
		}
		s.Close()
		s = mustOpen(t, dir, o)
		wantGet(t, s, string(w.Key), "first")
		if s.Len() != 1 {
			t.Fatalf("%d keys after a reopen", s.Len())
		}
		s.Close()
	}
}

// Files that Clear could not remove stay void, also when the file that says so is compacted.
func TestClearLeavesFiles(t *testing.T) {
	mem := vfs.NewMem()
	w := &watchFS{FS: mem}
	o := Options{FS: w, FileBytes: 4 << 10}
	s := mustOpen(t, "/s", o)
	fillKeys(t, s, 0, 8, 2<<10)
	w.set(func(op, name string) error {
		if op == "remove" && strings.HasSuffix(name, ".qzd") {
			return syscall.EIO
		}
		return nil
	})
	if err := s.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	w.set(nil)
	mustSet(t, s, "a", "1")
	mustSet(t, s, "a", "2")
	before, _ := s.files.list()
	if _, err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = mustOpen(t, "/s", o)
	wantGet(t, s, "a", "2")
	if after, _ := s.files.list(); len(before) < 4 || s.Len() != 1 || len(after) > 2 {
		t.Fatalf("%d keys; files %v, then %v", s.Len(), before, after)
	}
}

// smallDisk is a disk of so many bytes, of which data files take their part.
type smallDisk struct {
	vfs.FS
	t         *testing.T
	sizeBytes int64
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	used := int64(0)
	ids, err := listFiles(d.FS, "/s")
	if err != nil {
		d.t.Error(err)
	}
	for _, id := range ids {
		if st, err := d.FS.Stat("/s/" + fileName(id)); err == nil {
			used += st.Size()
		}
	}
	return vfs.DiskUsage{TotalBytes: uint64(d.sizeBytes), AvailBytes: uint64(max(0, d.sizeBytes-used))}, nil
}

// On a full disk a file is passed over while there is no room for its live records, and the
// others are compacted; when they have made room, it follows.
func TestCompactFullDisk(t *testing.T) {
	disk := smallDisk{FS: vfs.NewMem(), t: t, sizeBytes: 1 << 20}
	s := mustOpen(t, "/s", Options{FS: disk, FileBytes: 256 << 10, ReserveBytes: 64 << 10})
	big, n := 50, 50
	fillKeys(t, s, 0, big, 4<<10)
	jump := func() {
		if _, _, err := s.Jump(ctx); err != nil {
			t.Fatal(err)
		}
	}
	jump()
	var err error
	for ; err == nil; n++ { // small files, until the disk is full
		if err = s.Set(ctx, fmt.Append(nil, "key", n), []byte(value(n, 4<<10))); n%4 == 0 {
			jump()
		}
	}
	n--
	wantErr(t, err, zdb.ErrNoSpace)
	// Two fifths of the big file are dead, a quarter of the small ones.
	gone := func(i int) bool { return i < big && i%5 < 2 || i >= big && i%4 == 1 }
	for i := range n {
		if gone(i) {
			if err := s.Del(ctx, fmt.Append(nil, "key", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if id, ok := s.firstVictim(func(u usage) bool { return u.deadBytes() > 0 }); !ok || id == 1 {
		t.Fatalf("the first one is %d, %v", id, ok)
	}
	if _, err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.DeadBytes > 16<<10 {
		t.Errorf("%d bytes stay dead", st.DeadBytes)
	}
	mustSet(t, s, "again", value(1, 4<<10))
	for i := range n {
		if key := fmt.Sprint("key", i); !gone(i) {
			wantGet(t, s, key, value(i, 4<<10))
		}
	}
	if err := checkFigures(s); err != nil {
		t.Fatal(err)
	}
}
