package meta

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/wal"
)

// memJournal is a log in memory.
type memJournal struct {
	mu       sync.Mutex
	entries  []journaled
	end      wal.Position
	synced   wal.Position
	fail     error // of the next appends
	failSync error
	discard  bool // keep no payloads
}

type journaled struct {
	payload []byte
	after   wal.Position
	lazy    bool
}

func (j *memJournal) AppendTxn(payload []byte, lazy bool) (wal.Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return wal.Position{}, j.fail
	}
	if j.end.Offset += uint32(len(payload)) + 20; j.end.Offset > 1<<20 {
		j.end = wal.Position{Segment: j.end.Segment + 1, Offset: 64}
	}
	if !j.discard {
		j.entries = append(j.entries, journaled{append([]byte(nil), payload...), j.end, lazy})
	}
	return j.end, nil
}

func (j *memJournal) Sync(ctx context.Context, upTo wal.Position) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failSync != nil {
		return j.failSync
	}
	if upTo.Compare(j.synced) > 0 {
		j.synced = upTo
	}
	return ctx.Err()
}

func (j *memJournal) setFail(fail, failSync error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail, j.failSync = fail, failSync
}

func (j *memJournal) last() journaled {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[len(j.entries)-1]
}

// testClock gives the time that the test sets.
type testClock struct {
	mu  sync.Mutex
	now int64
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(c.now, 7)
}

func (c *testClock) tick() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	return Time{Sec: c.now, Nsec: 7}
}

// rig is a store with all that it stands on.
type rig struct {
	t       fataler
	fs      *vfs.MemFS
	journal *memJournal
	clock   *testClock
	*Store
}

// fataler is a testing.TB or a *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := newRigFor(t)
	t.Cleanup(func() { r.Store.Close() })
	return r
}

// newRigFor leaves the closing to the caller.
func newRigFor(t fataler) *rig {
	t.Helper()
	r := &rig{t: t, fs: vfs.NewCrashableMem(), journal: &memJournal{}, clock: &testClock{now: 1000}}
	r.open()
	r.SetJournal(r.journal)
	if err := r.Format(0o755, 0, 0); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) open() {
	r.t.Helper()
	s, err := Open(Options{Dir: "meta", FS: r.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Now: r.clock.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Store = s
}

// crash loses power and reopens: what was not synced is there or not, as percent says. The log is not lost.
func (r *rig) crash(percent int, seed uint64) {
	r.t.Helper()
	fs := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
	if err := r.Store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.fs = fs
	r.open()
	if got := r.Position(); got.Compare(r.journal.synced) > 0 {
		r.t.Fatalf("store reached %v, but the log is durable only to %v", got, r.journal.synced)
	}
	r.journal.synced = r.journal.end // as Replay demands
	for _, e := range r.journal.entries {
		if err := r.Replay(e.payload, e.after); err != nil {
			r.t.Fatal(err)
		}
	}
	if got := r.Position(); got != r.journal.end {
		r.t.Fatalf("replayed to %v, not %v", got, r.journal.end)
	}
	r.SetJournal(r.journal)
}

// mustCheck fails the test for each inconsistency.
func (r *rig) mustCheck() {
	r.t.Helper()
	if err := r.check(context.Background(), 3, func(p Problem) { r.t.Errorf("check: %v", p) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) mustCreate(parent Ino, name string, n New) Attr {
	r.t.Helper()
	a, err := r.Create(parent, name, n)
	if err != nil {
		r.t.Fatalf("create %q: %v", name, err)
	}
	return a
}

func (r *rig) names(dir Ino) []string {
	r.t.Helper()
	var names []string
	if err := r.ReadDir(dir, 0, func(e DirEntry) bool { names = append(names, e.Name); return true }); err != nil {
		r.t.Fatal(err)
	}
	return names
}

func expect(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// A block of 100 bytes; n makes it different from others.
func block(n uint32) wal.Addr {
	return wal.Addr{Segment: uint64(n / 1000), Offset: 4096 + n%1000*100, FrameBytes: 100, RawBytes: 100}
}

// Nothing is applied when the journal refuses, and the store goes on.
func TestJournalFailure(t *testing.T) {
	r := newRig(t)
	refused := errors.New("log is full")
	r.journal.setFail(refused, nil)
	before := r.Position()
	_, err := r.Create(RootIno, "a", New{})
	expect(t, "create", err, refused)
	expect(t, "xattr", r.SetXattr(RootIno, "user.a", nil, 0), refused)
	if got := r.Position(); got != before {
		t.Errorf("position moved to %v", got)
	}
	r.journal.setFail(nil, nil)
	_, err = r.Lookup(RootIno, "a")
	expect(t, "lookup", err, ErrNotExist)
	if a := r.mustCreate(RootIno, "a", New{}); a.Ino != 2 {
		t.Errorf("inode number %d was skipped to", a.Ino)
	}
	r.mustCheck()
}

// No table file is durable before the log is: if the log can't be synced, a crash finds the state of the last flush.
func TestWriteAhead(t *testing.T) {
	r := newRig(t)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := r.DurablePosition(); got != r.Position() || r.journal.synced != got {
		t.Fatalf("durable %v, log synced to %v, position %v", got, r.journal.synced, r.Position())
	}
	broken := errors.New("disk gone")
	r.journal.setFail(nil, broken)
	durable := r.DurablePosition()
	r.mustCreate(RootIno, "a", New{})
	expect(t, "flush", r.Flush(context.Background()), broken)
	if got := r.DurablePosition(); got != durable {
		t.Errorf("durable position moved to %v", got)
	}
	for percent := range 11 {
		fs := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent * 10, RNG: rand.New(rand.NewPCG(1, 2))})
		s, err := Open(Options{Dir: "meta", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Position(); got != durable {
			t.Errorf("crash with %d%% of unsynced data: position %v, want %v", percent*10, got, durable)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	r.journal.setFail(nil, nil)
	if err := r.Flush(context.Background()); err != nil {
		t.Errorf("flush after the log works again: %v", err)
	}
	if got := r.DurablePosition(); got != r.Position() {
		t.Errorf("durable %v, position %v", got, r.Position())
	}
	r.crash(0, 1)
	r.mustCheck()
}

// While flushes fail, changes are refused before pebble would block them for ever; readers go on.
func TestBackpressure(t *testing.T) {
	r := newRig(t)
	broken := errors.New("disk gone")
	r.journal.setFail(nil, broken)
	record := make([]byte, 200<<10)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = r.PutRecord("k", record, true)
	}
	expect(t, "put", err, broken)
	if _, err := r.GetAttr(RootIno); err != nil {
		t.Error(err)
	}
	r.journal.setFail(nil, nil)
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.PutRecord("k", record, true); err != nil {
		t.Error(err)
	}
}

func TestReplayRefuses(t *testing.T) {
	r := newRig(t)
	e := r.journal.last()
	expect(t, "with a journal", r.Replay(e.payload, e.after), ErrInvalid)
	s, err := Open(Options{Dir: "meta", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Create(RootIno, "a", New{})
	expect(t, "create without journal", err, ErrReadOnly)
	expect(t, "garbage", s.Replay([]byte("\x01garbage"), e.after), ErrCorrupt)
	expect(t, "cut short", s.Replay(e.payload[:len(e.payload)-1], e.after), ErrCorrupt)
	newer := append([]byte{payloadVersion + 1}, e.payload[1:]...)
	expect(t, "newer", s.Replay(newer, e.after), ErrTooNew)
	if got := s.Position(); got != (wal.Position{}) {
		t.Errorf("position %v after refused payloads", got)
	}
	if err := s.Replay(e.payload, e.after); err != nil {
		t.Error(err)
	}
	if _, err := s.GetAttr(RootIno); err != nil {
		t.Error(err)
	}
}

// A checkpoint opens as a store of its own and has at least what was there when it began.
func TestCheckpoint(t *testing.T) {
	r := newRig(t)
	a := r.mustCreate(RootIno, "a", New{})
	if err := r.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	r.mustCreate(RootIno, "b", New{})
	at, err := r.CheckpointPosition(context.Background(), "copy2")
	if err != nil || at != r.Position() {
		t.Fatalf("%v at %v", err, at)
	}
	for dir, b := range map[string]error{"copy": ErrNotExist, "copy2": nil} {
		s, err := Open(Options{Dir: dir, FS: r.fs})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Lookup(RootIno, "a"); err != nil || got != a {
			t.Errorf("%s: %v %v", dir, got, err)
		}
		_, err = s.Lookup(RootIno, "b")
		expect(t, dir, err, b)
		if err := s.Check(context.Background(), func(p Problem) { t.Error(p) }); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

func TestClose(t *testing.T) {
	r := newRig(t)
	r.mustCreate(RootIno, "a", New{})
	// Close waits for who is inside, and who is inside may still ask.
	var inner error
	err := r.ReadDir(RootIno, 0, func(DirEntry) bool {
		done := make(chan error)
		go func() { done <- r.Store.Close() }()
		<-r.Store.closing.Done()
		for inner == nil {
			_, inner = r.GetAttr(RootIno)
		}
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return true
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, "inside", inner, ErrClosed)
	_, err = r.Lookup(RootIno, "a")
	expect(t, "lookup", err, ErrClosed)
	_, err = r.Create(RootIno, "b", New{})
	expect(t, "create", err, ErrClosed)
	expect(t, "flush", r.Flush(context.Background()), ErrClosed)
	expect(t, "replay", r.Replay(nil, wal.Position{}), ErrClosed)
	expect(t, "close", r.Store.Close(), ErrClosed)
}

func TestRecords(t *testing.T) {
	r := newRig(t)
	for _, n := range []uint64{7, 3, 300} {
		if err := r.PutSegment(n, []byte{byte(n)}, true); err != nil {
			t.Fatal(err)
		}
		if !r.journal.last().lazy {
			t.Error("not lazy")
		}
	}
	if err := r.PutRecord("k", []byte("v"), false); err != nil || r.journal.last().lazy {
		t.Error(err)
	}
	var order []uint64
	if err := r.Segments(func(n uint64, rec []byte) bool { order = append(order, n); return true }); err != nil {
		t.Error(err)
	}
	if len(order) != 3 || order[0] != 3 || order[1] != 7 || order[2] != 300 {
		t.Errorf("order %v", order)
	}
	if err := r.DeleteSegment(7, true); err != nil {
		t.Error(err)
	}
	r.crash(50, 3)
	_, err := r.Segment(7)
	expect(t, "deleted segment", err, ErrNotExist)
	if rec, err := r.Segment(3); err != nil || string(rec) != "\x03" {
		t.Errorf("%x %v", rec, err)
	}
	if rec, err := r.Record("k"); err != nil || string(rec) != "v" {
		t.Errorf("%x %v", rec, err)
	}
	expect(t, "too big", r.PutRecord("k", make([]byte, MaxRecordBytes+1), false), ErrTooBig)
	expect(t, "no key", r.PutRecord("", nil, false), ErrInvalid)
	if err := r.PutRecord("k", make([]byte, MaxRecordBytes), false); err != nil {
		t.Error(err)
	}
	if err := r.DeleteRecord("k", false); err != nil {
		t.Error(err)
	}
	_, err = r.Record("k")
	expect(t, "deleted record", err, ErrNotExist)
	r.mustCheck()
}
