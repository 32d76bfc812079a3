package fs

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qsfs/qsfs/fs/meta"
)

// testLeaseTTL is how long a test waits for a machine that was lost.
const testLeaseTTL = 400 * time.Millisecond

// testVolume is a fresh volume on simulated nodes.
func testVolume(t testing.TB, g *grid, change func(*Options)) (*Volume, Options) {
	t.Helper()
	o := g.options(t.TempDir())
	o.LeaseTTL = testLeaseTTL
	if change != nil {
		change(&o)
	}
	if err := Create(context.Background(), g.cfg, o); err != nil {
		t.Fatal(err)
	}
	return g.open(o), o
}

func closeVolume(t testing.TB, v *Volume) {
	t.Helper()
	if err := v.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// A file that only grows never looks shorter than it was, nor has other bytes, to
// those who read and stat it while it is written and flushed.
func TestGrowingFileNeverShrinks(t *testing.T) {
	g := newGrid(t, 2, 1, 3)
	v, _ := testVolume(t, g, nil)
	defer closeVolume(t, v)
	ctx := context.Background()
	const pieceBytes = 4096 // 16 of them fill a block
	for round := range 8 {
		ino := mkfile(t, v, "log"+string(rune('a'+round)))
		var written atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				b := make([]byte, 64)
				for {
					select {
					case <-stop:
						return
					default:
					}
					least := written.Load()
					a, err := v.GetAttr(ino)
					if err != nil || int64(a.SizeBytes) < least {
						t.Errorf("size %d after %d bytes were written: %v", a.SizeBytes, least, err)
						return
					}
					if least == 0 {
						continue
					}
					off := max(least-int64(len(b)), 0)
					n, err := v.Read(ctx, ino, off, b)
					if err != nil || int64(n) < least-off {
						t.Errorf("%d bytes at %d of at least %d: %v", n, off, least, err)
						return
					}
					if want := bytes.Repeat([]byte{'x'}, n); !bytes.Equal(b[:n], want) {
						t.Errorf("wrong bytes at %d", off)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := v.flushDirty(time.Time{}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
		piece := bytes.Repeat([]byte{'x'}, pieceBytes)
		for i := range int64(150) {
			write(t, v, ino, i*pieceBytes, piece)
			written.Store((i + 1) * pieceBytes)
		}
		close(stop)
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// Times of an inode never go back either.
func TestTimesNeverGoBack(t *testing.T) {
	g := newGrid(t, 2, 1, 3)
	v, _ := testVolume(t, g, nil)
	defer closeVolume(t, v)
	ino := mkfile(t, v, "f")
	last := meta.Time{}
	step := func(what string) {
		t.Helper()
		a, err := v.GetAttr(ino)
		if err != nil {
			t.Fatal(err)
		}
		if a.Ctime.Std().Before(last.Std()) {
			t.Errorf("%s: ctime went from %v back to %v", what, last.Std(), a.Ctime.Std())
		}
		last = a.Ctime
	}
	write(t, v, ino, 0, []byte("data"))
	step("write")
	a, err := v.SetAttr(ino, meta.Change{Mask: meta.ChangeMode, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	if !a.Ctime.Std().After(last.Std()) {
		t.Error("chmod of a file with dirty data does not change ctime")
	}
	last = a.Ctime
	step("stat after chmod")
	if err := v.store.SetXattr(ino, "user.a", []byte("b"), 0); err != nil {
		t.Fatal(err)
	}
	stored, err := v.store.GetAttr(ino)
	if err != nil {
		t.Fatal(err)
	}
	last = stored.Ctime
	step("stat after setxattr")
	if err := v.flushDirty(time.Time{}); err != nil {
		t.Fatal(err)
	}
	step("flush")
}
