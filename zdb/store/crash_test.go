package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// history is what a test knows must be on disk: acknowledged values, and for each
// key what writes in flight may have made of it. nil is "not there".
type history struct {
	mu       sync.Mutex
	acked    map[string][]byte
	inFlight map[string][][]byte
}

func newHistory() *history {
	return &history{acked: map[string][]byte{}, inFlight: map[string][][]byte{}}
}

func (h *history) begin(key string, value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight[key] = append(h.inFlight[key], value)
}

// end notes the result of the only write in flight on the key. One that failed may
// still come to light after a crash, until the key is written again.
func (h *history) end(key string, value []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil && !errors.Is(err, zdb.ErrNotFound) {
		return
	}
	delete(h.inFlight, key)
	if h.acked[key] = value; value == nil {
		delete(h.acked, key)
	}
}

// with gives a copy of the history as it is while fn runs: no write begins or ends meanwhile.
func (h *history) with(fn func()) *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
	c := newHistory()
	maps.Copy(c.acked, h.acked)
	for k, v := range h.inFlight {
		c.inFlight[k] = append([][]byte(nil), v...)
	}
	return c
}

// verify wants each key to be as acknowledged, or as a write in flight makes it.
func (h *history) verify(s *Store) error {
	keys := maps.Clone(h.inFlight)
	for k := range h.acked {
		keys[k] = nil
	}
	live := int64(0)
	for k := range keys {
		got, err := s.Get(ctx, []byte(k))
		if errors.Is(err, zdb.ErrNotFound) {
			got, err = nil, nil
		} else if got == nil {
			got = []byte{}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		if got != nil {
			live++
		}
		ok := false
		for _, v := range append([][]byte{h.acked[k]}, h.inFlight[k]...) {
			ok = ok || (bytes.Equal(v, got) && (v == nil) == (got == nil))
		}
		if !ok {
			return fmt.Errorf("%s: got %d bytes, acknowledged %d", k, len(got), len(h.acked[k]))
		}
	}
	n := int64(0)
	if err := s.Scan(ctx, ScanOptions{}, func(Item) bool { n++; return true }); err != nil {
		return err
	}
	if n != live || n != s.Len() {
		return fmt.Errorf("scan has %d entries, Len %d, keys %d", n, s.Len(), live)
	}
	return nil
}

// cut is the disk as a power cut leaves it, and what must be on it.
type cut struct {
	fs   *vfs.MemFS
	hist *history
	op   string
}

// The power fails at every change of the disk, with none, some or most of what was
// not synced on disk, while keys are written, overwritten and deleted and files compacted.
// Each acknowledged write is there; each Get is right.
func TestPowerCutAtEveryWrite(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact=", compact), func(t *testing.T) { powerCuts(t, compact) })
	}
}

func powerCuts(t *testing.T, compact bool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	w := &watchFS{FS: mem}
	h := newHistory()
	var cuts []cut
	w.set(func(op, name string) error {
		for _, percent := range []int{0, 50, 90} {
			var fs *vfs.MemFS
			known := h.with(func() { fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}) })
			cuts = append(cuts, cut{fs, known, fmt.Sprintf("%s %s (%d%%)", op, name, percent)})
		}
		return nil
	})
	o := Options{FS: w, FileBytes: 60 << 10}
	work := rand.New(rand.NewPCG(seed, 2))
	for range 2 {
		s, err := Open("/s", o)
		if err != nil {
			t.Fatal(err)
		}
		for round := range 16 {
			var wg sync.WaitGroup
			for _, k := range work.Perm(10)[:1+work.IntN(4)] {
				key := fmt.Sprintf("key%d", k)
				var value []byte
				if work.IntN(5) > 0 {
					value = make([]byte, work.IntN(9000))
					for i := range value {
						value[i] = byte(work.Uint32())
					}
				}
				h.begin(key, value)
				wg.Go(func() {
					var err error
					if value == nil {
						err = s.Del(ctx, []byte(key))
					} else {
						err = s.Set(ctx, []byte(key), value)
					}
					h.end(key, value, err)
				})
			}
			if compact && round%3 == 2 {
				wg.Go(func() {
					if _, err := s.Compact(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		if err := h.verify(s); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w.set(nil)
	t.Logf("%d power cuts", len(cuts))
	for i, c := range cuts {
		checkCut(t, i, c, o)
		if i%4 == 0 { // the state after a recovery stands, also without the index
			s := mustOpen(t, "/s", Options{FS: c.fs, FileBytes: o.FileBytes})
			mustSet(t, s, "after", "x")
			c.hist = newHistory()
			for _, k := range scanAll(t, s, ScanOptions{}) {
				v, err := s.Get(ctx, []byte(k))
				if err != nil {
					t.Fatal(err)
				}
				c.hist.acked[k] = v
			}
			s.Close()
			if err := c.fs.RemoveAll("/s/index"); err != nil {
				t.Fatal(err)
			}
			c.op += ", index lost"
			checkCut(t, i, c, o)
		}
	}
}

func checkCut(t *testing.T, i int, c cut, o Options) {
	t.Helper()
	s, err := Open("/s", Options{FS: c.fs, FileBytes: o.FileBytes})
	if err != nil {
		t.Fatalf("cut %d before %s: %v", i, c.op, err)
	}
	defer s.Close()
	if err := c.hist.verify(s); err != nil {
		dump(t, c.fs, s)
		t.Fatalf("cut %d before %s: %v", i, c.op, err)
	}
	if err := checkFigures(s); err != nil {
		t.Fatalf("cut %d before %s: %v", i, c.op, err)
	}
	if n := s.Stats().Damages; n != 0 {
		t.Fatalf("cut %d before %s: %d damages reported", i, c.op, n)
	}
}

// The power fails at every change of the disk while a store is cleared: what is there
// afterwards is all of the old or nothing, and a value written since.
func TestPowerCutWhileClearing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	w := &watchFS{FS: mem}
	s := mustOpen(t, "/s", Options{FS: w, FileBytes: 1 << 10})
	old := map[string]string{}
	for i := range 8 {
		k := fmt.Sprint("old", i)
		old[k] = strings.Repeat(k, 100)
		mustSet(t, s, k, old[k])
	}
	var cuts []*vfs.MemFS
	var done []bool
	cleared := false
	w.set(func(op, name string) error {
		for _, percent := range []int{0, 50, 90} {
			cuts = append(cuts, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
			done = append(done, cleared)
		}
		return nil
	})
	if err := s.Clear(ctx); err != nil {
		t.Fatal(err)
	}
	cleared = true
	mustSet(t, s, "new", "value")
	s.Close()
	w.set(nil)
	empty, whole := 0, 0
	for i, fs := range cuts {
		for range 2 { // the second time without an index
			s := mustOpen(t, "/s", Options{FS: fs})
			keys := scanAll(t, s, ScanOptions{})
			switch {
			case len(keys) == len(old) && !done[i]:
				for k, v := range old {
					wantGet(t, s, k, v)
				}
				whole++
			case len(keys) == 1 && keys[0] == "new", len(keys) == 0:
				empty++
			default:
				t.Fatalf("cut %d, clear done %v: %q", i, done[i], keys)
			}
			if err := checkFigures(s); err != nil {
				t.Fatalf("cut %d: %v", i, err)
			}
			s.Close()
			if err := fs.RemoveAll("/s/index"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if empty == 0 || whole == 0 {
		t.Fatalf("%d empty and %d whole: no cut was where it matters", empty, whole)
	}
}

// Each change of the disk fails in turn, with either error. What was acknowledged
// stays, what was refused says why, and after a reopen all is right.
func TestWriteErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, op := range []string{"write", "sync", "create"} {
			t.Run(fmt.Sprintf("%v/%s", errno, op), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				w := &watchFS{FS: mem}
				o := Options{FS: w, FileBytes: 8 << 10}
				s := mustOpen(t, "/s", o)
				h := newHistory()
				n, failed := 0, 0
				w.set(func(o, name string) error {
					if o != op || !strings.HasSuffix(name, ".qzd") {
						return nil
					}
					if n++; n%3 == 0 {
						return errno
					}
					return nil
				})
				for i := range 60 {
					key, value := fmt.Sprintf("k%d", i%7), bytes.Repeat([]byte{byte(i)}, 900+i)
					h.begin(key, value)
					err := s.Set(ctx, []byte(key), value)
					h.end(key, value, err)
					if err != nil {
						failed++
						want := zdb.ErrDisk
						if errno == syscall.ENOSPC {
							want = zdb.ErrNoSpace
						}
						wantErr(t, err, want)
					}
				}
				if failed == 0 {
					t.Fatal("nothing failed")
				}
				w.set(nil)
				mustSet(t, s, "last", "x")
				for k, v := range h.acked { // before a crash what failed is not seen
					wantGet(t, s, k, string(v))
				}
				crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
				s2 := mustOpen(t, "/s", Options{FS: crashed})
				if err := h.verify(s2); err == nil || !strings.Contains(err.Error(), "scan has") {
					if err != nil {
						t.Fatal(err)
					}
				}
				wantGet(t, s2, "last", "x")
			})
		}
	}
}

// When the index can't be written, reads go on, writes are refused, nothing is lost.
func TestIndexWriteError(t *testing.T) {
	mem := vfs.NewMem()
	w := &watchFS{FS: mem}
	s := mustOpen(t, "/s", Options{FS: w})
	mustSet(t, s, "a", "1")
	w.set(func(op, name string) error {
		if strings.Contains(name, "index") {
			return syscall.EIO
		}
		return nil
	})
	s.ix.db.Flush()
	wantErr(t, s.Set(ctx, []byte("b"), []byte("2")), zdb.ErrDisk)
	s.Close()
	w.set(nil)
	s = mustOpen(t, "/s", Options{FS: w})
	wantGet(t, s, "a", "1")
	mustSet(t, s, "b", "2")
}

// A disk that is full for the index refuses writes at once and goes on when space is back.
func TestIndexDiskFull(t *testing.T) {
	mem := vfs.NewMem()
	w := &watchFS{FS: mem}
	s := mustOpen(t, "/s", Options{FS: w})
	mustSet(t, s, "a", "1")
	full := make(chan struct{}, 1000)
	w.set(func(op, name string) error {
		if strings.Contains(name, "index") {
			select {
			case full <- struct{}{}:
			default:
			}
			return syscall.ENOSPC
		}
		return nil
	})
	flushed := make(chan error, 1)
	go func() { flushed <- s.ix.db.Flush() }()
	<-full
	<-full // the second try: the first has been noted
	wantErr(t, s.Set(ctx, []byte("b"), []byte("2")), zdb.ErrNoSpace)
	wantGet(t, s, "a", "1")
	w.set(nil)
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	mustSet(t, s, "b", "2")
}

// dump logs what the data files hold.
func dump(t *testing.T, fs vfs.FS, s *Store) {
	ids, _ := listFiles(fs, "/s")
	for _, id := range ids {
		f, err := fs.Open("/s/" + fileName(id))
		if err != nil {
			t.Fatal(err)
		}
		st, _ := f.Stat()
		b := make([]byte, fileHeaderBytes)
		f.ReadAt(b, 0)
		h, err := decodeFileHeader(b)
		t.Logf("file %d: %d bytes, %+v, %v", id, st.Size(), h, err)
		w := walker{file: f, seed: newSeed(s.id, id), end: st.Size(), values: true}
		for off := int64(fileHeaderBytes); ; {
			r, ok := w.next(off)
			if !ok {
				break
			}
			t.Logf("  %d..%d %s seq %d delete %v bad %v synced %d", r.Offset, r.End, r.Key, r.Header.Sequence, r.Header.Delete, r.ValueBad, r.Header.Synced)
			off = r.End
		}
		f.Close()
	}
	s.Scan(ctx, ScanOptions{}, func(i Item) bool { t.Logf("scan %s %d", i.Key, i.ValueBytes); return true })
}

// A close lets no compaction of the index go on: its tables take no more, all other files do.
func TestCloseEndsIndexCompactions(t *testing.T) {
	f := newIndexFS(vfs.NewMem(), slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	under, err := f.Create("under-way", compactionCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := under.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	flushed, err := f.Create("flushed", "pebble-memtable-flush")
	if err != nil {
		t.Fatal(err)
	}
	f.endCompactions()
	_, err = under.Write([]byte("x"))
	wantErr(t, err, errEnding)
	_, err = f.Create("next", compactionCategory)
	wantErr(t, err, errEnding)
	if _, err := flushed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("manifest", vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
}

// A store that is closed while its index is compacted opens again as it was.
func TestCloseDuringIndexCompaction(t *testing.T) {
	dir := t.TempDir()
	for round := range 4 {
		s := mustOpen(t, dir, Options{NoSync: true})
		for i := range 2000 {
			mustSet(t, s, fmt.Sprint("key", (i*7919)%2000), fmt.Sprint("value", round))
			if i%250 == 249 {
				if err := s.ix.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, Options{NoSync: true})
		for i := range 2000 {
			wantGet(t, s, fmt.Sprint("key", i), fmt.Sprint("value", round))
		}
		if s.Stats().Damages != 0 || s.Len() != 2000 {
			t.Fatalf("%+v", s.Stats())
		}
		s.Close()
	}
}
