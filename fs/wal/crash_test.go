package wal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var crashSeeds = flag.Int("crashseeds", 3, "how many runs of crash after crash")

// crashRun appends, syncs, cuts and crashes at random, and at each operation on the disk looks what a power cut right
// there would leave: every record that a Sync has covered, and no other ones, in order.
type crashRun struct {
	t   *testing.T
	rng *rand.Rand // of the one that appends

	mu     sync.Mutex
	looks  *rand.Rand
	want   []record // appended, or about to be
	synced int      // of those
	count  int      // power cuts looked at
	keep   *vfs.MemFS
}

// look tries power cuts at this moment, with nothing, some, or all of what was not synced.
func (r *crashRun) look(disk *vfs.MemFS, op string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, percent := range []int{0, 20 + 20*r.looks.IntN(5)} {
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r.looks})
		got, _, err := replayAll(r.t, after, "log")
		if err != nil {
			r.t.Errorf("power cut at %s keeping %d%%: %v", op, percent, err)
			return
		}
		samePrefix(r.t, fmt.Sprintf("power cut at %s keeping %d%%", op, percent), got, r.want, r.synced)
		r.count++
		if r.looks.IntN(200) == 0 {
			r.keep = after
		}
	}
}

func (r *crashRun) append(l *Log) {
	rec := randomRecord(r.rng, 2500)
	r.mu.Lock()
	r.want = append(r.want, rec)
	r.mu.Unlock()
	_, _, err := rec.put(l)
	must(r.t, err)
}

func (r *crashRun) covered(n int) {
	r.mu.Lock()
	r.synced = n
	r.mu.Unlock()
}

// generation is one process: it takes the log over as it is on disk, goes on, and dies. It returns the disk that the next
// one finds: the same one when only the process died, or what a power cut left.
func (r *crashRun) generation(disk *vfs.MemFS, seed uint64) *vfs.MemFS {
	got, found, err := replayAll(r.t, disk, "log")
	must(r.t, err)
	r.mu.Lock()
	samePrefix(r.t, "taking over", got, r.want, r.synced)
	r.want, r.keep = got, nil
	r.mu.Unlock()

	fs := &hookFS{FS: disk}
	fs.set(func(op string) error { r.look(disk, "before "+op); return nil }, func(op string) { r.look(disk, "after "+op) })
	o := testOptions(fs, seed)
	o.Next, o.Prev, o.PrevEnd = found.Next, found.Prev, found.PrevEnd
	l, err := Open(o)
	must(r.t, err)
	r.covered(len(got)) // Open has made durable what we go on from
	for range 10 + r.rng.IntN(25) {
		r.append(l)
		n := len(r.want)
		switch r.rng.IntN(6) {
		case 0, 1:
			must(r.t, l.Sync(ctx, l.End()))
			r.covered(n)
		case 2:
			if _, err := l.Cut(ctx); err != nil {
				r.t.Fatal(err)
			}
		case 3:
			l.mu.Lock() // what the flusher does when more is waiting
			if !l.busy {
				must(r.t, l.takeTurn(l.end, false))
			}
			l.mu.Unlock()
		}
	}
	if r.rng.IntN(4) == 0 {
		must(r.t, l.Close(ctx))
		r.covered(len(r.want))
		return disk
	}
	l.Discard()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rng.IntN(2) == 0 {
		return disk // kill -9: what was written stays in the page cache
	}
	if r.keep != nil {
		// The power went earlier: since then nothing was synced, as far as the next process is concerned.
		kept, _, err := replayAll(r.t, r.keep, "log")
		must(r.t, err)
		r.want, r.synced = kept, len(kept)
		return r.keep
	}
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: r.looks})
}

// Through crash after crash, at any moment: what was synced is there, and nothing that was not appended.
func TestPowerCutAtEveryOperation(t *testing.T) {
	seeds := *crashSeeds
	if raceEnabled {
		seeds = min(seeds, 1)
	}
	base, total := rand.Uint64(), 0
	for i := range seeds {
		seed := base + uint64(i)
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := &crashRun{t: t, rng: rand.New(rand.NewPCG(seed, 1)), looks: rand.New(rand.NewPCG(seed, 2))}
			disk := vfs.NewCrashableMem()
			for g := range uint64(4) {
				disk = r.generation(disk, seed<<8+g)
			}
			total += r.count
		})
		if !ok {
			break
		}
	}
	t.Logf("%d power cuts", total)
}
