package shardcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write golden files anew")

func must(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testKey(i int) Key {
	var k Key
	binary.BigEndian.PutUint64(k.Object[:], uint64(i/4)*0x9e3779b97f4a7c15)
	k.Stripe, k.Shard = uint32(i%2), uint8(i%4)
	return k
}

// testBody is the body of a key, which never changes.
func testBody(k Key, size int) []byte {
	rng := rand.New(rand.NewPCG(binary.BigEndian.Uint64(k.Object[:]), uint64(k.Stripe)<<8|uint64(k.Shard)))
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

func openCache(t testing.TB, dir string, maxBytes int64) *Cache {
	t.Helper()
	c, err := Open(dir, maxBytes)
	must(t, err)
	return c
}

func holds(t testing.TB, c *Cache, k Key, size int) bool {
	t.Helper()
	b := make([]byte, size)
	if !c.ReadAt(k, b, 0) {
		return false
	}
	if !bytes.Equal(b, testBody(k, size)) {
		t.Fatalf("%v: other bytes", k)
	}
	return true
}

// files lists what is in the directory, with sizes in whole blocks.
func files(t testing.TB, dir string) (names []string, diskUsed int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		must(t, err)
		names = append(names, path)
		diskUsed += (info.Size() + blockBytes - 1) / blockBytes * blockBytes
		return nil
	}))
	return names, diskUsed
}

// A file of version 1 is read for ever, and is what a put writes.
func TestGolden(t *testing.T) {
	key := Key{Object: [16]byte{0x0a, 0x1b, 15: 0xff}, Stripe: 2, Shard: 3}
	golden := filepath.Join("testdata", "v1", "0a1b00000000000000000000000000ff-00000002-03.shard")
	dir := t.TempDir()
	c := openCache(t, dir, 1<<20)
	c.Put(key, []byte("hello"))
	path := filepath.Join(dir, "0a", filepath.Base(golden))
	got, err := os.ReadFile(path)
	must(t, err)
	if *update {
		must(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		must(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(got, want) || len(got) != 49 {
		t.Errorf("got %x want %x", got, want)
	}
	must(t, os.WriteFile(path, want, 0o600))
	c = openCache(t, dir, 1<<20)
	b := make([]byte, 3)
	if !c.ReadAt(key, b, 2) || string(b) != "llo" {
		t.Errorf("got %q", b)
	}
}

func TestRanges(t *testing.T) {
	c := openCache(t, t.TempDir(), 1<<20)
	k := testKey(1)
	body := testBody(k, 1000)
	c.Put(k, body)
	tests := []struct {
		off int64
		n   int
		ok  bool
	}{{0, 1000, true}, {0, 0, true}, {999, 1, true}, {1000, 0, true}, {500, 250, true}, {0, 1001, false}, {1000, 1, false}, {1001, 0, false}, {-1, 1, false}, {1 << 62, 1, false}}
	for _, test := range tests {
		b := make([]byte, test.n)
		ok := c.ReadAt(k, b, test.off)
		if ok != test.ok || (ok && !bytes.Equal(b, body[test.off:][:test.n])) {
			t.Errorf("%d at %d: %v", test.n, test.off, ok)
		}
	}
	if c.ReadAt(testKey(2), nil, 0) {
		t.Error("a hit for another key")
	}
}

// Over any history the cache gives right bytes or none, keeps within its bound, and
// has on disk what it says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		must(rt, err)
		const maxBytes = 10 * blockBytes
		c := openCache(t, dir, maxBytes)
		size := func(i int) int { return []int{0, 1, 4000, 5000, 13000, 42000}[i%6] }
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			i := rapid.IntRange(0, 15).Draw(rt, "key")
			k := testKey(i)
			switch rapid.SampledFrom([]string{"put", "put", "get", "get", "drop", "reopen", "vanish"}).Draw(rt, "op") {
			case "put":
				c.Put(k, testBody(k, size(i)))
				if holds(t, c, k, size(i)) != (size(i) < maxBytes) {
					rt.Fatal("the shard put last is not there")
				}
			case "get":
				holds(t, c, k, size(i))
			case "drop":
				c.Drop(k)
				if holds(t, c, k, size(i)) {
					rt.Fatal("dropped shard is there")
				}
			case "reopen":
				before := c.Stats()
				must(rt, c.Close())
				if holds(t, c, k, size(i)) {
					rt.Fatal("closed cache reads")
				}
				c = openCache(t, dir, maxBytes)
				if after := c.Stats(); after.UsedBytes > before.UsedBytes || after.Entries > before.Entries {
					rt.Fatalf("before %+v after %+v", before, after)
				}
			case "vanish":
				os.Remove(filepath.Join(dir, k.name()))
			}
			s := c.Stats()
			names, used := files(t, dir)
			if s.UsedBytes > maxBytes || used > s.UsedBytes || len(names) > s.Entries {
				rt.Fatalf("%+v, on disk %d files of %d bytes", s, len(names), used)
			}
		}
	})
}

// The least recently read goes first; after Open the oldest file does.
func TestEviction(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 4*blockBytes)
	for i := range 4 {
		c.Put(testKey(i), testBody(testKey(i), 100))
	}
	holds(t, c, testKey(0), 100)
	c.Put(testKey(4), testBody(testKey(4), 100)) // 1 goes
	for i, want := range []bool{true, false, true, true, true} {
		if got := holds(t, c, testKey(i), 100); got != want {
			t.Errorf("shard %d: %v", i, got)
		}
	}
	for i, age := range []int{2, 0, 9, 1, 5} { // 2 is the oldest, then 4
		at := time.Unix(int64(1e9-age), 0)
		os.Chtimes(filepath.Join(dir, testKey(i).name()), at, at)
	}
	c = openCache(t, dir, 2*blockBytes)
	for i, want := range []bool{true, false, false, true, false} {
		if got := holds(t, c, testKey(i), 100); got != want {
			t.Errorf("after open, shard %d: %v", i, got)
		}
	}
}

// Tiny shards are bounded in number too, in the index and on disk.
func TestEntriesBound(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 16<<20)
	c.maxEntries = 100
	for i := range 250 {
		c.Put(testKey(i), []byte{1})
	}
	names, _ := files(t, dir)
	if s := c.Stats(); s.Entries != 100 || len(names) != 100 || len(c.index.entries) > 102 {
		t.Errorf("%+v, %d files, %d slots", s, len(names), len(c.index.entries))
	}
	c = &Cache{dir: dir, maxBytes: 16 << 20, maxEntries: 20, index: newLRU()}
	must(t, c.scan())
	names, _ = files(t, dir)
	if s := c.Stats(); s.Entries != 20 || len(names) != 20 {
		t.Errorf("after scan: %+v, %d files", s, len(names))
	}
}

// A file that was torn, changed or swapped while we were away is a miss, and goes.
func TestDamagedFiles(t *testing.T) {
	damage := map[string]func(b []byte) []byte{
		"short":       func(b []byte) []byte { return b[:len(b)-1] },
		"long":        func(b []byte) []byte { return append(b, 0) },
		"empty":       func(b []byte) []byte { return nil },
		"header only": func(b []byte) []byte { return b[:headerBytes] },
		"zeros":       func(b []byte) []byte { clear(b); return b },
		"zero tail":   func(b []byte) []byte { clear(b[4096:]); return b },
	}
	for i := range headerBytes + 20 {
		damage[fmt.Sprintf("flip %d", i)] = func(b []byte) []byte { b[i] ^= 4; return b }
	}
	for what, change := range damage {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			k := testKey(1)
			c := openCache(t, dir, 1<<20)
			c.Put(k, testBody(k, 10000))
			path := filepath.Join(dir, k.name())
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, change(b), 0o600))
			c = openCache(t, dir, 1<<20)
			if c.ReadAt(k, make([]byte, 10), 0) {
				t.Error("hit")
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("file stays: %v", err)
			}
			c.Put(k, testBody(k, 10000))
			if !holds(t, c, k, 10000) {
				t.Error("cannot be put again")
			}
		})
	}
	t.Run("swapped", func(t *testing.T) {
		dir := t.TempDir()
		c := openCache(t, dir, 1<<20)
		c.Put(testKey(1), testBody(testKey(1), 100))
		c.Put(testKey(2), testBody(testKey(2), 100))
		must(t, os.Rename(filepath.Join(dir, testKey(1).name()), filepath.Join(dir, testKey(2).name())))
		c = openCache(t, dir, 1<<20)
		if c.ReadAt(testKey(2), make([]byte, 10), 0) {
			t.Error("hit")
		}
	})
}

// rm -rf of the whole directory in use costs misses only.
func TestDirectoryRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openCache(t, dir, 1<<20)
	for i := range 20 {
		c.Put(testKey(i), testBody(testKey(i), 5000))
	}
	must(t, os.RemoveAll(dir))
	for i := range 20 {
		if holds(t, c, testKey(i), 5000) {
			t.Errorf("shard %d is there", i)
		}
	}
	if s := c.Stats(); s.Entries != 0 || s.UsedBytes != 0 {
		t.Errorf("%+v", s)
	}
	c.Put(testKey(1), testBody(testKey(1), 5000))
	if !holds(t, c, testKey(1), 5000) {
		t.Error("no put after the directory was removed")
	}
}

// Files that are not ours stay; those that an interrupted put left go.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	k := testKey(1)
	foreign := []string{"README", "aa/notes.txt", "aa/x.shard", "zz/put-1.tmp", "aa/" + filepath.Base(k.name()) + ".bak", "aa/" + filepath.Base(k.name())}
	for _, name := range append(foreign, "aa/put-77.tmp") {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "bb", testKey(2).name()), 0o700)) // a directory with our kind of name
	c := openCache(t, dir, blockBytes)
	for i := range 10 {
		c.Put(testKey(i), testBody(testKey(i), 100))
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "aa/put-77.tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("leftover: %v", err)
	}
	if s := c.Stats(); s.Entries != 1 {
		t.Errorf("%+v", s)
	}
}

// A full disk gets space back and is tried ever less often; a success ends that.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 1<<20)
	for i := range 100 {
		c.Put(testKey(i), testBody(testKey(i), 100))
	}
	full, tries := true, 0
	c.writeFile = func(dir string, key Key, body []byte) error {
		tries++
		if full {
			return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
		}
		return writeFile(dir, key, body)
	}
	for i := range 1000 {
		c.Put(testKey(1000+i), testBody(testKey(1000+i), 100))
	}
	s := c.Stats()
	names, _ := files(t, dir)
	if tries > 7 || s.UsedBytes > 100*blockBytes*15/16 || len(names) != s.Entries || s.Skipped != 1000 {
		t.Errorf("%d tries, %+v, %d files", tries, s, len(names))
	}
	if !holds(t, c, testKey(99), 100) {
		t.Error("the newest shard went")
	}
	full = false
	for i := range maxPause + 2 {
		c.Put(testKey(3000+i), testBody(testKey(3000+i), 100))
	}
	if k := testKey(3000 + maxPause + 1); !holds(t, c, k, 100) {
		t.Error("no puts after the disk has room again")
	}
}

// A put that fails half-way leaves nothing.
func TestFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	k := testKey(1)
	must(t, os.MkdirAll(filepath.Join(dir, k.name()), 0o700)) // the rename must fail: a directory has the name
	c := openCache(t, dir, 1<<20)
	c.Put(k, []byte("x"))
	if names, _ := files(t, dir); len(names) != 0 {
		t.Errorf("left %v", names)
	}
	if c.ReadAt(k, make([]byte, 1), 0) {
		t.Error("hit")
	}
}

func TestNothingCached(t *testing.T) {
	dir := t.TempDir()
	for _, maxBytes := range []int64{0, -1, blockBytes - 1} {
		c := openCache(t, dir, maxBytes)
		c.Put(testKey(1), []byte("x"))
		if names, _ := files(t, dir); len(names) != 0 {
			t.Errorf("cached with %d bytes", maxBytes)
		}
	}
	c := openCache(t, dir, 1<<30)
	c.Put(testKey(1), make([]byte, MaxBodyBytes+1))
	if c.Stats().Entries != 0 {
		t.Error("too large a body was cached")
	}
}

// Readers, writers, droppers and a user who removes everything, all at once: right bytes or none.
func TestConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openCache(t, dir, 20*blockBytes)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for n := range 300 {
				i := rng.IntN(40)
				k, size := testKey(i), 1000+i*100
				switch rng.IntN(8) {
				case 0, 1, 2:
					c.Put(k, testBody(k, size))
				case 3:
					c.Drop(k)
				default:
					holds(t, c, k, size)
				}
				if w == 0 && n%100 == 50 {
					os.RemoveAll(dir)
				}
			}
		})
	}
	wg.Wait()
	for i := range 40 {
		holds(t, c, testKey(i), 1000+i*100) // forgets what has no file
	}
	s := c.Stats()
	names, used := files(t, dir)
	if s.UsedBytes > 20*blockBytes || len(names) != s.Entries || used != s.UsedBytes {
		t.Errorf("%+v, %d files of %d bytes", s, len(names), used)
	}
}

func FuzzHeader(f *testing.F) {
	b, err := os.ReadFile("testdata/v1/0a1b00000000000000000000000000ff-00000002-03.shard")
	must(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		key := Key{Object: [16]byte{0x0a, 0x1b, 15: 0xff}, Stripe: 2, Shard: 3}
		if err := verify(bytes.NewReader(b), int64(len(b)), key); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		b = b[:min(len(b), headerBytes)]
		h, err := decodeHeader(b)
		if err == nil && !bytes.Equal(h.append(nil), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("0a", "0a1b00000000000000000000000000ff-00000002-03.shard")
	f.Fuzz(func(t *testing.T, dir, base string) {
		if k, ok := parseName(dir, base); ok && k.name() != dir+"/"+base {
			t.Fatalf("%q %q: %s", dir, base, k.name())
		}
		if strings.Contains(base, "/") {
			if _, ok := parseName(dir, base); ok {
				t.Fatal("a path is a name")
			}
		}
	})
}

func BenchmarkReadAt(b *testing.B) {
	c := openCache(b, b.TempDir(), 256<<20)
	body := make([]byte, 512<<10)
	for i := range 100 {
		c.Put(testKey(i), body)
	}
	for _, size := range []int{4 << 10, 64 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			dst := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !c.ReadAt(testKey(i%100), dst, int64(len(body)-size)) {
					b.Fatal("miss")
				}
				i++
			}
		})
	}
}

func BenchmarkPut512K(b *testing.B) {
	c := openCache(b, b.TempDir(), 64<<20)
	body := make([]byte, 512<<10)
	b.SetBytes(int64(len(body)))
	i := 0
	for b.Loop() {
		c.Put(testKey(i), body)
		i++
	}
}
