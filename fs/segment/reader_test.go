package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/fs/wal"
)

var (
	testKey      = [32]byte{3, 1, 4}
	testGeometry = erasure.Geometry{Data: 4, Parity: 2, ShardBytes: 16 << 10}
)

// volume is a log of a few segments, on the local disk and on simulated nodes.
type volume struct {
	t       testing.TB
	dir     string
	nodes   []*simnode.Node
	pool    *erasure.Pool
	records map[uint64]Record
	blocks  map[wal.Addr][]byte
	order   []wal.Addr
}

const segmentCount = 4

func newVolume(t testing.TB) *volume {
	t.Helper()
	v := &volume{t: t, dir: t.TempDir(), records: map[uint64]Record{}, blocks: map[wal.Addr][]byte{}}
	members := make([]erasure.Member, 6)
	for i := range members {
		n := simnode.New(uint64(i))
		v.nodes = append(v.nodes, n)
		members[i] = erasure.Member{ID: erasure.NodeID(i), Name: fmt.Sprint(i), Node: n}
	}
	var err error
	if v.pool, err = erasure.NewPool(erasure.PoolOptions{Members: members, Keys: erasure.Keys{Name: [32]byte{1}, Shard: [32]byte{2}}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.pool.Close() })

	var closed []wal.Closed
	log, err := wal.Open(wal.Options{
		Dir: v.logDir(), Key: testKey, Epoch: 5, SegmentBytes: 256 << 10, OnClosed: func(c wal.Closed) { closed = append(closed, c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range segmentCount {
		for range 5 {
			b := make([]byte, 1+rng.IntN(40<<10))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			a, err := log.AppendBlock(wal.Owner{Ino: 1}, b)
			if err != nil {
				t.Fatal(err)
			}
			v.blocks[a] = b
			v.order = append(v.order, a)
		}
		if _, err := log.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range closed {
		f, err := os.Open(c.Path)
		if err != nil {
			t.Fatal(err)
		}
		l, err := v.pool.Put(t.Context(), ObjectID(c.Epoch, c.Ordinal), f, c.SizeBytes, testGeometry)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		v.records[c.Ordinal] = Record{Epoch: c.Epoch, ID: c.ID, SizeBytes: c.SizeBytes, Layout: &l}
	}
	if len(v.records) != segmentCount {
		t.Fatalf("%d segments", len(v.records))
	}
	return v
}

func (v *volume) logDir() string   { return filepath.Join(v.dir, "log") }
func (v *volume) cacheDir() string { return filepath.Join(v.dir, "cache") }
func (v *volume) logFile(ordinal uint64) string {
	return wal.Path(v.logDir(), ordinal)
}
func (v *volume) cacheFile(ordinal uint64) string {
	return wal.Path(CacheDir(v.cacheDir()), ordinal)
}

func (v *volume) reader(cacheBytes int64) *Reader {
	v.t.Helper()
	r, err := NewReader(Options{
		Key: &testKey, LogDir: v.logDir(), CacheDir: v.cacheDir(), CacheBytes: cacheBytes, Pool: v.pool,
		Record: func(ordinal uint64) (Record, error) {
			rec, ok := v.records[ordinal]
			if !ok {
				return rec, ErrUnknown
			}
			return rec, nil
		},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { r.Close() })
	return r
}

func (v *volume) gets() (n int) {
	for _, node := range v.nodes {
		n += node.Counts().Gets
	}
	return n
}

// readAll reads every block and returns what went wrong; wrong bytes end the test.
func (v *volume) readAll(r *Reader) error {
	v.t.Helper()
	var errs []error
	for _, a := range v.order {
		got, err := r.ReadBlock(context.Background(), []byte("x"), a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if got[0] != 'x' || !bytes.Equal(got[1:], v.blocks[a]) {
			v.t.Fatalf("wrong bytes of the block at %v", a)
		}
	}
	return errors.Join(errs...)
}

func (v *volume) mustReadAll(r *Reader) {
	v.t.Helper()
	if err := v.readAll(r); err != nil {
		v.t.Fatal(err)
	}
}

func (v *volume) retireAll(r *Reader) {
	v.t.Helper()
	for o := range v.records {
		if err := r.Retire(o); err != nil {
			v.t.Fatal(err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Local copies are used while they are good; whatever happens to them, the
// right bytes come from the nodes, and never wrong ones from anywhere.
func TestLocalDamage(t *testing.T) {
	edit := func(t *testing.T, path string, change func(b []byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, v *volume, path string)
		remote bool
	}{
		{"none", func(*testing.T, *volume, string) {}, false},
		{"gone", func(t *testing.T, _ *volume, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"bits flipped", func(t *testing.T, _ *volume, path string) {
			edit(t, path, func(b []byte) []byte {
				for i := 100; i < len(b); i += 500 {
					b[i] ^= 4
				}
				return b
			})
		}, true},
		{"truncated", func(t *testing.T, _ *volume, path string) {
			edit(t, path, func(b []byte) []byte { return b[:200] })
		}, true},
		{"empty", func(t *testing.T, _ *volume, path string) {
			edit(t, path, func([]byte) []byte { return nil })
		}, true},
		{"zeros", func(t *testing.T, _ *volume, path string) {
			edit(t, path, func(b []byte) []byte { return make([]byte, len(b)) })
		}, true},
		{"another segment's", func(t *testing.T, v *volume, path string) {
			other, err := os.ReadFile(v.logFile(3))
			if err != nil {
				t.Fatal(err)
			}
			edit(t, path, func([]byte) []byte { return other })
		}, true},
		{"a directory", func(t *testing.T, _ *volume, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		for _, where := range []string{"log", "cache"} {
			for _, when := range []string{"before the first read", "while open"} {
				t.Run(c.name+"/"+where+"/"+when, func(t *testing.T) {
					v := newVolume(t)
					r := v.reader(8 << 20)
					path := v.logFile(1)
					if where == "cache" {
						if err := r.Retire(1); err != nil {
							t.Fatal(err)
						}
						path = v.cacheFile(1)
					}
					if when == "while open" {
						v.mustReadAll(r)
					}
					before := v.gets()
					c.damage(t, v, path)
					v.mustReadAll(r)
					asked := v.gets() > before
					gone := c.name == "gone" || c.name == "a directory"
					if want := c.remote && !(gone && when == "while open"); asked != want {
						t.Errorf("nodes asked: %v", asked)
					}
					before = v.gets()
					v.mustReadAll(r)
					if v.gets() != before {
						t.Error("the nodes are asked for what the cache has")
					}
				})
			}
		}
	}
}

// Without the nodes there is an error for what is damaged, and only for that.
func TestLocalDamageNodesDown(t *testing.T) {
	v := newVolume(t)
	r := v.reader(8 << 20)
	for _, n := range v.nodes {
		n.Inject(simnode.Fault{Kind: simnode.Down})
	}
	b, err := os.ReadFile(v.logFile(2))
	if err != nil {
		t.Fatal(err)
	}
	for i := 80; i < len(b); i += 100 {
		b[i]++
	}
	if err := os.WriteFile(v.logFile(2), b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range v.order {
		_, err := r.ReadBlock(t.Context(), nil, a)
		if a.Segment == 2 != (err != nil) {
			t.Errorf("block at %v: %v", a, err)
		}
	}
	if !exists(v.logFile(2)) {
		t.Error("the log's own file was removed")
	}
}

// A shard cache that gives wrong bytes costs a request, nothing else.
func TestPoisonedShardCache(t *testing.T) {
	v := newVolume(t)
	if err := os.RemoveAll(v.logDir()); err != nil {
		t.Fatal(err)
	}
	r := v.reader(8 << 20)
	v.mustReadAll(r)
	var files []string
	filepath.WalkDir(filepath.Join(v.cacheDir(), "shards"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".shard") {
			files = append(files, path)
		}
		return err
	})
	if len(files) < 10 {
		t.Fatalf("%d shards cached", len(files))
	}
	poison := func(change func(i int, b []byte) []byte) {
		t.Helper()
		bodies := make([][]byte, len(files))
		for i, path := range files {
			var err error
			if bodies[i], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		for i, path := range files {
			if err := os.WriteFile(path, change(i, bytes.Clone(bodies[i])), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := v.gets()
		v.mustReadAll(r)
		if v.gets() == before {
			t.Error("no shard was fetched anew")
		}
		before = v.gets()
		v.mustReadAll(r)
		if v.gets() != before {
			t.Error("fetched shards were not kept")
		}
	}
	t.Run("bit", func(t *testing.T) { poison(func(_ int, b []byte) []byte { b[len(b)-1] ^= 1; b[60] ^= 1; return b }) })
	t.Run("noise", func(t *testing.T) {
		poison(func(_ int, b []byte) []byte {
			for i := 44; i < len(b); i++ {
				b[i] = byte(i * 7)
			}
			return b
		})
	})
	t.Run("truncated", func(t *testing.T) { poison(func(_ int, b []byte) []byte { return b[:len(b)/2] }) })
}

// badPool returns shards of the wrong length or with wrong bytes.
type badPool struct {
	Pool
	change func(b []byte) []byte
}

func (p *badPool) ReadShard(ctx context.Context, l *erasure.Layout, stripe, shard int) ([]byte, error) {
	b, err := p.Pool.ReadShard(ctx, l, stripe, shard)
	return p.change(bytes.Clone(b)), err
}

// Bytes that do not open are an error whatever the pool says of them.
func TestBadPool(t *testing.T) {
	v := newVolume(t)
	if err := os.RemoveAll(v.logDir()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"short": func(b []byte) []byte { return b[:10] },
		"empty": func([]byte) []byte { return nil },
		"wrong": func(b []byte) []byte {
			for i := range b {
				b[i] ^= 0x55
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := v.reader(0)
			r.o.Pool = &badPool{v.pool, change}
			for _, a := range v.order {
				if _, err := r.ReadBlock(t.Context(), nil, a); !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, erasure.ErrCorrupt) {
					t.Errorf("block at %v: %v", a, err)
				}
			}
		})
	}
}

// Addresses that nothing was written at are errors.
func TestWrongAddress(t *testing.T) {
	v := newVolume(t)
	r := v.reader(8 << 20)
	a := v.order[7]
	for name, bad := range map[string]wal.Addr{
		"next byte":       {Segment: a.Segment, Offset: a.Offset + 1, FrameBytes: a.FrameBytes, RawBytes: a.RawBytes},
		"longer":          {Segment: a.Segment, Offset: a.Offset, FrameBytes: a.FrameBytes + 1, RawBytes: a.RawBytes + 1},
		"other segment":   {Segment: a.Segment + 1, Offset: a.Offset + 3, FrameBytes: a.FrameBytes, RawBytes: a.RawBytes},
		"behind the end":  {Segment: a.Segment, Offset: 60 << 20, FrameBytes: a.FrameBytes, RawBytes: a.RawBytes},
		"across the end":  {Segment: a.Segment, Offset: uint32(v.records[a.Segment].SizeBytes) - 50, FrameBytes: 60, RawBytes: 40},
		"unknown segment": {Segment: 99, Offset: a.Offset, FrameBytes: a.FrameBytes, RawBytes: a.RawBytes},
	} {
		if _, err := r.ReadBlock(t.Context(), nil, bad); err == nil {
			t.Errorf("%s: read", name)
		} else if name == "unknown segment" && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.mustReadAll(r)
}

// Retired segments stay in the cache within its bound, the last read the longest.
func TestRetireAndEvict(t *testing.T) {
	v := newVolume(t)
	var total int64
	for _, rec := range v.records {
		total += rec.SizeBytes
	}
	r := v.reader(2 * (total + 1))
	v.retireAll(r)
	for o := range v.records {
		if exists(v.logFile(o)) || !exists(v.cacheFile(o)) {
			t.Errorf("segment %d: in the log %v, in the cache %v", o, exists(v.logFile(o)), exists(v.cacheFile(o)))
		}
	}
	before := v.gets()
	v.mustReadAll(r)
	if v.gets() != before {
		t.Error("nodes were asked")
	}
	if err := r.Retire(0); err != nil {
		t.Errorf("again: %v", err)
	}
	// Least recently read is 0, as a first read of a file counts, too.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = v.reader(2 * (total + 1))
	for _, a := range v.order {
		if a.Segment == 0 {
			if _, err := r.ReadBlock(t.Context(), nil, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.files.mu.Lock()
	r.files.maxBytes = total - 1
	r.files.evict()
	bound := r.files.bytes
	r.files.mu.Unlock()
	left := 0
	for o := range v.records {
		if exists(v.cacheFile(o)) {
			left++
		}
	}
	if left != segmentCount-1 || !exists(v.cacheFile(0)) || bound > total-1 {
		t.Errorf("%d files left, the last read one among them: %v; %d bytes", left, exists(v.cacheFile(0)), bound)
	}
	v.mustReadAll(r)
}

// A cache without room: retired segments are gone and read from the nodes.
func TestNoCache(t *testing.T) {
	v := newVolume(t)
	r := v.reader(0)
	v.mustReadAll(r)
	v.retireAll(r)
	for o := range v.records {
		if exists(v.logFile(o)) || exists(v.cacheFile(o)) {
			t.Errorf("segment %d is still here", o)
		}
	}
	before := v.gets()
	v.mustReadAll(r)
	if v.gets() == before {
		t.Error("read from nowhere")
	}
	if size, room, err := r.Fetch(t.Context(), 1, v.pool); room || err != nil || size != 0 {
		t.Errorf("fetch: %d, %v, %v", size, room, err)
	}
}

// A whole segment comes back from the nodes; a fetch that fails leaves nothing,
// and what a killed process left goes at the next open.
func TestFetch(t *testing.T) {
	v := newVolume(t)
	if err := os.RemoveAll(v.logDir()); err != nil {
		t.Fatal(err)
	}
	leftover := v.cacheFile(9) + tmpSuffix
	if err := errors.Join(os.MkdirAll(filepath.Dir(leftover), 0o700), os.WriteFile(leftover, []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	r := v.reader(8 << 20)
	if exists(leftover) {
		t.Error("a killed fetch left its file behind")
	}
	for _, n := range v.nodes[:3] {
		n.Inject(simnode.Fault{Kind: simnode.Forge, Op: simnode.Get})
	}
	if _, _, err := r.Fetch(t.Context(), 1, v.pool); err == nil {
		t.Error("fetched from three of six")
	}
	if names, _ := os.ReadDir(CacheDir(v.cacheDir())); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	for _, n := range v.nodes {
		n.Heal()
	}
	for o, rec := range v.records {
		for range 2 {
			if size, room, err := r.Fetch(t.Context(), o, v.pool); err != nil || !room || size != rec.SizeBytes {
				t.Fatalf("segment %d: %d, %v, %v", o, size, room, err)
			}
		}
	}
	for _, n := range v.nodes {
		n.Inject(simnode.Fault{Kind: simnode.Down})
	}
	v.mustReadAll(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	v.mustReadAll(v.reader(8 << 20)) // another process
	if _, _, err := r.Fetch(t.Context(), 77, v.pool); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown segment: %v", err)
	}
}

// A record that was read while a newer one was set does not take its place.
func TestRecordNotReplacedByOlder(t *testing.T) {
	v := newVolume(t)
	r := v.reader(0)
	newer := v.records[1]
	newer.Epoch = 99
	r.o.Record = func(ordinal uint64) (Record, error) {
		old := v.records[ordinal]
		r.Set(ordinal, newer)
		return old, nil
	}
	for range 2 {
		if rec, err := r.Get(1); err != nil || rec.Epoch != 99 {
			t.Errorf("got epoch %d, %v", rec.Epoch, err)
		}
	}
}

// The tables of a reader are bounded, and records that nobody else has stay.
func TestTablesAreBounded(t *testing.T) {
	v := newVolume(t)
	r := v.reader(0)
	r.Set(1<<40, Record{Epoch: 7}) // not yet on the nodes
	for o := range uint64(3 * maxTable) {
		r.Set(100+o, v.records[0])
	}
	if len(r.records) > maxTable {
		t.Errorf("%d records in memory", len(r.records))
	}
	if rec, err := r.Get(1 << 40); err != nil || rec.Epoch != 7 {
		t.Errorf("the record of a staged segment: %+v, %v", rec, err)
	}
}

// More segments than descriptors are kept, all readable.
func TestOpenFilesAreBounded(t *testing.T) {
	v := newVolume(t)
	r := v.reader(8 << 20)
	b, err := os.ReadFile(v.logFile(0))
	if err != nil {
		t.Fatal(err)
	}
	for o := uint64(1000); o < 1000+3*maxOpenFiles; o++ {
		if err := os.WriteFile(v.logFile(o), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.files.readAt(o, make([]byte, 8), 8); err != nil {
			t.Fatal(err)
		}
		if n := len(r.files.open); n > maxOpenFiles || n != r.files.recent.Len() {
			t.Fatalf("%d open, %d in the list", n, r.files.recent.Len())
		}
	}
}

// Readers, retirement, eviction and damage at the same time.
func TestConcurrent(t *testing.T) {
	v := newVolume(t)
	r := v.reader(600 << 10)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := v.order[rng.IntN(len(v.order))]
				got, err := r.ReadBlock(context.Background(), nil, a)
				if err != nil || !bytes.Equal(got, v.blocks[a]) {
					t.Errorf("block at %v: %v", a, err)
					return
				}
			}
		})
	}
	for o := range uint64(segmentCount) {
		if err := r.Retire(o); err != nil {
			t.Error(err)
		}
		for range 20 {
			r.files.drop(o)
			if _, _, err := r.Fetch(t.Context(), o, v.pool); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	for _, of := range r.files.open {
		if of.refs != 0 {
			t.Errorf("segment %d has %d readers", of.ordinal, of.refs)
		}
	}
	if r.files.bytes > r.files.maxBytes {
		t.Errorf("%d bytes cached, limit %d", r.files.bytes, r.files.maxBytes)
	}
}

// What the log still has in memory is read there.
func TestHeld(t *testing.T) {
	v := newVolume(t)
	r := v.reader(0)
	want := errors.New("from memory")
	r.SetHeld(heldFunc(func(dst []byte, a wal.Addr) ([]byte, error) {
		switch a.Segment {
		case 0:
			return append(dst, "held"...), nil
		case 1:
			return nil, want
		}
		return nil, wal.ErrNotHeld
	}))
	for _, a := range v.order {
		got, err := r.ReadBlock(t.Context(), nil, a)
		switch a.Segment {
		case 0:
			if string(got) != "held" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		case 1:
			if !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
		default:
			if err != nil || !bytes.Equal(got, v.blocks[a]) {
				t.Errorf("got %v", err)
			}
		}
	}
}

type heldFunc func(dst []byte, a wal.Addr) ([]byte, error)

func (f heldFunc) ReadBlock(dst []byte, a wal.Addr) ([]byte, error) { return f(dst, a) }
