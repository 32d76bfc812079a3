package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/store"
)

// engine is what the embedded store and a client of a server have in common. In
// sequential mode keys are ids of 8 bytes, and Set changes what is there.
type engine interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Set(ctx context.Context, key, value []byte, at time.Time) error
	Add(ctx context.Context, value []byte) (key []byte, err error) // in sequential mode
	Del(ctx context.Context, key []byte) error
	Exists(ctx context.Context, key []byte) (bool, error)
	Check(ctx context.Context, key []byte) error
	Length(ctx context.Context, key []byte) (int, error)
	Time(ctx context.Context, key []byte) (time.Time, error)
	Len(ctx context.Context) (int64, error)

	Page(ctx context.Context, cursor []byte, reverse bool) ([]client.Entry, []byte, error)
	Cursor(ctx context.Context, key []byte) ([]byte, error)
	Version(ctx context.Context, key, at []byte) (client.Version, error)
	Keys(ctx context.Context, prefix []byte) ([][]byte, error)

	// What an administrator does.

	Limit(ctx context.Context, bytes int64) error
	WriteOnce(ctx context.Context) error
	Jump(ctx context.Context) error
	Clear(ctx context.Context) error
}

// embedded is a store in this process.
type embedded struct {
	*store.Store
	writeOnce bool
}

func (e *embedded) write(ctx context.Context, w *store.Write) error {
	w.WriteOnce = e.writeOnce
	if err := e.Submit(ctx, w); err != nil {
		return err
	}
	return w.Wait(ctx)
}

func (e *embedded) Set(ctx context.Context, key, value []byte, at time.Time) error {
	w := &store.Write{Key: key, Value: value}
	if !at.IsZero() {
		w.UnixTime = at.Unix()
	}
	return e.write(ctx, w)
}

func (e *embedded) Add(ctx context.Context, value []byte) ([]byte, error) {
	w := &store.Write{Value: value}
	err := e.write(ctx, w)
	return w.Key, err
}

func (e *embedded) Del(ctx context.Context, key []byte) error {
	return e.write(ctx, &store.Write{Key: key, Delete: true})
}

func (e *embedded) Time(ctx context.Context, key []byte) (time.Time, error) {
	info, err := e.Stat(ctx, key)
	return time.Unix(info.UnixTime, 0), err
}

func (e *embedded) Len(context.Context) (int64, error) { return e.Store.Len(), nil }

func (e *embedded) Page(ctx context.Context, cursor []byte, reverse bool) (page []client.Entry, next []byte, err error) {
	var last store.Item
	err = e.Scan(ctx, store.ScanOptions{After: cursor, Reverse: reverse}, func(i store.Item) bool {
		page = append(page, client.Entry{Key: bytes.Clone(i.Key), SizeBytes: i.ValueBytes, Time: time.Unix(i.UnixTime, 0)})
		last = i
		return len(page) < 100
	})
	if err != nil {
		return nil, nil, err
	}
	if len(page) == 0 {
		return nil, nil, zdb.ErrNoMoreData
	}
	at := last.Cursor()
	return page, at[:], nil
}

func (e *embedded) Cursor(ctx context.Context, key []byte) ([]byte, error) {
	c, err := e.KeyCursor(ctx, key)
	return c[:], err
}

func (e *embedded) Version(ctx context.Context, key, at []byte) (client.Version, error) {
	v, err := e.History(ctx, key, at, nil)
	return client.Version{Value: v.Value, Time: time.Unix(v.UnixTime, 0), Older: v.Older}, err
}

func (e *embedded) Keys(ctx context.Context, prefix []byte) (keys [][]byte, err error) {
	err = e.Store.Keys(ctx, prefix, func(key []byte) bool {
		keys = append(keys, bytes.Clone(key))
		return true
	})
	return keys, err
}

func (e *embedded) Limit(_ context.Context, bytes int64) error { e.SetLimit(bytes); return nil }
func (e *embedded) WriteOnce(context.Context) error            { e.writeOnce = true; return nil }
func (e *embedded) Jump(ctx context.Context) error {
	_, _, err := e.Store.Jump(ctx)
	return err
}

// remote is a namespace in user-key mode of a server.
type remote struct {
	*client.Client
	namespace string
}

func (r *remote) Set(ctx context.Context, key, value []byte, at time.Time) error {
	return r.SetAt(ctx, key, value, at)
}

func (r *remote) Add(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("not in this mode")
}

func (r *remote) Time(ctx context.Context, key []byte) (time.Time, error) { return r.KeyTime(ctx, key) }
func (r *remote) Len(ctx context.Context) (int64, error)                  { return r.DBSize(ctx) }

func (r *remote) Page(ctx context.Context, cursor []byte, reverse bool) ([]client.Entry, []byte, error) {
	if reverse {
		return r.RScanPage(ctx, cursor)
	}
	return r.ScanPage(ctx, cursor)
}

func (r *remote) Cursor(ctx context.Context, key []byte) ([]byte, error) {
	return r.KeyCursor(ctx, key)
}

func (r *remote) Version(ctx context.Context, key, at []byte) (client.Version, error) {
	return r.HistoryAt(ctx, key, at)
}

func (r *remote) Keys(ctx context.Context, prefix []byte) ([][]byte, error) {
	keys, _, err := r.KScan(ctx, prefix)
	return keys, err
}

func (r *remote) Limit(ctx context.Context, bytes int64) error {
	return r.NSSet(ctx, r.namespace, client.PropertyMaxSize, decimal(bytes))
}

func (r *remote) WriteOnce(ctx context.Context) error {
	return r.NSSet(ctx, r.namespace, client.PropertyWorm, "1")
}

func (r *remote) Jump(ctx context.Context) error  { return r.NSJump(ctx) }
func (r *remote) Clear(ctx context.Context) error { return r.Flush(ctx) }

// numbered is a namespace in sequential mode of a server.
type numbered struct {
	*client.Sequential
	namespace string
}

// number is the id that a key stands for. One of another length is no id that was given.
func number(key []byte) uint64 {
	if len(key) != 8 {
		return 1<<64 - 1
	}
	return binary.LittleEndian.Uint64(key)
}

func (r *numbered) Get(ctx context.Context, key []byte) ([]byte, error) {
	return r.Sequential.Get(ctx, number(key))
}

func (r *numbered) Set(ctx context.Context, key, value []byte, at time.Time) error {
	return r.UpdateAt(ctx, number(key), value, at)
}

func (r *numbered) Add(ctx context.Context, value []byte) ([]byte, error) {
	id, err := r.Append(ctx, value)
	return binary.LittleEndian.AppendUint64(nil, id), err
}

func (r *numbered) Del(ctx context.Context, key []byte) error {
	return r.Sequential.Del(ctx, number(key))
}

func (r *numbered) Exists(ctx context.Context, key []byte) (bool, error) {
	return r.Sequential.Exists(ctx, number(key))
}

func (r *numbered) Check(ctx context.Context, key []byte) error {
	return r.Sequential.Check(ctx, number(key))
}

func (r *numbered) Length(ctx context.Context, key []byte) (int, error) {
	return r.Sequential.Length(ctx, number(key))
}

func (r *numbered) Time(ctx context.Context, key []byte) (time.Time, error) {
	return r.KeyTime(ctx, number(key))
}

func (r *numbered) Len(ctx context.Context) (int64, error) { return r.DBSize(ctx) }

// Page is the whole rest of a walk: ids come without cursors.
func (r *numbered) Page(ctx context.Context, cursor []byte, reverse bool) (page []client.Entry, next []byte, err error) {
	walk := r.ScanFrom(ctx, cursor)
	if reverse {
		walk = r.RScanFrom(ctx, cursor)
	}
	for e, err := range walk {
		if err != nil {
			return nil, nil, err
		}
		page = append(page, client.Entry{Key: binary.LittleEndian.AppendUint64(nil, e.ID), SizeBytes: e.SizeBytes, Time: e.Time})
	}
	if len(page) == 0 {
		return nil, nil, zdb.ErrNoMoreData
	}
	next, err = r.Cursor(ctx, page[len(page)-1].Key)
	return page, next, err
}

func (r *numbered) Cursor(ctx context.Context, key []byte) ([]byte, error) {
	return r.KeyCursor(ctx, number(key))
}

func (r *numbered) Version(ctx context.Context, key, at []byte) (client.Version, error) {
	return r.HistoryAt(ctx, number(key), at)
}

func (r *numbered) Keys(context.Context, []byte) ([][]byte, error) { return nil, zdb.ErrWrongMode }

func (r *numbered) Limit(ctx context.Context, bytes int64) error {
	return r.NSSet(ctx, r.namespace, client.PropertyMaxSize, decimal(bytes))
}

func (r *numbered) WriteOnce(ctx context.Context) error {
	return r.NSSet(ctx, r.namespace, client.PropertyWorm, "1")
}

func (r *numbered) Jump(ctx context.Context) error  { return r.NSJump(ctx) }
func (r *numbered) Clear(ctx context.Context) error { return r.Flush(ctx) }

// engines is a kind of engine: it gives a new, empty one each time.
type engines struct {
	original bool
	open     func(t *testing.T, sequential bool) engine
}

// TestStore runs the same over the embedded store and over clients of servers.
func TestStore(t *testing.T) {
	run := func(t *testing.T, e engines) {
		for _, test := range []struct {
			name string
			test func(*testing.T, engines)
		}{
			{"values", testValues}, {"absent", testAbsent}, {"scan", testScan}, {"many", testMany}, {"history", testHistory},
			{"limit", testLimit}, {"write-once", testWriteOnce}, {"keys", testKeys}, {"clear", testClear},
			{"ids", testIDs}, {"ids in order", testIDOrder}, {"history of ids", testIDHistory}, {"ids, cleared", testIDClear},
		} {
			t.Run(test.name, func(t *testing.T) { test.test(t, e) })
		}
	}
	t.Run("embedded", func(t *testing.T) {
		run(t, engines{open: func(t *testing.T, sequential bool) engine {
			s, err := store.Open(t.TempDir(), store.Options{NoSync: true, Sequential: sequential})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return &embedded{Store: s}
		}})
	})
	overAllClients(t, func(t *testing.T, k kind) {
		p := k.start(t, config{Admin: true})
		made := 0
		run(t, engines{original: k.original, open: func(t *testing.T, sequential bool) engine {
			made++
			target := p.admin(fmt.Sprint("store", made))
			target.Password = "secret" // FLUSH wants one
			o := client.Options{CreateNamespace: true, AllowPlainPassword: true}
			if sequential {
				return &numbered{openSequential(t, target, o), target.Namespace}
			}
			return &remote{open(t, target, o), target.Namespace}
		}})
	})
}

// must fails the test when what can only go well does not.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want compares an error with a sentinel; nil wants none.
func want(t *testing.T, got error, sentinel error) {
	t.Helper()
	if !errors.Is(got, sentinel) || sentinel == nil && got != nil {
		t.Errorf("got error %v, want %v", got, sentinel)
	}
}

var now time.Time // the zero time: the engine's own

func testValues(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	for name, value := range map[string][]byte{
		"small": []byte("world"), "empty": {}, "binary": []byte("a\r\n\x00$5\r\n"),
		"shard":   bytes.Repeat([]byte("0123456789abcdef"), 32<<10),
		"largest": bytes.Repeat([]byte{0, 255}, zdb.MaxValueBytes/2),
	} {
		key := []byte(name + "\x00\r\n\xff")
		must(t, s.Set(ctx, key, value, now))
		must(t, s.Set(ctx, key, value, now)) // the same again
		got, err := s.Get(ctx, key)
		if err != nil || got == nil || !bytes.Equal(got, value) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		if n, err := s.Length(ctx, key); err != nil || n != len(value) {
			t.Errorf("%s: length %d, %v", name, n, err)
		}
		if at, err := s.Time(ctx, key); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("%s: time %v, %v", name, at, err)
		}
		if yes, err := s.Exists(ctx, key); err != nil || !yes {
			t.Errorf("%s: exists %v, %v", name, yes, err)
		}
		must(t, s.Check(ctx, key))
		must(t, s.Set(ctx, key, []byte("changed"), now))
		if got, err := s.Get(ctx, key); err != nil || string(got) != "changed" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	long := []byte(longest)
	must(t, s.Set(ctx, long, []byte("v"), time.Unix(1234567890, 0)))
	if got, err := s.Get(ctx, long); err != nil || string(got) != "v" {
		t.Errorf("longest key: got %q, %v", got, err)
	}
	if at, err := s.Time(ctx, long); err != nil || at.Unix() != 1234567890 {
		t.Errorf("time: got %v, %v", at, err)
	}
	if n, err := s.Len(ctx); err != nil || n != 6 {
		t.Errorf("keys: got %d, %v", n, err)
	}
	must(t, s.Del(ctx, long))
	if n, err := s.Len(ctx); err != nil || n != 5 {
		t.Errorf("keys: got %d, %v", n, err)
	}
	want(t, s.Set(ctx, []byte(tooLong), nil, now), zdb.ErrKeyTooLarge)
	want(t, s.Set(ctx, nil, nil, now), zdb.ErrKeyEmpty)
	want(t, s.Set(ctx, []byte("k"), make([]byte, zdb.MaxValueBytes+1), now), zdb.ErrValueTooLarge)
}

func testAbsent(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	gone := []byte("gone")
	must(t, s.Set(ctx, gone, []byte("v"), now))
	must(t, s.Del(ctx, gone))
	for _, key := range [][]byte{gone, []byte("never")} {
		_, err := s.Get(ctx, key)
		want(t, err, zdb.ErrNotFound)
		_, err = s.Length(ctx, key)
		want(t, err, zdb.ErrNotFound)
		_, err = s.Time(ctx, key)
		want(t, err, zdb.ErrNotFound)
		_, err = s.Cursor(ctx, key)
		want(t, err, zdb.ErrNotFound)
		_, err = s.Version(ctx, key, nil)
		want(t, err, zdb.ErrNotFound)
		want(t, s.Check(ctx, key), zdb.ErrNotFound)
		want(t, s.Del(ctx, key), zdb.ErrNotFound)
		if yes, err := s.Exists(ctx, key); err != nil || yes {
			t.Errorf("exists: %v, %v", yes, err)
		}
	}
}

// walk gives the keys that come from a cursor on, with blanks between.
func walk(t *testing.T, s engine, cursor []byte, reverse bool) (keys string, end []byte) {
	t.Helper()
	var all []string
	for {
		page, next, err := s.Page(t.Context(), cursor, reverse)
		if errors.Is(err, zdb.ErrNoMoreData) {
			return strings.Join(all, " "), cursor
		}
		must(t, err)
		for _, entry := range page {
			all = append(all, string(entry.Key))
		}
		cursor = next
	}
}

func testScan(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	expect := func(cursor []byte, reverse bool, want string) []byte {
		t.Helper()
		got, end := walk(t, s, cursor, reverse)
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		return end
	}
	for _, reverse := range []bool{false, true} {
		_, _, err := s.Page(ctx, nil, reverse)
		want(t, err, zdb.ErrNoMoreData)
		_, _, err = s.Page(ctx, []byte("no cursor"), reverse)
		want(t, err, zdb.ErrBadCursor)
	}
	for i, key := range []string{"a", "b", "c", "d"} {
		must(t, s.Set(ctx, []byte(key), bytes.Repeat([]byte("v"), i), time.Unix(int64(1000+i), 0)))
		if i == 1 {
			must(t, s.Jump(ctx))
		}
	}
	page, _, err := s.Page(ctx, nil, false)
	must(t, err)
	if diff := cmp.Diff(client.Entry{Key: []byte("a"), Time: time.Unix(1000, 0)}, page[0]); diff != "" {
		t.Error(diff)
	}
	end := expect(nil, false, "a b c d")
	expect(nil, true, "d c b a")
	expect(end, true, "c b a")
	b, err := s.Cursor(ctx, []byte("b"))
	must(t, err)
	expect(b, false, "c d")
	expect(b, true, "a")
	must(t, s.Set(ctx, []byte("b"), []byte("changed"), now)) // which moves it to the end
	expect(nil, false, "a c d b")
	expect(b, false, "c d b") // the cursor stays good
	must(t, s.Del(ctx, []byte("c")))
	expect(nil, false, "a d b")
	expect(nil, true, "b d a")
	expect(end, false, "b")
}

// Many callers write at once; each key comes once, and as it was written.
func testMany(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	expect := map[string]int{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				key := fmt.Sprintf("k%d/%d", w, i)
				if err := s.Set(ctx, []byte(key), bytes.Repeat([]byte("x"), i), now); err != nil {
					t.Error(err)
				}
				if i%5 == 0 {
					if err := s.Del(ctx, []byte(key)); err != nil {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				expect[key] = i
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, reverse := range []bool{false, true} {
		seen := map[string]int{}
		var cursor []byte
		for {
			page, next, err := s.Page(ctx, cursor, reverse)
			if errors.Is(err, zdb.ErrNoMoreData) {
				break
			}
			must(t, err)
			for _, entry := range page {
				if _, twice := seen[string(entry.Key)]; twice {
					t.Errorf("key %q comes twice", entry.Key)
				}
				seen[string(entry.Key)] = entry.SizeBytes
			}
			cursor = next
		}
		if diff := cmp.Diff(expect, seen); diff != "" {
			t.Errorf("reverse %v: %s", reverse, diff)
		}
	}
}

func testHistory(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	key := []byte("k")
	values := []string{"one", "two", "", "four"}
	for i, v := range values {
		must(t, s.Set(ctx, key, []byte(v), time.Unix(int64(1000+i), 0)))
	}
	must(t, s.Set(ctx, []byte("j"), []byte("other"), now))
	var cursor []byte
	for i, v := range slices.Backward(values) {
		got, err := s.Version(ctx, key, cursor)
		must(t, err)
		if string(got.Value) != v || got.Time.Unix() != int64(1000+i) || (got.Older == nil) != (i == 0) {
			t.Errorf("version %d: got %+v", i, got)
		}
		if i > 0 {
			_, err = s.Version(ctx, []byte("j"), got.Older)
			want(t, err, zdb.ErrOtherKey)
		}
		cursor = got.Older
	}
	_, err := s.Version(ctx, key, bytes.Repeat([]byte{0xff}, 8))
	want(t, err, zdb.ErrBadCursor)
	_, err = s.Version(ctx, key, []byte("short"))
	want(t, err, zdb.ErrBadCursor)
}

func testLimit(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	must(t, s.Limit(ctx, 10))
	must(t, s.Set(ctx, []byte("a"), []byte("12345"), now))
	want(t, s.Set(ctx, []byte("b"), []byte("123456"), now), zdb.ErrNoSpace)
	must(t, s.Set(ctx, []byte("b"), []byte("12345"), now))
	must(t, s.Set(ctx, []byte("a"), []byte("54321"), now))
	want(t, s.Set(ctx, []byte("a"), []byte("123456"), now), zdb.ErrNoSpace)
	if got, err := s.Get(ctx, []byte("a")); err != nil || string(got) != "54321" {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, s.Del(ctx, []byte("b"))) // which a full one has to take
	must(t, s.Set(ctx, []byte("a"), []byte("1234567890"), now))
	must(t, s.Limit(ctx, 0))
	must(t, s.Set(ctx, []byte("b"), []byte("123456"), now))
}

func testWriteOnce(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	must(t, s.Set(ctx, []byte("a"), []byte("1"), now))
	must(t, s.WriteOnce(ctx))
	want(t, s.Set(ctx, []byte("a"), []byte("2"), now), zdb.ErrWorm)
	want(t, s.Set(ctx, []byte("a"), []byte("1"), now), zdb.ErrWorm)
	want(t, s.Del(ctx, []byte("a")), zdb.ErrWorm)
	want(t, s.Del(ctx, []byte("never")), zdb.ErrNotFound)
	must(t, s.Set(ctx, []byte("b"), []byte("1"), now))
	if got, err := s.Get(ctx, []byte("a")); err != nil || string(got) != "1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func testKeys(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	for _, key := range []string{"ab2", "ab1", "x", "ab3", "abc\x00"} {
		must(t, s.Set(ctx, []byte(key), []byte("v"), now))
	}
	must(t, s.Del(ctx, []byte("ab3")))
	keys, err := s.Keys(ctx, []byte("ab"))
	if e.original { // its release build has none
		want(t, err, zdb.ErrNotSupported)
		return
	}
	must(t, err)
	if got, want := string(bytes.Join(keys, []byte(" "))), "ab1 ab2 abc\x00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	keys, err = s.Keys(ctx, []byte("nope"))
	if err != nil || len(keys) != 0 {
		t.Errorf("got %q, %v", keys, err)
	}
}

func testClear(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, false)
	must(t, s.Set(ctx, []byte("a"), []byte("1"), now))
	must(t, s.Set(ctx, []byte("a"), []byte("2"), now))
	v, err := s.Version(ctx, []byte("a"), nil)
	must(t, err)
	must(t, s.Clear(ctx))
	n, err := s.Len(ctx)
	must(t, err)
	if e.original { // it says OK and removes nothing
		if n != 1 {
			t.Errorf("%d keys: does the original flush by now?", n)
		}
		return
	}
	if n != 0 {
		t.Errorf("%d keys", n)
	}
	_, err = s.Get(ctx, []byte("a"))
	want(t, err, zdb.ErrNotFound)
	_, _, err = s.Page(ctx, nil, false)
	want(t, err, zdb.ErrNoMoreData)
	_, err = s.Version(ctx, []byte("a"), v.Older)
	want(t, err, zdb.ErrBadCursor)
	must(t, s.Set(ctx, []byte("a"), []byte("3"), now))
	if v, err := s.Version(ctx, []byte("a"), nil); err != nil || string(v.Value) != "3" || v.Older != nil {
		t.Errorf("got %+v, %v", v, err)
	}
}

// add appends a value and wants an id.
func add(t *testing.T, s engine, value string, want byte) {
	t.Helper()
	key, err := s.Add(t.Context(), []byte(value))
	must(t, err)
	if string(key) != id(want) {
		t.Errorf("got id %x, want %x", key, id(want))
	}
}

func testIDs(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, true)
	key := func(n byte) []byte { return []byte(id(n)) }
	add(t, s, "zero", 0)
	add(t, s, "", 1)
	must(t, s.Set(ctx, key(0), []byte("zero!"), now))
	must(t, s.Set(ctx, key(0), []byte("zero!"), now)) // the same again takes no id
	add(t, s, "three", 3)
	add(t, s, "three", 4)
	for n, value := range map[byte]string{0: "zero!", 1: "", 3: "three", 4: "three"} {
		got, err := s.Get(ctx, key(n))
		if err != nil || string(got) != value {
			t.Errorf("id %d: got %q, %v", n, got, err)
		}
		if length, err := s.Length(ctx, key(n)); err != nil || length != len(value) {
			t.Errorf("id %d: length %d, %v", n, length, err)
		}
		must(t, s.Check(ctx, key(n)))
	}
	must(t, s.Del(ctx, key(1)))
	for _, absent := range [][]byte{key(1), key(2), key(9), []byte("name")} {
		_, err := s.Get(ctx, absent)
		want(t, err, zdb.ErrNotFound)
		want(t, s.Set(ctx, absent, []byte("v"), now), zdb.ErrUpdateOnly)
		want(t, s.Del(ctx, absent), zdb.ErrNotFound)
	}
	add(t, s, "five", 5) // a delete takes no id, and what is refused neither
	if n, err := s.Len(ctx); err != nil || n != 4 {
		t.Errorf("got %d values, %v", n, err)
	}
	must(t, s.Limit(ctx, 1))
	_, err := s.Add(ctx, []byte("much"))
	want(t, err, zdb.ErrNoSpace)
	must(t, s.Limit(ctx, 0))
	must(t, s.WriteOnce(ctx))
	want(t, s.Set(ctx, key(0), []byte("v"), now), zdb.ErrWorm)
	add(t, s, "six", 6)
	_, err = s.Add(ctx, make([]byte, zdb.MaxValueBytes+1))
	want(t, err, zdb.ErrValueTooLarge)
}

func testIDOrder(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, true)
	_, _, err := s.Page(ctx, nil, false)
	want(t, err, zdb.ErrNoMoreData)
	add(t, s, "zero", 0)
	add(t, s, "one", 1)
	must(t, s.Jump(ctx))
	add(t, s, "two", 2)
	must(t, s.Set(ctx, []byte(id(0)), []byte("zero!"), now)) // it keeps its place
	must(t, s.Del(ctx, []byte(id(1))))
	add(t, s, "four", 4)
	expect := func(cursor []byte, reverse bool, ids ...byte) {
		t.Helper()
		var all []string
		for _, n := range ids {
			all = append(all, id(n))
		}
		if got, _ := walk(t, s, cursor, reverse); got != strings.Join(all, " ") {
			t.Errorf("got %x, want %v", got, ids)
		}
	}
	expect(nil, false, 0, 2, 4)
	cursor, err := s.Cursor(ctx, []byte(id(2)))
	must(t, err)
	expect(cursor, false, 4)
	expect(nil, true, 4, 2, 0)
	expect(cursor, true, 0)
}

func testIDHistory(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, true)
	add(t, s, "zero", 0)
	add(t, s, "one", 1)
	must(t, s.Set(ctx, []byte(id(0)), []byte("zero!"), now))
	v, err := s.Version(ctx, []byte(id(0)), nil)
	if err != nil || string(v.Value) != "zero!" || v.Older == nil {
		t.Fatalf("got %+v, %v", v, err)
	}
	older, err := s.Version(ctx, []byte(id(0)), v.Older)
	if err != nil || string(older.Value) != "zero" || older.Older != nil {
		t.Errorf("got %+v, %v", older, err)
	}
	_, err = s.Version(ctx, []byte(id(1)), v.Older)
	want(t, err, zdb.ErrOtherKey)
	_, err = s.Version(ctx, []byte(id(7)), nil)
	want(t, err, zdb.ErrNotFound)
}

func testIDClear(t *testing.T, e engines) {
	ctx, s := t.Context(), e.open(t, true)
	add(t, s, "zero", 0)
	must(t, s.Clear(ctx))
	if e.original { // it says OK and removes nothing
		add(t, s, "one", 1)
		return
	}
	add(t, s, "zero again", 0)
}
