package fs

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/fs/meta"
)

// Dirty ranges against a map of bytes.
func TestDirtyRangesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d dirtyRanges
		model := map[int64]byte{}
		next := byte(0)
		const top = 3*blockBytes + 100
		// Offsets near each other and near the borders of blocks.
		offset := rapid.Custom(func(t *rapid.T) int64 {
			base := rapid.SampledFrom([]int64{0, blockBytes, 2 * blockBytes, 3 * blockBytes}).Draw(t, "base")
			return min(max(base+rapid.Int64Range(-40, 40).Draw(t, "near"), 0), top)
		})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				off := offset.Draw(t, "off")
				n := min(rapid.Int64Range(1, 60).Draw(t, "n"), blockBytes-off%blockBytes)
				next++
				data := bytes.Repeat([]byte{next}, int(n))
				grew := d.put(off, data)
				before := len(model)
				for i := range n {
					model[off+i] = next
				}
				clear(data) // the ranges have their own copy
				if grew != int64(len(model)-before) {
					t.Fatalf("put said %d, grew by %d", grew, len(model)-before)
				}
			},
			"cut": func(t *rapid.T) {
				a, b := offset.Draw(t, "a"), offset.Draw(t, "b")
				a, b = min(a, b), max(a, b)+1
				gone := d.cut(a, b)
				before := len(model)
				maps.DeleteFunc(model, func(off int64, _ byte) bool { return off >= a && off < b })
				if gone != int64(before-len(model)) {
					t.Fatalf("cut said %d, took %d", gone, before-len(model))
				}
			},
			"overlapping": func(t *rapid.T) {
				a, b := offset.Draw(t, "a"), offset.Draw(t, "b")
				a, b = min(a, b), max(a, b)+1
				seen := 0
				for _, r := range d.overlapping(a, b) {
					if len(r.data) == 0 || r.off < a || r.end() > b {
						t.Fatalf("range [%d,%d) of [%d,%d)", r.off, r.end(), a, b)
					}
					for i, c := range r.data {
						if want, ok := model[r.off+int64(i)]; !ok || want != c {
							t.Fatalf("byte at %d is %d, want %d", r.off+int64(i), c, want)
						}
						seen++
					}
					clear(r.data) // a copy
				}
				for off := range model {
					if off >= a && off < b {
						seen--
					}
				}
				if seen != 0 {
					t.Fatalf("%d bytes too many", seen)
				}
			},
			"": func(t *rapid.T) {
				total := 0
				for i, r := range d {
					if len(r.data) == 0 || r.off/blockBytes != (r.end()-1)/blockBytes {
						t.Fatalf("range [%d,%d)", r.off, r.end())
					}
					if i > 0 && (d[i-1].end() > r.off || d[i-1].end() == r.off && r.off%blockBytes != 0) {
						t.Fatalf("ranges [%d,%d) and [%d,%d)", d[i-1].off, d[i-1].end(), r.off, r.end())
					}
					total += len(r.data)
					for j, c := range r.data {
						if model[r.off+int64(j)] != c {
							t.Fatalf("byte at %d is %d, want %d", r.off+int64(j), c, model[r.off+int64(j)])
						}
					}
				}
				if total != len(model) {
					t.Fatalf("%d bytes, want %d", total, len(model))
				}
			},
		})
	})
}

// fewChecks runs fewer checks than rapid does, unless -rapid.checks says how many.
func fewChecks(t *testing.T, n string) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(f.DefValue) })
}

// fileModel is what a file must be, and what it must be at least after a crash.
type fileModel struct {
	ino    meta.Ino
	now    []byte
	synced []byte // content at the last fsync
	clean  bool   // not changed since: now is what must be there
}

// Files through Volume's data path against byte slices, with dirty data being
// flushed all the time, m nodes faulty, local copies taken away, crashes and
// clean closes, and at the end another machine.
func TestDataPathModel(t *testing.T) {
	fewChecks(t, "10")
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		dir, err := os.MkdirTemp("", "qsfs-model")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		g := newGrid(t, 2, 1, 3)
		o := g.options(dir)
		o.MemoryBytes, o.CacheBytes, o.UploadDelay, o.LeaseTTL = 1<<20, 2<<20, 40*time.Millisecond, testLeaseTTL
		if err := Create(ctx, g.cfg, o); err != nil {
			rt.Fatal(err)
		}
		v := g.open(o)
		defer func() { crash(v) }()
		faulty := rapid.IntRange(0, 2).Draw(rt, "faulty node") // the same all along: two would be more than m
		names := []string{"a", "b"}
		files := map[string]*fileModel{}
		for _, name := range names {
			files[name] = &fileModel{ino: mkfile(t, v, name)}
			if err := v.Fsync(ctx, files[name].ino); err != nil {
				rt.Fatal(err)
			}
		}
		const top = 5 * blockBytes
		pick := func(rt *rapid.T) *fileModel { return files[rapid.SampledFrom(names).Draw(rt, "file")] }
		offset := func(rt *rapid.T, what string) int64 {
			base := rapid.SampledFrom([]int64{0, blockBytes, 2 * blockBytes, 3*blockBytes + 1000}).Draw(rt, what+" base")
			return max(base+rapid.Int64Range(-5000, 5000).Draw(rt, what), 0)
		}
		grow := func(f *fileModel, n int64) {
			if int64(len(f.now)) < n {
				f.now = append(f.now, make([]byte, n-int64(len(f.now)))...)
			}
			f.clean = false
		}
		// verify compares a file; exact is false after a crash, when what was not fsynced may be gone.
		verify := func(rt *rapid.T, name string) {
			got, err := content(v, name)
			if err != nil || !bytes.Equal(got, files[name].now) {
				at := 0
				for at < min(len(got), len(files[name].now)) && got[at] == files[name].now[at] {
					at++
				}
				rt.Fatalf("%s: %d bytes, want %d, first difference at %d: %v", name, len(got), len(files[name].now), at, err)
			}
		}
		reopened := func(rt *rapid.T) {
			for _, name := range names {
				f := files[name]
				got, err := content(v, name)
				if err != nil {
					rt.Fatalf("%s: %v", name, err)
				}
				if f.clean && !bytes.Equal(got, f.synced) {
					rt.Fatalf("%s: what was fsynced is not there: %d bytes, want %d", name, len(got), len(f.synced))
				}
				f.now, f.synced, f.clean = got, slices.Clone(got), true
			}
		}
		version := byte(0)
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				f := pick(rt)
				off := offset(rt, "off")
				n := rapid.OneOf(rapid.Int64Range(1, 5000), rapid.Int64Range(blockBytes-10, 2*blockBytes+10)).Draw(rt, "n")
				version++
				data := randomBytes(uint64(version), int(n))
				if err := v.Write(ctx, f.ino, off, data, rapid.Bool().Draw(rt, "from cache")); err != nil {
					rt.Fatal(err)
				}
				grow(f, off+n)
				copy(f.now[off:], data)
				clear(data)
			},
			"truncate": func(rt *rapid.T) {
				f := pick(rt)
				size := min(offset(rt, "size"), top)
				if _, err := v.SetAttr(f.ino, meta.Change{Mask: meta.ChangeSize, SizeBytes: uint64(size)}); err != nil {
					rt.Fatal(err)
				}
				grow(f, size)
				f.now = f.now[:size:size]
			},
			"punch": func(rt *rapid.T) {
				f := pick(rt)
				off := offset(rt, "off")
				n := rapid.Int64Range(1, 2*blockBytes).Draw(rt, "n")
				if err := v.Punch(f.ino, off, n); err != nil {
					rt.Fatal(err)
				}
				f.clean = false
				if off < int64(len(f.now)) {
					clear(f.now[off:min(off+n, int64(len(f.now)))])
				}
			},
			"grow": func(rt *rapid.T) {
				f := pick(rt)
				size := min(offset(rt, "size"), top)
				if err := v.growTo(f.ino, uint64(size)); err != nil {
					rt.Fatal(err)
				}
				grow(f, size)
			},
			"read": func(rt *rapid.T) {
				f := pick(rt)
				off := offset(rt, "off")
				b := make([]byte, rapid.IntRange(1, 2*blockBytes).Draw(rt, "n"))
				n, err := v.Read(ctx, f.ino, off, b)
				if err != nil {
					rt.Fatal(err)
				}
				want := f.now[min(off, int64(len(f.now))):min(off+int64(len(b)), int64(len(f.now)))]
				if !bytes.Equal(b[:n], want) {
					rt.Fatalf("read %d bytes at %d, want %d, or they differ", n, off, len(want))
				}
			},
			"fsync": func(rt *rapid.T) {
				f := pick(rt)
				if err := v.Fsync(ctx, f.ino); err != nil {
					rt.Fatal(err)
				}
				f.synced, f.clean = slices.Clone(f.now), true
			},
			"flush": func(rt *rapid.T) {
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						if err := v.flushDirty(time.Time{}); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			},
			"seek": func(rt *rapid.T) {
				f := pick(rt)
				off := uint64(offset(rt, "off"))
				data, err := v.seek(f.ino, off, 3)
				if err != nil {
					data = uint64(len(f.now)) // nothing but a hole from here on
				}
				for i := off; i < min(data, uint64(len(f.now))); i++ {
					if f.now[i] != 0 {
						rt.Fatalf("data at %d, SEEK_DATA from %d says %d", i, off, data)
					}
				}
			},
			"a node faulty": func(rt *rapid.T) {
				g.heal()
				kind := rapid.SampledFrom(append([]simnode.Kind{simnode.Down, simnode.Full, simnode.LostAck}, simnode.Lies...)).Draw(rt, "kind")
				if kind == simnode.Stale { // superblocks and leases of a node may be old, but then it is one node of three
					return
				}
				g.node(faulty).Inject(simnode.Fault{Kind: kind, Op: simnode.Get | simnode.Set})
			},
			"drop local": func(rt *rapid.T) {
				os.RemoveAll(filepath.Join(o.CacheDir, "shards"))
				names, _ := filepath.Glob(filepath.Join(o.CacheDir, "segments", "*"))
				for _, path := range names {
					os.Remove(path)
				}
			},
			"sync and checkpoint": func(rt *rapid.T) {
				if err := v.Sync(ctx, nil); err != nil {
					rt.Fatal(err)
				}
				if err := v.runCheckpoint(ctx, true); err != nil {
					rt.Fatal(err)
				}
				for _, f := range files {
					f.synced, f.clean = slices.Clone(f.now), true
				}
			},
			"crash": func(rt *rapid.T) {
				crash(v)
				v = g.open(o)
				reopened(rt)
			},
			"close": func(rt *rapid.T) {
				for _, f := range files {
					f.synced, f.clean = slices.Clone(f.now), true
				}
				if err := v.Close(ctx); err != nil {
					rt.Fatal(err)
				}
				v = g.open(o)
				reopened(rt)
			},
			"": func(rt *rapid.T) {
				if n := v.inodes.dirtyBytes.Load(); n < 0 || n > o.MemoryBytes/8+4*blockBytes {
					rt.Fatalf("%d dirty bytes", n)
				}
			},
		})
		for _, name := range names {
			verify(rt, name)
		}
		// What Sync has put on the nodes is what another machine gets.
		if err := v.Sync(ctx, nil); err != nil {
			rt.Fatal(err)
		}
		crash(v)
		away := filepath.Join(dir, "away")
		o = g.options(away)
		o.LeaseTTL = testLeaseTTL
		g.heal()
		if _, err := Restore(ctx, "away", g.cfg.Nodes, o, RestoreOptions{}); err != nil {
			rt.Fatal(err)
		}
		v = g.open(o)
		for _, name := range names {
			verify(rt, name)
		}
	})
}

// Nothing that is on a node or on the local disk shows a piece of a file, of a
// name, of a link's target or of an attribute.
func TestNothingReadable(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, o := testVolume(t, g, nil)
	text := func(what string, n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "%s-%c%c%c ", what, 'a'+i%26, 'g'+i*i%17, 'a'+i/26%26)
		}
		return b.String()
	}
	secrets := []string{text("contents", 200<<10), string(randomBytes(5, 100<<10)), "a-file-with-a-name.txt", "a-directory-name", text("value", 300), "user.attribute-name", "/target/of/the/link"}
	d, err := v.store.Create(meta.RootIno, secrets[3], meta.New{Mode: 0o40755})
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.store.Create(d.Ino, secrets[2], meta.New{Mode: 0o100644})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.store.Create(d.Ino, "link", meta.New{Mode: 0o120777, Target: secrets[6]}); err != nil {
		t.Fatal(err)
	}
	if err := v.store.SetXattr(f.Ino, secrets[5], []byte(secrets[4]), 0); err != nil {
		t.Fatal(err)
	}
	write(t, v, f.Ino, 0, []byte(secrets[0]+secrets[1]))
	write(t, v, f.Ino, 1<<20, []byte("contents in a small block"))
	secrets = append(secrets, "contents in a small block", "secret-password")

	// Every 8 bytes of every secret, at every offset of every file and value.
	grams := map[string]string{}
	for _, s := range secrets {
		for i := range len(s) - 7 {
			grams[s[i:i+8]] = s[:min(len(s), 20)]
		}
	}
	search := func(where string, b []byte) {
		for i := range max(len(b)-7, 0) {
			if s, ok := grams[string(b[i:i+8])]; ok {
				t.Errorf("%s shows %q of %q at %d", where, b[i:i+8], s, i)
				return
			}
		}
	}
	everywhere := func(when string) {
		t.Helper()
		searched := 0
		for url, n := range g.nodes {
			m := n.Backend().(*simnode.Memory)
			for _, key := range m.Keys() {
				value, err := m.Get(ctx, []byte(key))
				if err != nil {
					t.Fatal(err)
				}
				search(when+": a key on "+url, []byte(key))
				search(when+": a value on "+url, value)
				searched += len(value)
			}
		}
		for _, dir := range []string{o.StateDir, o.CacheDir} {
			filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return nil // removed meanwhile
				}
				b, err := os.ReadFile(path)
				if err == nil {
					search(when+": "+path, b)
					search(when+": a file name", []byte(filepath.Base(path)))
					searched += len(b)
				}
				return nil
			})
		}
		if searched < 100<<10 {
			t.Errorf("%s: only %d bytes were searched", when, searched)
		}
	}
	if err := v.Fsync(ctx, f.Ino); err != nil {
		t.Fatal(err)
	}
	everywhere("fsynced")
	if err := v.store.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.runCheckpoint(ctx, true); err != nil {
		t.Fatal(err)
	}
	everywhere("checkpointed")
	dropLocal(t, v)
	if _, err := v.Read(ctx, f.Ino, 0, make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	everywhere("read back")
	closeVolume(t, v)
	everywhere("closed")
	v, o = restored(t, g)
	closeVolume(t, v)
	everywhere("restored")
}
