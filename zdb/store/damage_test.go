package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/zdb"
)

// fill makes a store of a few files and gives its content.
func fill(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	s := mustOpen(t, dir, Options{FileBytes: 16 << 10})
	want := map[string][]byte{}
	for i := range 60 {
		k := fmt.Sprintf("key%02d", i%40)
		v := bytes.Repeat([]byte{byte(i)}, 500+10*i)
		mustSet(t, s, k, string(v))
		want[k] = v
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// dataPaths gives the data files in order.
func dataPaths(t *testing.T, dir string) []string {
	t.Helper()
	p, err := filepath.Glob(filepath.Join(dir, "*.qzd"))
	if err != nil || len(p) < 3 {
		t.Fatalf("%v, %v", p, err)
	}
	return p
}

// rightOrError opens the store and wants each Get to be right, or an error; absent
// says whether a key may be missing or old (the index is gone, and with it the
// knowledge that there was more).
func rightOrError(t *testing.T, dir string, want map[string][]byte, absent bool) (errs int) {
	t.Helper()
	s, err := Open(dir, Options{FileBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for k, v := range want {
		got, err := s.Get(ctx, []byte(k))
		switch {
		case err == nil && bytes.Equal(got, v):
		case errors.Is(err, zdb.ErrCorrupt):
			errs++
		case absent && errors.Is(err, zdb.ErrNotFound):
			errs++
		case absent && err == nil && len(got) > 0 && bytes.Count(got, got[:1]) == len(got):
			errs++ // an older value
		default:
			t.Fatalf("%s: got %d bytes, %v", k, len(got), err)
		}
	}
	// The store goes on: new writes are kept, and writing a lost key heals it.
	for k, v := range want {
		if _, err := s.Get(ctx, []byte(k)); err != nil {
			if err := s.Set(ctx, []byte(k), v); err != nil {
				t.Fatalf("heal %s: %v", k, err)
			}
			wantGet(t, s, k, string(v))
		}
	}
	return errs
}

// One byte of a data file flips, anywhere: with the index each Get is right or
// ErrCorrupt, and at most one record is lost.
func TestFlippedByte(t *testing.T) {
	base := t.TempDir()
	want := fill(t, base)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 25 {
		dir := filepath.Join(t.TempDir(), "s")
		if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		paths := dataPaths(t, dir)
		p := paths[rng.IntN(len(paths))]
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		rebuild := i%2 == 1
		if rebuild {
			os.RemoveAll(filepath.Join(dir, "index"))
		}
		if n := rightOrError(t, dir, want, rebuild); n > 1 {
			t.Fatalf("byte %d of %s: %d keys lost", at, filepath.Base(p), n)
		}
		rightOrError(t, dir, want, rebuild)
	}
}

// A data file is cut short, is emptied or is gone.
func TestTruncatedFile(t *testing.T) {
	base := t.TempDir()
	want := fill(t, base)
	for _, which := range []string{"first", "last"} {
		for _, size := range []int64{-1, 0, 10, 64, 700, 5000} {
			t.Run(fmt.Sprintf("%s to %d", which, size), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "s")
				if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
					t.Fatal(err)
				}
				paths := dataPaths(t, dir)
				p := paths[0]
				if which == "last" {
					p = paths[len(paths)-1]
				}
				st, err := os.Stat(p)
				if err != nil {
					t.Fatal(err)
				}
				if st.Size() <= size {
					t.Skip("the file is shorter")
				}
				if size < 0 {
					err = os.Remove(p)
				} else {
					err = os.Truncate(p, size)
				}
				if err != nil {
					t.Fatal(err)
				}
				if n := rightOrError(t, dir, want, false); n == 0 {
					t.Fatal("nothing was lost?")
				}
				if n := rightOrError(t, dir, want, false); n != 0 {
					t.Fatalf("%d keys were not healed", n)
				}
			})
		}
	}
}

// All data files gone: the keys that the index knows are errors, not absent.
func TestDataGone(t *testing.T) {
	dir := t.TempDir()
	want := fill(t, dir)
	for _, p := range dataPaths(t, dir) {
		os.Remove(p)
	}
	if n := rightOrError(t, dir, want, false); n != len(want) {
		t.Fatalf("%d errors, want %d", n, len(want))
	}
}

// Whatever happens to the index, it is built anew and nothing is lost.
func TestDamagedIndex(t *testing.T) {
	base := t.TempDir()
	want := fill(t, base)
	damage := map[string]func(name string, b []byte) []byte{
		"zeroed":  func(_ string, b []byte) []byte { return make([]byte, len(b)) },
		"emptied": func(string, []byte) []byte { return nil },
		"garbage": func(_ string, b []byte) []byte { return bytes.Repeat([]byte{0xa5}, len(b)+7) },
		"no tables": func(name string, b []byte) []byte {
			if strings.HasSuffix(name, ".sst") {
				return nil
			}
			return b
		},
		"flipped tables": func(name string, b []byte) []byte {
			if strings.HasSuffix(name, ".sst") {
				for i := 5; i < len(b)/2; i += 50 {
					b[i] ^= 0x10
				}
			}
			return b
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			files, err := os.ReadDir(filepath.Join(dir, "index"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				p := filepath.Join(dir, "index", f.Name())
				b, err := os.ReadFile(p)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, do(f.Name(), b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := mustOpen(t, dir, Options{FileBytes: 16 << 10})
			// Damage inside a table shows at a read; the committer then rebuilds.
			s.Get(ctx, []byte("key00"))
			if err := s.Sync(ctx); err != nil {
				t.Fatal(err)
			}
			for k, v := range want {
				wantGet(t, s, k, string(v))
			}
		})
	}
}

// Bytes of a record inside of a value are not taken for a record behind damage.
func TestRecordInsideValue(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustSet(t, s, "k", "real")
	b, err := os.ReadFile(filepath.Join(dir, fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	inner := bytes.Clone(b[fileHeaderBytes:])
	mustSet(t, s, "k", "newer")
	// Its own bytes are of this file, so even the seed is right: only a reader of the disk can do that.
	mustSet(t, s, "v", string(inner))
	s.Close()
	os.RemoveAll(filepath.Join(dir, "index"))
	s = mustOpen(t, dir, Options{})
	wantGet(t, s, "k", "newer")
	wantGet(t, s, "v", string(inner))
}
