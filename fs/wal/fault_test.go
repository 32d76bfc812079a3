package wal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failNth makes the nth operation of these kinds fail, and how many after it.
func failNth(n, howMany int, err error, ops ...string) (before func(string) error, hit func() bool) {
	var mu sync.Mutex
	seen, failed := 0, false
	return func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(ops, op) {
				return nil
			}
			seen++
			if seen >= n && seen < n+howMany {
				failed = true
				return err
			}
			return nil
		}, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return failed
		}
}

// scenario appends 25 records over several segments, with syncs and cuts, and repeats whatever found no space.
func scenario(t *testing.T, l *Log, seed uint64) (want []record, synced int, err error) {
	again := func(f func() error) error {
		for try := 0; ; try++ {
			err := f()
			if err == nil || !errors.Is(err, ErrNoSpace) {
				return err
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%v does not say why", err)
			}
			if try == 20 {
				t.Fatal("still no space")
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 9))
	for i := range 25 {
		rec := randomRecord(r, 3000)
		if err := again(func() error { _, _, err := rec.put(l); return err }); err != nil {
			return want, synced, err
		}
		want = append(want, rec)
		switch i % 5 {
		case 1:
			err = again(func() error { return l.Sync(ctx, l.End()) })
		case 4:
			err = again(func() error { _, err := l.Cut(ctx); return err })
			if err == nil {
				err = again(func() error { return l.Sync(ctx, l.End()) })
			}
		default:
			continue
		}
		if err != nil {
			return want, synced, err
		}
		synced = len(want)
	}
	return want, len(want), again(func() error { return l.Close(ctx) })
}

// A full disk at any operation, for one or for some tries, loses nothing.
func TestNoSpaceAtEveryWrite(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		fs := &hookFS{FS: mem}
		before, hit := failNth(n, 1+n%4, syscall.ENOSPC, "create", "write", "preallocate", "truncate")
		l := mustOpen(t, testOptions(fs, uint64(n)))
		fs.set(before, nil)
		want, _, err := scenario(t, l, uint64(n))
		must(t, err)
		got, _, err := replayAll(t, mem, "log")
		must(t, err)
		samePrefix(t, fmt.Sprintf("no space at write %d", n), got, want, len(want))
		if !hit() {
			t.Logf("%d places", n-1)
			break
		}
	}
}

// After a failed sync, or a write that failed for another reason than space, the log is dead: it says so to everyone,
// still has what was synced, and never says that more is.
func TestDiskFailureIsFinal(t *testing.T) {
	for _, op := range []string{"sync", "write", "create", "truncate"} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			if cause == syscall.ENOSPC && op != "sync" {
				continue
			}
			for n := 1; ; n++ {
				disk := vfs.NewCrashableMem()
				fs := &hookFS{FS: disk}
				before, hit := failNth(n, 1, cause, op)
				l := mustOpen(t, testOptions(fs, uint64(n)))
				fs.set(before, nil)
				want, synced, err := scenario(t, l, uint64(n))
				if !hit() {
					must(t, err)
					break
				}
				if !errors.Is(err, ErrFailed) || !errors.Is(err, cause) || errors.Is(err, ErrNoSpace) {
					t.Fatalf("%s %d failed, the log said %v", op, n, err)
				}
				_, err1 := l.AppendBlock(Owner{}, nil)
				_, err2 := l.Cut(ctx)
				for _, err := range []error{err1, err2, l.Sync(ctx, Position{1 << 60, 0}), l.Close(ctx)} {
					if !errors.Is(err, ErrFailed) {
						t.Fatalf("%s %d failed, later the log said %v", op, n, err)
					}
				}
				must(t, l.Sync(ctx, l.Durable()))
				got, _, err := replayAll(t, disk.CrashClone(vfs.CrashCloneCfg{}), "log")
				must(t, err)
				samePrefix(t, fmt.Sprintf("%s %d failed", op, n), got, want, synced)
			}
		}
	}
}

// On a full disk appends go on while memory lasts, then say so instead of waiting; everything can still be read, and is
// written once there is space.
func TestFullDiskForLong(t *testing.T) {
	mem := vfs.NewMem()
	fs := &hookFS{FS: mem}
	l := mustOpen(t, testOptions(fs, 1))
	fs.set(func(op string) error {
		if op == "sync" {
			return nil
		}
		return syscall.ENOSPC
	}, nil)
	r := rand.New(rand.NewPCG(1, 1))
	var want []record
	var addrs []Addr
	for {
		rec := record{KindBlock, Owner{1, uint64(len(want))}, randomBytes(r, 1000)}
		a, _, err := rec.put(l)
		if err != nil {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatal(err)
			}
			break
		}
		want, addrs = append(want, rec), append(addrs, a)
	}
	if got := int(addrs[len(addrs)-1].Segment); got != DefaultHeldSegments-1 {
		t.Fatalf("memory for %d segments was used", got+1)
	}
	if err := l.Sync(ctx, l.End()); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if err := l.Close(ctx); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	for i, a := range addrs {
		if got, err := l.ReadBlock(nil, a); err != nil || string(got) != string(want[i].data) {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	fs.set(nil, nil)
	must(t, l.Close(ctx))
	got, _, err := replayAll(t, mem, "log")
	must(t, err)
	samePrefix(t, "after space came", got, want, len(want))
}

// gate stops chosen operations until it is opened.
type gate struct{ ch chan struct{} }

func (g gate) before(op string) func(string) error {
	return func(got string) error {
		if got == op {
			<-g.ch
		}
		return nil
	}
}

// While the disk hangs, memory stays bounded: an append beyond the bound waits, and goes on afterwards.
func TestAppendWaitsAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, g := &hookFS{FS: vfs.NewMem()}, gate{make(chan struct{})}
		o := testOptions(fs, 1)
		o.MaxHeldSegments = 2
		l, err := Open(o)
		must(t, err)
		fs.set(g.before("sync"), nil)
		var appended atomic.Int64
		done := make(chan error)
		go func() {
			for range 100 {
				if _, err := l.AppendBlock(Owner{}, make([]byte, 250)); err != nil {
					done <- err
					return
				}
				if _, err := l.AppendTxn(randomBytes(rand.New(rand.NewPCG(1, 1)), 1000), false); err != nil {
					done <- err
					return
				}
				appended.Add(1)
			}
			done <- nil
		}()
		synctest.Wait()
		if n := appended.Load(); n == 0 || n == 100 {
			t.Fatalf("%d appends while the disk hangs", n)
		}
		if end := l.End(); end.Segment != 1 {
			t.Fatalf("log reached %v while the disk hangs", end)
		}
		short, cancel := context.WithCancel(ctx)
		cancelled := make(chan error)
		go func() { cancelled <- l.Sync(short, l.End()) }()
		synctest.Wait()
		cancel()
		if err := <-cancelled; !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled sync: %v", err)
		}
		close(g.ch)
		must(t, <-done)
		must(t, l.Close(ctx))
	})
}

// Callers of Sync at the same time share the fdatasync.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, g := &hookFS{FS: vfs.NewMem()}, gate{make(chan struct{})}
		l, err := Open(testOptions(fs, 1))
		must(t, err)
		_, err = l.AppendTxn([]byte("first"), false)
		must(t, err)
		must(t, l.Sync(ctx, l.End()))
		var syncs atomic.Int64
		hold := g.before("sync")
		fs.set(func(op string) error {
			if op == "sync" {
				syncs.Add(1)
			}
			return hold(op)
		}, nil)
		const callers = 20
		done := make(chan error, callers)
		for range callers {
			pos, err := l.AppendTxn([]byte("one of many"), false)
			must(t, err)
			go func() { done <- l.Sync(ctx, pos) }()
			synctest.Wait() // the first is in fdatasync now, the others wait for it
		}
		close(g.ch)
		for range callers {
			must(t, <-done)
		}
		if n := syncs.Load(); n != 2 {
			t.Fatalf("%d fdatasyncs for %d callers, want 2", n, callers)
		}
		must(t, l.Sync(ctx, l.End()))
		if n := syncs.Load(); n != 2 {
			t.Fatal("synced what was durable already")
		}
		fs.set(nil, nil)
		must(t, l.Close(ctx))
	})
}
