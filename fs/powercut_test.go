package fs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/meta"
)

// A machine that loses power at any moment, with any part of what was not
// synced lost, opens the volume again with everything that was fsynced, and
// with a tree that contradicts itself nowhere.
func TestPowerCut(t *testing.T) {
	ctx := context.Background()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	g := newGrid(t, 2, 1, 3)
	mem := vfs.NewCrashableMem()
	dir := t.TempDir()
	options := func() Options {
		o := g.options(dir)
		o.Disk = mem
		o.CacheBytes = 0
		o.MemoryBytes = 32 << 20
		return o
	}
	if err := Create(ctx, g.cfg, options()); err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{} // of every file, as fsynced last
	loose := map[string]bool{}     // written since their last fsync: what they hold is not known
	for round := range 20 {
		v := g.open(options())
		for name, want := range content {
			check(t, v, name, want)
		}
		err := v.store.Check(ctx, func(p meta.Problem) { t.Errorf("round %d: inode %d: %s", round, p.Ino, p.Text) })
		if err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.FailNow()
		}
		for i := range 40 {
			name := fmt.Sprintf("f%d", r.IntN(15))
			a, err := v.store.Lookup(meta.RootIno, name)
			ino := a.Ino
			if err != nil {
				ino = mkfile(t, v, name)
			}
			old := content[name]
			if loose[name] { // begin anew
				if _, err := v.SetAttr(ino, meta.Change{Mask: meta.ChangeSize}); err != nil {
					t.Fatal(err)
				}
				old = nil
			}
			off := 0
			if len(old) > 0 {
				off = r.IntN(len(old))
			}
			part := randomBytes(r.Uint64(), 1+r.IntN(200_000))
			now := append([]byte(nil), old...)
			if need := off + len(part); need > len(now) {
				now = append(now, make([]byte, need-len(now))...)
			}
			copy(now[off:], part)
			write(t, v, ino, int64(off), part)
			if r.IntN(3) > 0 {
				if err := v.Fsync(ctx, ino); err != nil {
					t.Fatal(err)
				}
				content[name] = now
				delete(loose, name)
			} else {
				loose[name] = true
				delete(content, name)
			}
			switch {
			case i%20 == 10:
				if err := v.runCheckpoint(ctx, true); err != nil {
					t.Fatal(err)
				}
			case i%15 == 7:
				if err := v.store.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The power goes: the process with it, and of what was not synced a random part.
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		crash(v)
		mem = after
	}
}
