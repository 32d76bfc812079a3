package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/fs/wal"
	"github.com/qsfs/qsfs/identity/keys"
)

// waitFor waits until what holds, as background work makes it.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// dropLocal takes away every local copy of the data, as the cache may at any time.
func dropLocal(t testing.TB, v *Volume) {
	t.Helper()
	ordinals, err := wal.List(v.metaFS.Unwrap(), filepath.Join(v.o.StateDir, logFolder))
	if err != nil {
		t.Fatal(err)
	}
	v.segments.SetHeld(nil)
	for _, o := range ordinals {
		if rec, err := v.segments.Get(o); err == nil && rec.Layout != nil {
			if err := v.segments.Retire(o); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Nodes that give wrong values: up to m of them and the right bytes are read;
// one more, and there is an error, never other bytes.
func TestLyingNodes(t *testing.T) {
	ctx := context.Background()
	for _, kind := range append([]simnode.Kind{simnode.Down}, simnode.Lies...) {
		t.Run(kind.String(), func(t *testing.T) {
			g := newGrid(t, 2, 2, 4)
			v, _ := testVolume(t, g, func(o *Options) { o.CacheBytes = 1 })
			want := randomBytes(7, 5<<20+13)
			ino := mkfile(t, v, "f")
			write(t, v, ino, 0, want)
			if err := v.Sync(ctx, nil); err != nil {
				t.Fatal(err)
			}
			dropLocal(t, v)
			g.inject([]int{0, 2}, simnode.Fault{Kind: kind, Op: simnode.Get})
			check(t, v, "f", want)
			g.inject([]int{1}, simnode.Fault{Kind: kind, Op: simnode.Get})
			b := make([]byte, 100<<10)
			bad := 0
			for off := int64(0); off < int64(len(want)); off += int64(len(b)) {
				n, err := v.Read(ctx, ino, off, b)
				switch {
				case err != nil:
					bad++
					if errno := errnoOf(err); errno != 5 {
						t.Errorf("at %d: errno %v of %v", off, errno, err)
					}
				case !bytes.Equal(b[:n], want[off:off+int64(n)]):
					t.Fatalf("wrong bytes at %d", off)
				}
				if bad > 3 {
					break
				}
			}
			if bad == 0 && kind != simnode.Stale { // shards are written once: the first value is the only one
				t.Error("three of four nodes lie and every read succeeds")
			}
			g.heal()
			waitFor(t, "nodes are back", func() bool {
				got, err := content(v, "f")
				return err == nil && bytes.Equal(got, want)
			})
			closeVolume(t, v)
		})
	}
}

// What was written while m nodes were away is completed when they come back,
// then m others may go. That the first nodes to go never return holds nobody up.
func TestDebtsAreFilled(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 4, 2, 6)
	v, _ := testVolume(t, g, func(o *Options) { o.CacheBytes = 1 })
	put := func(name string, seed uint64) []byte {
		t.Helper()
		b := randomBytes(seed, 3<<20)
		write(t, v, mkfile(t, v, name), 0, b)
		if err := v.Sync(ctx, nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
	g.inject([]int{0}, simnode.Fault{Kind: simnode.Down})
	first := put("first", 1) // lacks the shards of node 0
	g.inject([]int{1}, simnode.Fault{Kind: simnode.Down})
	second := put("second", 2) // lacks those of 0 and 1
	if s := v.Status(ctx); s.DegradedStripes == 0 {
		t.Fatal("nothing is degraded")
	}
	owed := func(node int) (n int) {
		for _, ordinal := range v.debts.segments() {
			rec, err := v.segments.Get(ordinal)
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range rec.Layout.Missing {
				if int(rec.Layout.Node(ref)) == node {
					n++
				}
			}
		}
		return n
	}
	g.node(1).Heal()
	waitFor(t, "what node 1 missed is written although node 0 stays away", func() bool { return owed(1) == 0 })
	g.node(0).Heal()
	waitFor(t, "nothing is degraded", func() bool { return v.Status(ctx).DegradedStripes == 0 })

	dropLocal(t, v)
	g.inject([]int{3, 5}, simnode.Fault{Kind: simnode.Down})
	check(t, v, "first", first)
	check(t, v, "second", second)
	// Nor does another machine need them, although the last superblocks are older than that.
	crash(v)
	g.cfg.Nodes = append(g.cfg.Nodes[1:], g.cfg.Nodes[0])
	v, _ = restored(t, g)
	check(t, v, "first", first)
	check(t, v, "second", second)
	closeVolume(t, v)
}

// A full node is no reason to write superblocks without end: that pushes the
// earlier generations out.
func TestFullNodeDoesNotChurnSuperblocks(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, _ := testVolume(t, g, nil)
	defer closeVolume(t, v)
	write(t, v, mkfile(t, v, "f"), 0, randomBytes(1, 1<<20))
	g.inject([]int{2}, simnode.Fault{Kind: simnode.Full, Op: simnode.Set})
	if err := v.runCheckpoint(ctx, true); err != nil {
		t.Fatal(err)
	}
	before := v.generation.Load()
	for range 10 {
		if err := v.fillCheckpoint(ctx); err != nil {
			t.Logf("fill: %v", err)
		}
	}
	if after := v.generation.Load(); after > before+1 {
		t.Errorf("%d superblocks written for one node that takes none", after-before)
	}
	g.heal()
}

// A superblock whose writing failed half-way is never taken for the next one.
func TestFailedSuperblockNumberIsNotUsedAgain(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, _ := testVolume(t, g, nil)
	defer closeVolume(t, v)
	put := func() error {
		v.superMu.Lock()
		defer v.superMu.Unlock()
		next := *v.super
		return v.writeSuperblock(ctx, &next)
	}
	g.inject([]int{1, 2}, simnode.Fault{Kind: simnode.Full, Op: simnode.Set})
	if err := put(); !errors.Is(err, ErrTooFewNodes) {
		t.Fatalf("one of three nodes: %v", err)
	}
	failed := v.cluster.findSuperblock(ctx)
	g.heal()
	g.inject([]int{0}, simnode.Fault{Kind: simnode.Full, Op: simnode.Set}) // the one that has the failed one
	if err := put(); err != nil {
		t.Fatal(err)
	}
	good := v.cluster.findSuperblock(ctx)
	if failed.newest.Generation == good.newest.Generation && failed.newest.Epoch == good.newest.Epoch {
		t.Errorf("two superblocks of epoch %d, generation %d are on the nodes", good.newest.Epoch, good.newest.Generation)
	}
	g.heal()
}

// Sync ends: once there is space it succeeds, and of a volume that lost its lease
// it is an error.
func TestSyncEnds(t *testing.T) {
	ctx := context.Background()
	t.Run("space again", func(t *testing.T) {
		g := newGrid(t, 2, 1, 3)
		v, _ := testVolume(t, g, nil)
		defer closeVolume(t, v)
		g.inject(g.all(), simnode.Fault{Kind: simnode.Full, Op: simnode.Set})
		write(t, v, mkfile(t, v, "f"), 0, randomBytes(1, 1<<20))
		if err := v.Sync(ctx, nil); !errors.Is(err, ErrNoSpace) {
			t.Errorf("full nodes: %v", err)
		}
		g.heal()
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		waitFor(t, "sync after there is space again", func() bool {
			err := v.Sync(limited, nil)
			if err != nil && !errors.Is(err, ErrNoSpace) {
				t.Fatal(err)
			}
			return err == nil
		})
	})
	t.Run("lease lost", func(t *testing.T) {
		g := newGrid(t, 2, 1, 3)
		v, _ := testVolume(t, g, func(o *Options) { o.UploadDelay = time.Hour })
		ino := mkfile(t, v, "f")
		write(t, v, ino, 0, randomBytes(1, 1<<20))
		v.setReadOnly(ctx, "taken away")
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := v.Sync(limited, nil); !errors.Is(err, ErrReadOnly) {
			t.Errorf("sync: %v", err)
		}
		if limited.Err() != nil {
			t.Error("sync waited for ever")
		}
		closeVolume(t, v)
	})
}

// A writer whose lease was stolen turns read-only, reads on, and harms nobody.
func TestStolenLease(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, home := testVolume(t, g, nil)
	data := randomBytes(1, 1<<20)
	ino := mkfile(t, v, "f")
	write(t, v, ino, 0, data)
	if err := v.Sync(ctx, nil); err != nil {
		t.Fatal(err)
	}
	away := g.options(t.TempDir())
	away.LeaseTTL = testLeaseTTL
	if _, err := Restore(ctx, "away", g.cfg.Nodes[:1], away, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, away); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), home.HolderName) || HintOf(err) == "" {
		t.Errorf("a second writer: %v, hint %q", err, HintOf(err))
	}
	away.Steal = true
	thief := g.open(away)
	check(t, thief, "f", data)
	write(t, thief, mkfile(t, thief, "g"), 0, data)
	waitFor(t, "the first is read-only", func() bool { return v.Status(ctx).ReadOnly })
	if err := v.Write(ctx, ino, 0, []byte("x"), false); !errors.Is(err, ErrReadOnly) || errnoOf(err) != 30 {
		t.Errorf("write: %v", err)
	}
	if _, err := v.SetAttr(ino, meta.Change{Mask: meta.ChangeMode, Mode: 0o600}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("chmod: %v", err)
	}
	check(t, v, "f", data)
	closeVolume(t, v)
	closeVolume(t, thief)
	if _, err := Open(ctx, home); !errors.Is(err, ErrForked) || HintOf(err) == "" {
		t.Errorf("open of the folder that was left behind: %v", err)
	}
	if names, err := os.ReadDir(filepath.Join(home.StateDir, logFolder)); err != nil || len(names) == 0 {
		t.Errorf("its log: %v, %v", names, err)
	}
}

// A machine that was closed cleanly takes over what another wrote since.
func TestCleanFolderFollows(t *testing.T) {
	g := newGrid(t, 2, 1, 3)
	v, home := testVolume(t, g, nil)
	one, two, three := randomBytes(1, 300<<10), randomBytes(2, 300<<10), randomBytes(3, 300<<10)
	write(t, v, mkfile(t, v, "one"), 0, one)
	closeVolume(t, v)
	v, away := restored(t, g)
	write(t, v, mkfile(t, v, "two"), 0, two)
	closeVolume(t, v)
	v = g.open(home)
	check(t, v, "one", one)
	check(t, v, "two", two)
	write(t, v, mkfile(t, v, "three"), 0, three)
	closeVolume(t, v)
	for _, o := range []Options{away, home, away} { // and to and fro
		v = g.open(o)
		check(t, v, "one", one)
		check(t, v, "two", two)
		check(t, v, "three", three)
		if o.StateDir == home.StateDir {
			crash(v)
			v = g.open(o)
			check(t, v, "three", three)
		}
		closeVolume(t, v)
	}
}

// A restored volume opens again and again, closed or crashed, changed or not.
func TestRestoredOpensAgain(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		for _, changed := range []bool{false, true} {
			t.Run(fmt.Sprintf("crashed %v changed %v", crashed, changed), func(t *testing.T) {
				g := newGrid(t, 2, 1, 3)
				v, _ := testVolume(t, g, nil)
				want := randomBytes(1, 2<<20)
				write(t, v, mkfile(t, v, "f"), 0, want)
				closeVolume(t, v)
				v, o := restored(t, g)
				for i := range 4 {
					check(t, v, "f", want)
					if changed {
						ino := mkfile(t, v, fmt.Sprint("new", i))
						write(t, v, ino, 0, want[:100])
						if err := v.Fsync(context.Background(), ino); err != nil {
							t.Fatal(err)
						}
					}
					if crashed {
						crash(v)
					} else {
						closeVolume(t, v)
					}
					v = g.open(o)
					for j := range i + 1 {
						if changed {
							check(t, v, fmt.Sprint("new", j), want[:100])
						}
					}
				}
				closeVolume(t, v)
			})
		}
	}
}

// What a user can do wrong has its own error and a hint.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, o := testVolume(t, g, nil)
	write(t, v, mkfile(t, v, "f"), 0, []byte("data"))
	other := g.options(t.TempDir())
	wrong := o
	root := g.root
	root[0] ^= 1
	var err error
	if wrong.Keys, err = keys.DeriveVolume(&root); err != nil {
		t.Fatal(err)
	}
	elsewhere := other
	elsewhere.Keys = wrong.Keys
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"no such volume", func() error { _, err := Open(ctx, other); return err }, ErrVolumeNotFound},
		{"open twice", func() error { _, err := Open(ctx, o); return err }, ErrLocked},
		{"create over it", func() error { return Create(ctx, g.cfg, o) }, ErrVolumeExists},
		{"create again elsewhere", func() error { return Create(ctx, g.cfg, other) }, ErrVolumeExists},
		{"restore over it", func() error {
			_, err := Restore(ctx, "x", g.cfg.Nodes, o, RestoreOptions{})
			return err
		}, ErrVolumeExists},
		{"restore with other words", func() error {
			_, err := Restore(ctx, "x", g.cfg.Nodes, elsewhere, RestoreOptions{})
			return err
		}, ErrVolumeNotFound},
		{"too few nodes to create", func() error {
			cfg := g.cfg
			cfg.Nodes = cfg.Nodes[:2]
			return Create(ctx, cfg, elsewhere)
		}, ErrTooFewNodes},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(); !errors.Is(err, c.want) || HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, HintOf(err))
			}
			if _, err := os.Stat(other.StateDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a state folder was left behind: %v", err)
			}
		})
	}
	closeVolume(t, v)
	if _, err := Open(ctx, wrong); !errors.Is(err, ErrWrongKey) {
		t.Errorf("wrong key: %v", err)
	}
	g.inject([]int{0, 1}, simnode.Fault{Kind: simnode.Down})
	if _, err := Open(ctx, o); !errors.Is(err, ErrTooFewNodes) || HintOf(err) == "" {
		t.Errorf("two of three nodes down: %v", err)
	}
	g.heal()
	v = g.open(o)
	check(t, v, "f", []byte("data"))
	closeVolume(t, v)
}

// A folder that holds more than nothing is not a place for a new volume, and
// what is in it survives the attempt.
func TestCreateKeepsWhatIsThere(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, o := testVolume(t, g, nil)
	want := randomBytes(1, 100<<10)
	ino := mkfile(t, v, "f")
	write(t, v, ino, 0, want)
	if err := v.Fsync(ctx, ino); err != nil {
		t.Fatal(err)
	}
	crash(v) // the data is here only
	info := filepath.Join(o.StateDir, infoFile)
	saved, err := os.ReadFile(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(info); err != nil { // as a user in despair may do
		t.Fatal(err)
	}
	if err := Create(ctx, g.cfg, o); err == nil {
		t.Error("created")
	}
	if _, err := Restore(ctx, "x", g.cfg.Nodes[:1], o, RestoreOptions{}); err == nil {
		t.Error("restored on top")
	}
	if err := os.WriteFile(info, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err = Open(ctx, o)
	if err != nil {
		t.Fatalf("the volume is no more: %v", err)
	}
	check(t, v, "f", want)
	closeVolume(t, v)
}

// Whatever call to whatever node fails, a Create either makes a volume that opens
// or leaves nothing: no folder, and no superblock that a later Create runs into.
func TestCreateFailsAtEachCall(t *testing.T) {
	ctx := context.Background()
	boom := errors.New("boom")
	for _, fails := range [][]int{{0}, {1, 2}, {0, 1, 2}} {
		for _, kind := range []simnode.Kind{simnode.Error, simnode.LostAck} {
			for call := 1; ; call++ {
				g := newGrid(t, 2, 1, 3)
				var met atomic.Bool // a node asks under its own lock only
				for _, i := range fails {
					seen := 0
					g.node(i).Inject(simnode.Fault{Kind: kind, Err: boom, Op: simnode.Get | simnode.Set, Times: 1, Key: func([]byte) bool {
						seen++
						if seen == call {
							met.Store(true)
						}
						return seen == call
					}})
				}
				o := g.options(t.TempDir())
				o.LeaseTTL = testLeaseTTL
				err := Create(ctx, g.cfg, o)
				g.heal()
				where := fmt.Sprintf("nodes %v, %v at call %d", fails, kind, call)
				if err != nil {
					if _, err := os.Stat(o.StateDir); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("%s: a state folder was left behind", where)
					}
					if err := Create(ctx, g.cfg, o); err != nil {
						t.Errorf("%s: the next Create: %v", where, err)
					}
				}
				v, err := Open(ctx, o)
				if err != nil {
					t.Errorf("%s: open: %v", where, err)
				} else {
					crash(v)
				}
				if !met.Load() || call > 40 {
					if call < 10 {
						t.Errorf("only %d calls", call)
					}
					break
				}
			}
		}
	}
}

// A node that never answers does not hold Create up for ever, its undoing included.
func TestCreateUndoIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for timeouts")
	}
	g := newGrid(t, 2, 1, 3)
	o := g.options(t.TempDir())
	g.inject([]int{0, 1}, simnode.Fault{Kind: simnode.Full, Op: simnode.Set})
	g.inject([]int{2}, simnode.Fault{Kind: simnode.Hang, Op: simnode.Del})
	done := make(chan error, 1)
	go func() { done <- Create(context.Background(), g.cfg, o) }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("created")
		}
	case <-time.After(15 * time.Second):
		t.Error("Create waits for a node that hangs")
		g.heal()
	}
}
