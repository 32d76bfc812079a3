package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
	"pgregory.net/rapid"
)

// model is what a store has to be: a map with an order, and the past of each key.
type model struct {
	sequential bool
	maxBytes   int64
	live       int64
	values     map[string][]byte
	order      []string
	past       map[string][][]byte // since the last Clear, oldest first; the present value is the last
	nextID     uint64
	ids        map[string]bool // all that were given
}

func newModel(sequential bool, maxBytes int64) *model {
	m := &model{sequential: sequential, maxBytes: maxBytes}
	m.clear()
	return m
}

func (m *model) clear() {
	m.live, m.nextID, m.order = 0, 0, nil
	m.values, m.past, m.ids = map[string][]byte{}, map[string][][]byte{}, map[string]bool{}
}

// set is what a write does: its error, and whether it changes anything.
func (m *model) set(key string, value []byte, newID bool) (changed bool, err error) {
	old, there := m.values[key]
	switch {
	case m.sequential && !newID && !there:
		return false, zdb.ErrUpdateOnly
	case m.live+int64(len(value)) > m.maxBytes+int64(len(old)):
		return false, zdb.ErrNoSpace
	case there && bytes.Equal(old, value):
		return false, nil
	}
	m.live += int64(len(value)) - int64(len(old))
	m.values[key] = value
	m.past[key] = append(m.past[key], value)
	m.nextID++
	if !there || !m.sequential {
		m.order = append(slices.DeleteFunc(m.order, func(o string) bool { return o == key }), key)
	}
	return true, nil
}

func (m *model) del(key string) error {
	old, there := m.values[key]
	if !there {
		return zdb.ErrNotFound
	}
	m.live -= int64(len(old))
	delete(m.values, key)
	m.order = slices.DeleteFunc(m.order, func(o string) bool { return o == key })
	return nil
}

// check compares everything that can be asked of the store.
func (m *model) check(s *Store, keys []string) error {
	for _, k := range keys {
		got, err := s.Get(ctx, []byte(k))
		want, there := m.values[k]
		if there != (err == nil) || (!there && !errors.Is(err, zdb.ErrNotFound)) || !bytes.Equal(got, want) {
			return fmt.Errorf("%q: got %d bytes, %v; want %d, there %v", k, len(got), err, len(want), there)
		}
		if there {
			if err := m.checkPast(s, k); err != nil {
				return err
			}
		}
	}
	order := m.order
	if m.sequential {
		order = slices.Clone(order)
		slices.SortFunc(order, func(a, b string) int {
			return int(binary.LittleEndian.Uint64([]byte(a))) - int(binary.LittleEndian.Uint64([]byte(b)))
		})
	}
	var got []string
	if err := s.Scan(ctx, ScanOptions{}, func(i Item) bool { got = append(got, string(i.Key)); return true }); err != nil {
		return err
	}
	if !slices.Equal(got, order) {
		return fmt.Errorf("order: got %q, want %q", got, order)
	}
	got = nil
	if err := s.Keys(ctx, nil, func(k []byte) bool { got = append(got, string(k)); return true }); err != nil {
		return err
	}
	sorted := slices.Sorted(slices.Values(order))
	if !slices.Equal(got, sorted) {
		return fmt.Errorf("keys: got %q, want %q", got, sorted)
	}
	if sp, _ := s.Space(ctx); sp.UsedBytes != m.live || s.Len() != int64(len(m.values)) {
		return fmt.Errorf("got %d bytes and %d keys, want %d and %d", sp.UsedBytes, s.Len(), m.live, len(m.values))
	}
	return checkFigures(s)
}

// checkPast wants the versions of a key to be among those it had, in that order, the present
// one first. Compaction takes the others file by file.
func (m *model) checkPast(s *Store, key string) error {
	past := m.past[key]
	var at []byte
	for i := len(past) - 1; ; i-- {
		v, err := s.History(ctx, []byte(key), at, nil)
		if at != nil && errors.Is(err, zdb.ErrBadCursor) {
			return nil // compaction in the background took it
		}
		if err != nil {
			return fmt.Errorf("version %d of %q: %w", i, key, err)
		}
		for at != nil && i >= 0 && !bytes.Equal(v.Value, past[i]) {
			i--
		}
		if i < 0 || !bytes.Equal(v.Value, past[i]) {
			return fmt.Errorf("version %d of %d of %q is %d bytes that it never had", i, len(past), key, len(v.Value))
		}
		if at = v.Older; at == nil {
			return nil
		}
	}
}

// checkFigures counts anew what the store keeps as sums.
func checkFigures(s *Store) error {
	var err error
	e := s.onCommitter(ctx, func() error { err = countFigures(s); return nil })
	return errors.Join(e, err)
}

func countFigures(s *Store) error {
	live := map[fileID]int64{}
	it, err := s.ix.db.NewIter(prefixRange(prefixKey))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		e, err := decodeEntry(it.Value())
		if err != nil {
			return err
		}
		live[e.File] += e.recordBytes(it.Key()[1:])
		if e.Deleted {
			stale, err := s.ix.db.NewIter(staleRange(it.Key()[1:], 0))
			if err != nil {
				return err
			}
			some := stale.First()
			stale.Close()
			if !some {
				return fmt.Errorf("the delete marker of %q keeps nothing out", it.Key()[1:])
			}
		}
	}
	ids, err := s.files.list()
	if err != nil {
		return err
	}
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	for _, id := range ids {
		f := s.space.files[id]
		if f.liveBytes != live[id] || f.endBytes < fileHeaderBytes+f.liveBytes {
			return fmt.Errorf("data file %d: %d bytes count, want %d; it ends at %d", id, f.liveBytes, live[id], f.endBytes)
		}
		delete(live, id)
	}
	if len(live) != 0 {
		return fmt.Errorf("entries lead to files that are gone: %v", live)
	}
	return nil
}

// The store behaves as the model does through reopens, lost indexes, power cuts, compaction,
// clearing and index rebuilds under way, in both modes.
func TestModel(t *testing.T) {
	for _, sequential := range []bool{false, true} {
		t.Run(fmt.Sprint("sequential=", sequential), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { runModel(t, sequential) })
		})
	}
}

func runModel(t *rapid.T, sequential bool) {
	mem := vfs.NewCrashableMem()
	o := Options{FS: mem, FileBytes: 4 << 10, MaxBytes: 20 << 10, Sequential: sequential}
	s, err := Open("/s", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	m := newModel(sequential, o.MaxBytes)
	reopen := func() {
		if s, err = Open("/s", o); err != nil {
			t.Fatal(err)
		}
	}
	known := []string{"a", "b", "c", "dd", "eee", "f", "g", "h"}
	if sequential {
		known = nil
		for id := range 12 {
			known = append(known, string(appendID(nil, uint64(id))))
		}
	}
	keys := rapid.SampledFrom(known)
	values := rapid.SliceOfN(rapid.Byte(), 0, 3000)
	t.Repeat(map[string]func(*rapid.T){
		"set": func(t *rapid.T) {
			k, v := keys.Draw(t, "key"), values.Draw(t, "value")
			w := &Write{Key: []byte(k), Value: v}
			got := s.do(ctx, w)
			changed, want := m.set(k, v, false)
			if !errors.Is(got, want) || want == nil && (got != nil || w.Changed != changed) {
				t.Fatalf("got %v, changed %v; want %v, %v", got, w.Changed, want, changed)
			}
		},
		"new": func(t *rapid.T) {
			if !sequential {
				t.Skip("user keys")
			}
			w := &Write{Value: values.Draw(t, "value")}
			got := s.do(ctx, w)
			if got != nil {
				if _, want := m.set("", w.Value, true); !errors.Is(got, want) {
					t.Fatal(got)
				}
				return
			}
			if m.ids[string(w.Key)] {
				t.Fatalf("id %x given twice", w.Key)
			}
			m.ids[string(w.Key)] = true
			if id := binary.LittleEndian.Uint64(w.Key); id != m.nextID {
				t.Fatalf("got id %d, want %d", id, m.nextID)
			}
			if _, err := m.set(string(w.Key), w.Value, true); err != nil {
				t.Fatalf("taken, but %v", err)
			}
		},
		"del": func(t *rapid.T) {
			k := keys.Draw(t, "key")
			if got, want := s.Del(ctx, []byte(k)), m.del(k); !errors.Is(got, want) || want == nil && got != nil {
				t.Fatalf("got %v, want %v", got, want)
			}
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
		"reindex": func(t *rapid.T) { s.markDamaged(errIndexDamaged) },
		"compact": func(t *rapid.T) {
			if _, err := s.Compact(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"jump": func(t *rapid.T) {
			if _, _, err := s.Jump(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"clear": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "really") > 0 {
				t.Skip("not now")
			}
			if err := s.Clear(ctx); err != nil {
				t.Fatal(err)
			}
			m.clear()
		},
		"": func(t *rapid.T) {
			if err := m.check(s, known); err != nil {
				t.Fatal(err)
			}
		},
	})
}
