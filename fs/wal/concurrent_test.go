package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Many at once append, sync, cut and read: every block is readable from memory or file at any time, segments close in
// order, and what each one appended is in the log, in its order.
func TestManyAtOnce(t *testing.T) {
	mem := vfs.NewMem()
	fs := &hookFS{FS: mem}
	o := testOptions(fs, 1)
	o.MaxHeldSegments = 3
	var closed []Closed // by the turn's holder only
	o.OnClosed = func(c Closed) { closed = append(closed, c) }
	l := mustOpen(t, o)

	read := func(a Addr) ([]byte, error) {
		got, err := l.ReadBlock(nil, a)
		if !errors.Is(err, ErrNotHeld) {
			return got, err
		}
		f, err := mem.Open(Path("log", a.Segment))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		h, err := ReadHeader(f, &testKey)
		if err != nil {
			return nil, err
		}
		c, err := NewCipher(&testKey, h.ID)
		if err != nil {
			return nil, err
		}
		frame := make([]byte, a.FrameBytes)
		if _, err := f.ReadAt(frame, int64(a.Offset)); err != nil {
			return nil, err
		}
		return c.OpenBlock(nil, a, frame)
	}

	const writers, each = 6, 150
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range uint64(writers) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(w, 1))
			var mine []Addr
			for i := range uint64(each) {
				data := fmt.Appendf(textBytes(r, r.IntN(2000)), "%d of %d", i, w)
				a, err := l.AppendBlock(Owner{w, i}, data)
				if err != nil {
					errs <- err
					return
				}
				mine = append(mine, a)
				switch r.IntN(8) {
				case 0:
					err = l.Sync(ctx, l.End())
				case 1:
					_, err = l.Cut(ctx)
				case 2:
					var pos Position
					if pos, err = l.AppendTxn(data, true); err == nil {
						err = l.Sync(ctx, pos)
					}
				}
				if err != nil {
					errs <- err
					return
				}
				k := r.IntN(len(mine))
				got, err := read(mine[k])
				if err != nil || !bytes.HasSuffix(got, fmt.Appendf(nil, "%d of %d", k, w)) {
					errs <- fmt.Errorf("block %d of %d at %v: %q, %w", k, w, mine[k], got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	must(t, l.Close(ctx))
	for i, c := range closed {
		if c.Ordinal != uint64(i) {
			t.Fatalf("segment %d was closed as number %d", c.Ordinal, i)
		}
	}
	got, found, err := replayAll(t, mem, "log")
	must(t, err)
	if len(found.Segments) != len(closed) {
		t.Fatalf("%d segments found, %d closed", len(found.Segments), len(closed))
	}
	next := make([]uint64, writers)
	for _, rec := range got {
		if rec.kind == KindBlock {
			if rec.owner.FileOffset != next[rec.owner.Ino] {
				t.Fatalf("block %d of %d, want %d", rec.owner.FileOffset, rec.owner.Ino, next[rec.owner.Ino])
			}
			next[rec.owner.Ino]++
		}
	}
	for w, n := range next {
		if n != each {
			t.Fatalf("%d blocks of %d", n, w)
		}
	}
}

// Close and Discard may come at any time.
func TestCloseWhileAppending(t *testing.T) {
	for i := range 30 {
		mem := vfs.NewMem()
		l, err := Open(testOptions(mem, 1))
		must(t, err)
		var wg sync.WaitGroup
		for w := range uint64(3) {
			wg.Go(func() {
				for n := uint64(0); ; n++ {
					a, err := l.AppendBlock(Owner{w, n}, make([]byte, 3000))
					if err == nil && n%5 == 0 {
						err = l.Sync(ctx, Position{a.Segment, a.Offset + a.FrameBytes})
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		for l.End().Segment < uint64(i%4) {
			_, err := l.AppendTxn(nil, false)
			must(t, err)
		}
		if i%2 == 0 {
			must(t, l.Close(ctx))
		} else {
			l.Discard()
		}
		wg.Wait()
		l.Discard()
		_, _, err = replayAll(t, mem, "log")
		must(t, err)
	}
}
