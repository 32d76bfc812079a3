package sealfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// quiet is a pebble logger that fails the test only when pebble gives up.
type quiet struct{ t testing.TB }

func (q quiet) Infof(format string, args ...any)  {}
func (q quiet) Errorf(format string, args ...any) {}
func (q quiet) Fatalf(format string, args ...any) { q.t.Fatalf("pebble: "+format, args...) }

func dbOptions(t testing.TB, fs vfs.FS) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       256 << 10,
		Logger:             quiet{t},
	}
	// Values of 1 KiB go to blob files.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 1000, MaxBlobReferenceDepth: 4}
	}
	return o
}

func openDB(t testing.TB, fs vfs.FS, dir string) *pebble.DB {
	t.Helper()
	db, err := pebble.Open(dir, dbOptions(t, fs))
	must(t, err)
	return db
}

func dbKey(i int) []byte { return fmt.Appendf(nil, "visible-key-%06d", i) }
func dbValue(i, round int) []byte {
	v := fmt.Appendf(nil, "visible-value-%06d-%d ", i, round)
	if i%10 == 0 { // large, and not compressible
		v = append(v, text(2000, uint64(i))...)
	}
	return v
}

func fill(t testing.TB, db *pebble.DB, from, to, round int) {
	t.Helper()
	for i := from; i < to; i++ {
		must(t, db.Set(dbKey(i), dbValue(i, round), pebble.NoSync))
	}
	must(t, db.Flush())
}

func checkDB(t testing.TB, db *pebble.DB, from, to, round int) {
	t.Helper()
	for i := from; i < to; i++ {
		v, closer, err := db.Get(dbKey(i))
		if err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
		if !bytes.Equal(v, dbValue(i, round)) {
			t.Fatalf("key %d: other bytes", i)
		}
		must(t, closer.Close())
	}
}

// pebble writes, flushes, compacts, checkpoints and opens again; nothing that it stores
// shows on the disk.
func TestPebble(t *testing.T) {
	dir := t.TempDir()
	fsys := New(vfs.Default, testKey, Options{})
	db := openDB(t, fsys, filepath.Join(dir, "db"))
	const n = 3000
	for round := range 3 {
		for part := range 3 {
			fill(t, db, part*n/3, (part+1)*n/3, round)
		}
	}
	must(t, db.Compact(context.Background(), []byte("a"), []byte("z"), true))
	checkDB(t, db, 0, n, 2)
	must(t, db.Checkpoint(filepath.Join(dir, "checkpoint")))
	fill(t, db, 0, n/2, 3)
	must(t, db.Close())

	db = openDB(t, fsys, filepath.Join(dir, "db"))
	checkDB(t, db, 0, n/2, 3)
	checkDB(t, db, n/2, n, 2)
	must(t, db.Close())
	db = openDB(t, fsys, filepath.Join(dir, "checkpoint"))
	checkDB(t, db, 0, n, 2)
	must(t, db.Close())

	types := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		types[filepath.Ext(path)]++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range []string{"visible", "-key-", "value-0", "pebble", "Comparer", "leveldb"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s shows %q", path, secret)
			}
		}
		if len(b) > 0 {
			if err := fsys.Verify(path); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	must(t, err)
	if types[".sst"] == 0 || types[".blob"] == 0 {
		t.Errorf("no table or no blob file was made: %v", types)
	}
}

// After a power cut at any moment all that was flushed is there, and pebble opens.
func TestPebblePowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	mem := vfs.NewCrashableMem()
	for round := range 12 {
		fsys := New(mem, testKey, Options{})
		db := openDB(t, fsys, "db")
		if round > 0 {
			checkDB(t, db, 0, 300, round-1)
		}
		fill(t, db, 0, 300, round)
		if rng.IntN(3) == 0 {
			must(t, db.Compact(context.Background(), []byte("a"), []byte("z"), false))
		}
		for i := range 50 { // not flushed: may be lost
			must(t, db.Set(dbKey(10000+i), dbValue(i, round), pebble.NoSync))
		}
		// A background flush is under way now and then when the power goes.
		var flushed <-chan struct{}
		if rng.IntN(2) == 0 {
			var err error
			flushed, err = db.AsyncFlush()
			must(t, err)
		}
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		if flushed != nil {
			<-flushed
		}
		must(t, db.Close())
		mem = after
	}
}

// grid is a fake of where the tables are after a restore.
type grid struct {
	mu      sync.Mutex
	raw     map[string][]byte
	plain   map[string]int64
	fetches map[string]int
}

func (g *grid) options(fsys **FS) Options {
	return Options{
		RemoteDir: "db",
		Remote: func(name string) (int64, bool) {
			size, ok := g.plain[name]
			return size, ok
		},
		RemoteNames: func() (names []string) {
			for name := range g.plain {
				names = append(names, name)
			}
			return names
		},
		Fetch: func(ctx context.Context, name string) error {
			g.mu.Lock()
			g.fetches[name]++
			g.mu.Unlock()
			return (*fsys).WriteRaw("db/"+name, bytes.NewReader(g.raw[name]))
		},
	}
}

// move takes a file from the disk to the grid, as OpenRaw gives it.
func (g *grid) move(t testing.TB, fsys *FS, name string) {
	t.Helper()
	info, err := fsys.Stat("db/" + name)
	must(t, err)
	f, err := fsys.OpenRaw("db/" + name)
	must(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.SizeBytes))
	must(t, err)
	must(t, f.Close())
	g.raw[name], g.plain[name] = b, info.Size()
	must(t, fsys.Remove("db/"+name))
}

// Half of the tables are on the grid: pebble opens without them and fetches each once, at first use.
func TestPebbleRemote(t *testing.T) {
	mem := vfs.NewMem()
	fsys := New(mem, testKey, Options{})
	db := openDB(t, fsys, "db")
	const n = 2000
	for part := range 10 {
		fill(t, db, part*n/10, (part+1)*n/10, 0)
	}
	must(t, db.Close())
	names, err := fsys.List("db")
	must(t, err)
	g := &grid{raw: map[string][]byte{}, plain: map[string]int64{}, fetches: map[string]int{}}
	tables := 0
	for _, name := range names {
		if layoutOf(name) == layoutFixed {
			if tables++; tables%2 == 0 {
				g.move(t, fsys, name)
			}
		}
	}
	if len(g.raw) < 5 {
		t.Fatalf("only %d of %d tables are remote", len(g.raw), tables)
	}

	fsys = New(mem, testKey, g.options(&fsys))
	listed, err := fsys.List("db")
	must(t, err)
	if len(listed) != len(names) {
		t.Errorf("listed %d, want %d", len(listed), len(names))
	}
	for name, want := range g.plain {
		if info, err := fsys.Stat("db/" + name); err != nil || info.Size() != want || info.Name() != name {
			t.Errorf("stat %s: %v %v", name, info, err)
		}
	}
	if len(g.fetches) > 0 {
		t.Errorf("fetched for Stat or List: %v", g.fetches)
	}
	db = openDB(t, fsys, "db")
	checkDB(t, db, 0, n, 0)
	must(t, db.Checkpoint("checkpoint"))
	must(t, db.Compact(context.Background(), []byte("a"), []byte("z"), false))
	checkDB(t, db, 0, n, 0)
	must(t, db.Close())
	for name, times := range g.fetches {
		if times != 1 {
			t.Errorf("%s fetched %d times", name, times)
		}
	}
	if len(g.fetches) == 0 {
		t.Error("nothing was fetched")
	}
	db = openDB(t, fsys, "checkpoint")
	checkDB(t, db, 0, n, 0)
	must(t, db.Close())
	// What the compaction made obsolete was removed, and is not seen again.
	listed, err = fsys.List("db")
	must(t, err)
	for _, name := range listed {
		if _, remote := g.plain[name]; !remote {
			continue
		}
		if _, err := mem.Stat("db/" + name); isNotExist(err) {
			t.Errorf("%s is still listed as remote", name)
		}
	}
}

func newGridFS(t testing.TB) (*FS, *vfs.MemFS, *grid) {
	t.Helper()
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("db", 0o700))
	fsys := New(mem, testKey, Options{})
	put(t, fsys, "db/1.sst", []byte("one"), nil)
	put(t, fsys, "db/2.sst", []byte("two"), nil)
	g := &grid{raw: map[string][]byte{}, plain: map[string]int64{}, fetches: map[string]int{}}
	g.move(t, fsys, "1.sst")
	g.move(t, fsys, "2.sst")
	fsys = New(mem, testKey, g.options(&fsys))
	return fsys, mem, g
}

// Many openers of one remote file share one fetch.
func TestFetchOnce(t *testing.T) {
	fsys, _, g := newGridFS(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			b, err := readAll(fsys, "db/1.sst")
			if err != nil || string(b) != "one" {
				t.Errorf("got %q %v", b, err)
			}
		})
	}
	wg.Wait()
	if g.fetches["1.sst"] != 1 || g.fetches["2.sst"] != 0 {
		t.Errorf("fetches: %v", g.fetches)
	}
}

// What a node gives is opened frame by frame before it gets a name; nothing of it stays when it is wrong.
func TestFetchDamaged(t *testing.T) {
	for what, damage := range map[string]func(b []byte) []byte{
		"flip":  func(b []byte) []byte { b[len(b)-40] ^= 1; return b },
		"cut":   func(b []byte) []byte { return b[:len(b)-1] },
		"empty": func(b []byte) []byte { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			fsys, mem, g := newGridFS(t)
			good := bytes.Clone(g.raw["1.sst"])
			g.raw["1.sst"] = damage(bytes.Clone(good))
			if _, err := fsys.Open("db/1.sst"); err == nil || !strings.Contains(err.Error(), "corrupt") {
				t.Errorf("open: %v", err)
			}
			if names, _ := mem.List("db"); len(names) != 0 {
				t.Errorf("left behind: %v", names)
			}
			g.raw["1.sst"] = good
			if b, err := readAll(fsys, "db/1.sst"); err != nil || string(b) != "one" {
				t.Errorf("second try: %q %v", b, err)
			}
		})
	}
}

func TestRemoteNames(t *testing.T) {
	fsys, mem, g := newGridFS(t)
	must(t, mem.MkdirAll("ckpt", 0o700))
	must(t, fsys.Link("db/1.sst", "ckpt/1.sst"))
	if got := string(raw(t, fsys, "ckpt/1.sst")); got != "one" {
		t.Errorf("linked: %q", got)
	}
	// A local copy can go and come back; what is removed stays away.
	must(t, fsys.Evict("db/1.sst"))
	if got := string(raw(t, fsys, "db/1.sst")); got != "one" || g.fetches["1.sst"] != 2 {
		t.Errorf("after evict: %q, %v", got, g.fetches)
	}
	must(t, fsys.Remove("db/1.sst"))
	must(t, fsys.Remove("db/2.sst"))
	for _, name := range []string{"db/1.sst", "db/2.sst", "db/3.sst", "ckpt/2.sst"} {
		if _, err := fsys.Stat(name); !isNotExist(err) {
			t.Errorf("stat %s: %v", name, err)
		}
		if _, err := fsys.Open(name); !isNotExist(err) {
			t.Errorf("open %s: %v", name, err)
		}
		if err := fsys.Remove(name); !isNotExist(err) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if names, err := fsys.List("db/"); err != nil || len(names) != 0 {
		t.Errorf("list: %v %v", names, err)
	}
	if err := fsys.WriteRaw("db/2.sst", bytes.NewReader(g.raw["2.sst"])); !isNotExist(err) {
		t.Errorf("a removed file came back: %v", err)
	}
	// A new file of an old name is the new file.
	put(t, fsys, "db/2.sst", []byte("new"), nil)
	must(t, fsys.WriteRaw("db/2.sst", bytes.NewReader(g.raw["2.sst"])))
	if got := string(raw(t, fsys, "db/2.sst")); got != "new" {
		t.Errorf("got %q", got)
	}
}

// What an interrupted fetch left is not seen and goes away.
func TestFetchLeftover(t *testing.T) {
	fsys, mem, _ := newGridFS(t)
	store(t, mem, "db/fetch.1.sst.tmp", []byte("half"))
	names, err := fsys.List("db")
	must(t, err)
	left, err := mem.List("db")
	must(t, err)
	if len(names) != 2 || len(left) != 0 {
		t.Errorf("listed %v, on disk %v", names, left)
	}
}

// Close ends a fetch that hangs.
func TestCloseEndsFetch(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("db", 0o700))
	started := make(chan struct{})
	var calls atomic.Int32
	fsys := New(mem, testKey, Options{
		RemoteDir:   "db",
		Remote:      func(string) (int64, bool) { return 1, true },
		RemoteNames: func() []string { return []string{"1.sst"} },
		Fetch: func(ctx context.Context, name string) error {
			calls.Add(1)
			close(started)
			<-ctx.Done()
			return ctx.Err()
		},
	})
	done := make(chan error)
	go func() {
		_, err := fsys.Open("db/1.sst")
		done <- err
	}()
	<-started
	must(t, fsys.Close())
	if err := <-done; err == nil {
		t.Error("opened")
	}
	if _, err := fsys.Open("db/1.sst"); err == nil || calls.Load() != 1 {
		t.Errorf("after close: %v, %d calls", err, calls.Load())
	}
}

// FileID stays when a file is linked and changes when it is written anew.
func TestFileID(t *testing.T) {
	fsys, _ := newTestFS(t)
	put(t, fsys, "1.sst", []byte("one"), nil)
	must(t, fsys.Link("1.sst", "2.sst"))
	id1, err := fsys.FileID("1.sst")
	must(t, err)
	id2, err := fsys.FileID("2.sst")
	must(t, err)
	put(t, fsys, "1.sst", []byte("one"), nil)
	id3, err := fsys.FileID("1.sst")
	must(t, err)
	if id1 != id2 || id1 == id3 || id1 == (FileID{}) {
		t.Errorf("ids %x %x %x", id1, id2, id3)
	}
	put(t, fsys, "marker.manifest.000001.MANIFEST-000001")
	if id, err := fsys.FileID("marker.manifest.000001.MANIFEST-000001"); err != nil || id != (FileID{}) {
		t.Errorf("marker: %x %v", id, err)
	}
	must(t, fsys.WriteRaw("marker.manifest.000002.MANIFEST-000001", strings.NewReader("")))
	if got := raw(t, fsys, "marker.manifest.000002.MANIFEST-000001"); len(got) != 0 {
		t.Errorf("marker: %q", got)
	}
}
