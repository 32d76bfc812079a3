package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

func openStore(t *testing.T, sequential bool) Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{Sequential: sequential, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return Store{st}
}

func export(t *testing.T, src Source, sequential bool) ([]byte, Result) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Sequential: sequential, Namespace: "test"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Export(t.Context(), src, w, ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), r
}

func load(ctx context.Context, stream []byte, to Target, o ImportOptions) (Result, error) {
	r, err := NewReader(bytes.NewReader(stream))
	if err != nil {
		return Result{}, err
	}
	return Import(ctx, r, to, o)
}

func mustLoad(t *testing.T, stream []byte, to Target, o ImportOptions) Result {
	t.Helper()
	r, err := load(t.Context(), stream, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is all of a source: value and time by key.
func content(t *testing.T, src Source) map[string]string {
	t.Helper()
	all := make(map[string]string)
	var cursor []byte
	for {
		page, next, err := src.Page(t.Context(), cursor)
		if errors.Is(err, zdb.ErrNoMoreData) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			v, err := src.Get(t.Context(), e.Key)
			if err != nil {
				t.Fatal(err)
			}
			all[string(e.Key)] = fmt.Sprintf("%d %s", e.UnixTime, v)
		}
		cursor = next
	}
}

func put(t *testing.T, st Store, key, value string, unixTime int64) []byte {
	t.Helper()
	stored, _, err := st.Set(t.Context(), []byte(key), []byte(value), unixTime)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// Keys, values and times arrive; a second import writes nothing, an interrupted one is gone on
// from, and other values are replaced.
func TestUserKeys(t *testing.T) {
	from, to := openStore(t, false), openStore(t, false)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 { // several pages
		put(t, from, fmt.Sprint("key ", rng.IntN(2000)), strings.Repeat("v", rng.IntN(3000)), int64(1e9+i))
	}
	put(t, from, "large", strings.Repeat("x", zdb.MaxValueBytes), 1)
	put(t, from, "empty", "", 2)
	put(t, from, "\x00\xff", "binary", 3)
	stream, exported := export(t, from, false)
	want := content(t, from)
	if exported.Records != int64(len(want)) {
		t.Errorf("%d records of %d keys", exported.Records, len(want))
	}

	if _, err := load(t.Context(), stream[:len(stream)/2], to, ImportOptions{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("half a stream: %v", err)
	}
	put(t, to, "key 1", "something else", 5)
	put(t, to, "of the target", "stays", 6)
	r := mustLoad(t, stream, to, ImportOptions{})
	if r.Records != exported.Records || r.ValueBytes != exported.ValueBytes || r.Written == 0 || r.Written == r.Records {
		t.Errorf("got %+v, exported %+v", r, exported)
	}
	got := content(t, to)
	if got["of the target"] != "6 stays" {
		t.Error("a key that is not in the stream was touched")
	}
	delete(got, "of the target")
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
	if r := mustLoad(t, stream, to, ImportOptions{}); r.Written != 0 {
		t.Errorf("the second time %d values were written", r.Written)
	}
}

// A key that comes twice has its later value.
func TestLaterRecordCounts(t *testing.T) {
	to := openStore(t, false)
	s := sample{}
	for i := range 500 {
		s.records = append(s.records, Record{Key: []byte(fmt.Sprint(i % 3)), Value: []byte(fmt.Sprint(i)), UnixTime: int64(i + 1)})
	}
	mustLoad(t, s.encode(t), to, ImportOptions{})
	want := map[string]string{"0": "499 498", "1": "500 499", "2": "498 497"}
	if diff := cmp.Diff(content(t, to), want); diff != "" {
		t.Error(diff)
	}
}

// sequence makes a store with deleted ids at its beginning, in the middle and at its end, and
// with ids that overwrites have used up.
func sequence(t *testing.T) Store {
	from := openStore(t, true)
	var ids [][]byte
	for i := range 20 {
		ids = append(ids, put(t, from, "", fmt.Sprint("value ", i), int64(1e9+i)))
	}
	put(t, from, string(ids[4]), "overwritten", 2e9)
	for i := range 5 {
		ids = append(ids, put(t, from, "", fmt.Sprint("later ", i), int64(1e9+100+i)))
	}
	for _, i := range []int{0, 1, 7, 8, 9, 24, 23} {
		if err := from.Del(t.Context(), ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	return from
}

// Ids come out equal, gaps and the next id included.
func TestSameIDs(t *testing.T) {
	from, to := sequence(t), openStore(t, true)
	stream, exported := export(t, from, true)
	r := mustLoad(t, stream, to, ImportOptions{})
	if r.Records != 18 || r.Records != exported.Records || r.Written != 18 || r.Filled != 8 {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff(content(t, to), content(t, from)); diff != "" {
		t.Error(diff)
	}
	if got, want := put(t, to, "", "new", 0), put(t, from, "", "new", 0); !bytes.Equal(got, want) {
		t.Errorf("the next id is %x, want %x", got, want)
	}
	if _, err := load(t.Context(), stream, to, ImportOptions{}); !errors.Is(err, ErrOtherData) {
		t.Errorf("over a target with more in it: %v", err)
	}
}

// failing is a target that fails at its nth write.
type failing struct {
	Target
	left int
	err  error
}

func (f *failing) fails() bool { f.left--; return f.left < 0 }

func (f *failing) Set(ctx context.Context, key, value []byte, unixTime int64) ([]byte, bool, error) {
	if f.fails() {
		return nil, false, f.err
	}
	return f.Target.Set(ctx, key, value, unixTime)
}

func (f *failing) Del(ctx context.Context, key []byte) error {
	if f.fails() {
		return f.err
	}
	return f.Target.Del(ctx, key)
}

// Wherever an import of ids is interrupted, the next one ends it.
func TestSameIDsInterrupted(t *testing.T) {
	from := sequence(t)
	stream, _ := export(t, from, true)
	want := content(t, from)
	broken := errors.New("broken")
	for n := range 100 {
		to := openStore(t, true)
		_, err := load(t.Context(), stream, &failing{to, n, broken}, ImportOptions{})
		if err == nil {
			if n < 30 {
				t.Fatalf("only %d writes", n)
			}
			return
		}
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
		mustLoad(t, stream, to, ImportOptions{})
		if diff := cmp.Diff(content(t, to), want); diff != "" {
			t.Fatalf("after %d writes: %s", n, diff)
		}
		if r := mustLoad(t, stream, to, ImportOptions{}); r.Written != 0 || r.Filled != 0 {
			t.Fatalf("the third time: %+v", r)
		}
		if got, _ := to.NextID(t.Context()); got != 26 {
			t.Fatalf("next id %d", got)
		}
	}
}

// A target with other data is refused, and is as it was.
func TestSameIDsRefused(t *testing.T) {
	from := sequence(t)
	stream, _ := export(t, from, true)
	for name, prepare := range map[string]func(to Store){
		"another value": func(to Store) {
			mustLoad(t, stream, to, ImportOptions{})
			put(t, to, string(idKey(5)), "another", 0)
		},
		"a value in a gap": func(to Store) {
			put(t, to, "", "there is none", 0)
			put(t, to, "", "", 0)
		},
		"an empty value in a gap, not the last": func(to Store) {
			put(t, to, "", "", 0)
			put(t, to, "", "", 0)
		},
		"an id without a value": func(to Store) {
			mustLoad(t, stream, to, ImportOptions{})
			if err := to.Del(t.Context(), idKey(5)); err != nil {
				t.Fatal(err)
			}
		},
		"more behind": func(to Store) {
			mustLoad(t, stream, to, ImportOptions{})
			put(t, to, "", "more", 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := openStore(t, true)
			prepare(to)
			before := content(t, to)
			if _, err := load(t.Context(), stream, to, ImportOptions{}); !errors.Is(err, ErrOtherData) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(content(t, to), before); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// busy is a target in which somebody else writes.
type busy struct{ Store }

func (b busy) Set(ctx context.Context, key, value []byte, unixTime int64) ([]byte, bool, error) {
	if string(value) == "value 10" {
		if _, _, err := b.Store.Set(ctx, nil, []byte("in between"), 0); err != nil {
			return nil, false, err
		}
	}
	return b.Store.Set(ctx, key, value, unixTime)
}

func TestSameIDsNotAlone(t *testing.T) {
	stream, _ := export(t, sequence(t), true)
	to := openStore(t, true)
	if _, err := load(t.Context(), stream, busy{to}, ImportOptions{}); !errors.Is(err, ErrOtherData) || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("got %v", err)
	}
	for key, v := range content(t, to) {
		if strings.HasSuffix(v, "value 10") {
			t.Errorf("the value stays under id %x", key)
		}
	}
}

// With new ids the values go behind those that are there, and each id is told.
func TestNewIDs(t *testing.T) {
	from, to := sequence(t), openStore(t, true)
	put(t, to, "", "was there", 7)
	stream, _ := export(t, from, true)
	became := make(map[string]string)
	r := mustLoad(t, stream, to, ImportOptions{NewIDs: func(was, is uint64) error {
		became[string(idKey(is))] = string(idKey(was))
		return nil
	}})
	if r.Records != 18 || r.Written != 18 || r.Filled != 0 || len(became) != 18 {
		t.Errorf("got %+v, %d ids", r, len(became))
	}
	source, got := content(t, from), content(t, to)
	want := map[string]string{string(idKey(0)): "7 was there"}
	for is, was := range became {
		want[is] = source[was]
	}
	if !maps.Equal(got, want) {
		t.Error(cmp.Diff(got, want))
	}
}

// rotten is a source with values that can't be read or are gone.
type rotten struct{ Store }

func (r rotten) Get(ctx context.Context, key []byte) ([]byte, error) {
	switch string(key) {
	case "bad":
		return nil, fmt.Errorf("checksum: %w", zdb.ErrCorrupt)
	case "gone":
		return nil, zdb.ErrNotFound
	}
	return r.Store.Get(ctx, key)
}

// A damaged value ends an export, or is left out and told of.
func TestDamagedValue(t *testing.T) {
	from := rotten{openStore(t, false)}
	for _, key := range []string{"a", "bad", "gone", "z"} {
		put(t, from.Store, key, "value", 0)
	}
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), from, w, ExportOptions{}); !errors.Is(err, zdb.ErrCorrupt) || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("got %v", err)
	}
	if _, err := decode(b.Bytes()); !errors.Is(err, ErrDamaged) {
		t.Errorf("the stream of an export that failed: %v", err)
	}
	b.Reset()
	if w, err = NewWriter(&b, Header{}); err != nil {
		t.Fatal(err)
	}
	var told []string
	r, err := Export(t.Context(), from, w, ExportOptions{Damaged: func(key []byte, _ error) { told = append(told, string(key)) }})
	if err != nil || r.Records != 2 || r.Skipped != 1 || len(told) != 1 || told[0] != "bad" {
		t.Errorf("got %+v, %q, %v", r, told, err)
	}
	if s, err := decode(b.Bytes()); err != nil || len(s.records) != 2 {
		t.Errorf("%d records, %v", len(s.records), err)
	}
}

// An end of the context ends both, and what was written is no whole stream.
func TestInterrupted(t *testing.T) {
	from := openStore(t, false)
	for i := range 2000 {
		put(t, from, fmt.Sprint(i), "value", 0)
	}
	stream, _ := export(t, from, false)
	for name, do := range map[string]func(ctx context.Context, cancel context.CancelFunc) error{
		"export": func(ctx context.Context, cancel context.CancelFunc) error {
			var b bytes.Buffer
			w, err := NewWriter(&b, Header{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = Export(ctx, from, w, ExportOptions{Progress: func(n, _ int64) {
				if n == 1000 {
					cancel()
				}
			}})
			if _, damaged := decode(b.Bytes()); !errors.Is(damaged, ErrDamaged) {
				t.Errorf("the stream: %v", damaged)
			}
			return err
		},
		"import": func(ctx context.Context, cancel context.CancelFunc) error {
			_, err := load(ctx, stream, openStore(t, false), ImportOptions{Progress: func(n, _ int64) {
				if n == 1000 {
					cancel()
				}
			}})
			return err
		},
		"verify": func(ctx context.Context, cancel context.CancelFunc) error {
			_, _, err := Verify(ctx, bytes.NewReader(stream), func(n, _ int64) {
				if n == 1000 {
					cancel()
				}
			})
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if err := do(ctx, cancel); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
		cancel()
	}
	if h, r, err := Verify(t.Context(), bytes.NewReader(stream), nil); err != nil || r.Records != 2000 || h.Namespace != "test" {
		t.Errorf("got %+v %+v, %v", h, r, err)
	}
}
