package store

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
	"pgregory.net/rapid"
)

// The store behaves as a map with an order of insertion, through reopens, lost
// indexes, power cuts and index rebuilds under way.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		o := Options{FS: mem, FileBytes: 4 << 10, MaxBytes: 20 << 10}
		s, err := Open("/s", o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		model := map[string][]byte{}
		var order []string
		live := int64(0)
		reopen := func() {
			if s, err = Open("/s", o); err != nil {
				t.Fatal(err)
			}
		}
		keys := rapid.SampledFrom([]string{"a", "b", "c", "dd", "eee", "f", "g", "h"})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := keys.Draw(t, "key"), rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "value")
				old := int64(len(model[k]))
				err := s.Set(ctx, []byte(k), v)
				if live+int64(len(v)) > o.MaxBytes+old {
					if !errors.Is(err, zdb.ErrNoSpace) {
						t.Fatalf("over the limit: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if cur, ok := model[k]; ok && bytes.Equal(cur, v) {
					return
				}
				live += int64(len(v)) - old
				model[k] = v
				order = append(slices.DeleteFunc(order, func(o string) bool { return o == k }), k)
			},
			"del": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				err := s.Del(ctx, []byte(k))
				if _, ok := model[k]; !ok {
					if !errors.Is(err, zdb.ErrNotFound) {
						t.Fatalf("del of nothing: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				live -= int64(len(model[k]))
				delete(model, k)
				order = slices.DeleteFunc(order, func(o string) bool { return o == k })
			},
			"reopen": func(t *rapid.T) { s.Close(); reopen() },
			"lose index": func(t *rapid.T) {
				s.Close()
				if err := mem.RemoveAll("/s/index"); err != nil {
					t.Fatal(err)
				}
				reopen()
			},
			"power cut": func(t *rapid.T) {
				crashed := mem.CrashClone(vfs.CrashCloneCfg{})
				s.Close()
				mem = crashed
				o.FS = mem
				reopen()
			},
			"reindex": func(t *rapid.T) {
				s.markDamaged(errIndexDamaged)
			},
			"": func(t *rapid.T) {
				for _, k := range []string{"a", "b", "c", "dd", "eee", "f", "g", "h"} {
					got, err := s.Get(ctx, []byte(k))
					want, ok := model[k]
					if ok != (err == nil) || (!ok && !errors.Is(err, zdb.ErrNotFound)) || !bytes.Equal(got, want) {
						t.Fatalf("%s: got %d bytes, %v; want %d, there %v", k, len(got), err, len(want), ok)
					}
				}
				var got []string
				if err := s.Scan(ctx, ScanOptions{}, func(i Item) bool { got = append(got, string(i.Key)); return true }); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, order) {
					t.Fatalf("order: got %v, want %v", got, order)
				}
				if sp, _ := s.Space(ctx); sp.UsedBytes != live || s.Len() != int64(len(model)) {
					t.Fatalf("got %d bytes and %d keys, want %d and %d", sp.UsedBytes, s.Len(), live, len(model))
				}
			},
		})
	})
}
