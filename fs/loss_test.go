package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/fs/meta"
)

// restored opens the volume on a machine that never saw it.
func restored(t testing.TB, g *grid) (*Volume, Options) {
	t.Helper()
	o := g.options(t.TempDir())
	o.LeaseTTL = testLeaseTTL
	if _, err := Restore(context.Background(), "away", g.cfg.Nodes[:1], o, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	return g.open(o), o
}

// content reads a whole file.
func content(v *Volume, name string) ([]byte, error) {
	a, err := v.store.Lookup(meta.RootIno, name)
	if err != nil {
		return nil, err
	}
	if a, err = v.GetAttr(a.Ino); err != nil {
		return nil, err
	}
	b := make([]byte, a.SizeBytes)
	n, err := v.Read(context.Background(), a.Ino, 0, b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("%d of %d bytes", n, len(b))
	}
	return b[:n], err
}

// writePieces writes a file block by block.
func writePieces(t testing.TB, v *Volume, ino meta.Ino, b []byte) {
	t.Helper()
	for off := 0; off < len(b); off += blockBytes {
		write(t, v, ino, int64(off), b[off:min(off+blockBytes, len(b))])
	}
}

func (g *grid) inject(nodes []int, f simnode.Fault) {
	for _, i := range nodes {
		g.node(i).Inject(f)
	}
}

func (g *grid) heal() {
	for _, n := range g.nodes {
		n.Heal()
	}
}

func (g *grid) all() []int {
	out := make([]int, len(g.cfg.Nodes))
	for i := range out {
		out[i] = i
	}
	return out
}

// A machine that is lost right after a checkpoint, which was made while files
// were written: what the checkpoint knows of can be read.
func TestLossAfterBusyCheckpoint(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 2, 1, 3)
	v, _ := testVolume(t, g, nil)
	early, late := randomBytes(1, 20<<20), randomBytes(2, 60<<20)
	write(t, v, mkfile(t, v, "early"), 0, early)
	ino := mkfile(t, v, "late")
	g.inject(g.all(), simnode.Fault{Kind: simnode.Delay, Op: simnode.Set, Delay: 30 * time.Millisecond})
	done := make(chan error)
	go func() { done <- v.runCheckpoint(ctx, true) }()
	const step = 1 << 20
	for off := 0; off < len(late); off += step {
		write(t, v, ino, int64(off), late[off:off+step])
		time.Sleep(5 * time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.heal()
	crash(v)

	v, o := restored(t, g)
	check(t, v, "early", early)
	got, err := content(v, "late")
	if err != nil || !bytes.HasPrefix(late, got) {
		t.Errorf("%d bytes, a prefix: %v, %v", len(got), bytes.HasPrefix(late, got), err)
	}
	t.Logf("%d of %d MiB of the late file", len(got)>>20, len(late)>>20)
	// And the restored volume is one that goes on.
	write(t, v, mkfile(t, v, "next"), 0, early)
	crash(v)
	v = g.open(o)
	check(t, v, "early", early)
	closeVolume(t, v)
}

// A machine that is lost while its last segment goes up: the log ends before that
// segment. Nothing of it is shown, nor mixed up with what is written later.
func TestLossDuringUpload(t *testing.T) {
	ctx := context.Background()
	for _, shards := range []int{1, 4, 8, 11} { // of each node, stored before the end
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			g := newGrid(t, 2, 1, 3)
			v, _ := testVolume(t, g, func(o *Options) { o.UploadDelay = time.Hour })
			safe := randomBytes(1, 1<<20)
			write(t, v, mkfile(t, v, "safe"), 0, safe)
			if err := v.Sync(ctx, nil); err != nil {
				t.Fatal(err)
			}
			lost := randomBytes(2, 12<<20)
			writePieces(t, v, mkfile(t, v, "lost"), lost) // its transactions lie between its blocks
			for _, n := range g.nodes {
				left := shards
				n.Inject(simnode.Fault{Kind: simnode.Down, Op: simnode.Set, Key: func([]byte) bool { // node's mutex is held
					left--
					return left < 0
				}})
			}
			syncCtx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			if err := v.Sync(syncCtx, nil); err == nil {
				t.Fatal("synced")
			}
			cancel()
			crash(v)
			g.heal()

			v, o := restored(t, g)
			check(t, v, "safe", safe)
			if b, err := content(v, "lost"); err == nil && !bytes.HasPrefix(lost, b) {
				t.Errorf("%d wrong bytes of the lost file", len(b))
			} else if err != nil && !errors.Is(err, meta.ErrNotExist) {
				t.Errorf("the lost file is there and can't be read: %v", err)
			}
			// The same shape again: addresses in the log are those of what was lost.
			other := randomBytes(3, 12<<20)
			writePieces(t, v, mkfile(t, v, "other"), other)
			if err := v.Sync(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if b, err := content(v, "lost"); err == nil && !bytes.HasPrefix(lost, b) {
				t.Errorf("%d wrong bytes of the lost file after others were written", len(b))
			}
			check(t, v, "other", other)
			crash(v)
			v = g.open(o)
			check(t, v, "safe", safe)
			check(t, v, "other", other)
			closeVolume(t, v)
		})
	}
}
