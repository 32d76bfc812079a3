package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What is appended comes back: from memory at once, from the files after Close, over many segments, whatever its size.
func TestAppendReadReplay(t *testing.T) {
	for _, segmentBytes := range []int{MinSegmentBytes, 8 << 10, 100 << 10, 2 << 20} {
		fs := vfs.NewMem()
		r := rand.New(rand.NewPCG(1, uint64(segmentBytes)))
		o := testOptions(fs, 1)
		o.SegmentBytes = segmentBytes
		var closed []Closed
		o.OnClosed = func(c Closed) { closed = append(closed, c) }
		l := mustOpen(t, o)
		var want []record
		var ends []Position
		for range 300 {
			rec := randomRecord(r, min(segmentBytes/3, 20<<10))
			a, end, err := rec.put(l)
			must(t, err)
			if got := l.End(); got != end {
				t.Fatalf("end %v, want %v", got, end)
			}
			if rec.kind == KindBlock {
				got, err := l.ReadBlock([]byte("x"), a)
				if err != nil || !bytes.Equal(got[1:], rec.data) {
					t.Fatalf("read back %v: %v", a, err)
				}
			}
			want, ends = append(want, rec), append(ends, end)
		}
		must(t, l.Close(ctx))
		got, found, err := replayAll(t, fs, "log")
		must(t, err)
		samePrefix(t, "replay", got, want, len(want))
		if found.Next != uint64(len(closed)) || found.Prev != closed[len(closed)-1].ID || found.Epoch != 7 {
			t.Fatalf("recovered %+v after %d segments", found, len(closed))
		}
		for i, s := range found.Segments {
			c := closed[i]
			if !s.Complete || s.Header != c.Header || int64(s.End) != c.SizeBytes || c.Path != Path("log", uint64(i)) {
				t.Fatalf("found %+v, closed %+v", s, c)
			}
			if n := len(readFile(t, fs, c.Path)); int64(n) != c.SizeBytes || n > segmentBytes {
				t.Fatalf("file of %d bytes, closed with %d", n, c.SizeBytes)
			}
		}
		// From any position on, exactly what is behind it.
		for i := 0; i < len(ends); i += 37 {
			n := 0
			_, err := Replay(fs, "log", &testKey, ends[i], func(e Entry) error {
				n++
				return nil
			})
			if must(t, err); n != len(want)-1-i {
				t.Fatalf("from %v: %d entries, want %d", ends[i], n, len(want)-1-i)
			}
		}
		if _, err := Replay(fs, "log", &testKey, found.End, func(Entry) error { t.Fatal("entry behind the end"); return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBounds(t *testing.T) {
	o := testOptions(vfs.NewMem(), 1)
	o.SegmentBytes = 2 << 20
	l := mustOpen(t, o)
	if _, err := l.AppendBlock(Owner{}, make([]byte, MaxBlockBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if _, err := l.AppendTxn(make([]byte, MaxTxnBytes+1), false); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if l.End() != (Position{}) {
		t.Fatal("a refused frame moved the end")
	}
	r := rand.New(rand.NewPCG(3, 3))
	for _, rec := range []record{
		{KindBlock, Owner{1, 2}, randomBytes(r, MaxBlockBytes)},
		{KindBlock, Owner{}, nil},
		{KindTxn, Owner{}, randomBytes(r, MaxTxnBytes)},
		{KindLazyTxn, Owner{}, textBytes(r, MaxTxnBytes)},
		{KindTxn, Owner{}, nil},
	} {
		_, _, err := rec.put(l)
		must(t, err)
	}
	must(t, l.Close(ctx))
	if _, err := l.AppendTxn(nil, false); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	got, _, err := replayAll(t, o.FS, "log")
	if must(t, err); len(got) != 5 || len(got[0].data) != MaxBlockBytes || len(got[2].data) != MaxTxnBytes {
		t.Fatalf("replayed %v", got)
	}
	for _, bad := range []int{1, MinSegmentBytes - 1, MaxSegmentBytes + 1} {
		o.SegmentBytes = bad
		if _, err := Open(o); err == nil {
			t.Fatalf("segments of %d bytes taken", bad)
		}
	}
	o = testOptions(vfs.NewMem(), 1)
	o.SegmentBytes = MinSegmentBytes
	l = mustOpen(t, o)
	if _, err := l.AppendBlock(Owner{}, randomBytes(r, MinSegmentBytes-headerBytes-endFrameBytes-frameOverhead-ownerBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	_, err = l.AppendBlock(Owner{}, randomBytes(r, MinSegmentBytes-headerBytes-endFrameBytes-frameOverhead-ownerBytes))
	must(t, err)
}

// Cut closes what is worth closing, and only that.
func TestCut(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	var closed []uint64
	o.OnClosed = func(c Closed) { closed = append(closed, c.Ordinal) }
	l := mustOpen(t, o)
	cut := func(want bool) {
		t.Helper()
		if got, err := l.Cut(ctx); err != nil || got != want {
			t.Fatalf("cut %v, %v; want %v", got, err, want)
		}
	}
	cut(false)
	if ordinals, _ := List(fs, "log"); len(ordinals) != 0 {
		t.Fatal("a file without an append")
	}
	_, err := l.AppendTxn([]byte("lazy"), true)
	must(t, err)
	cut(false)
	if l.PendingBytes() != 0 {
		t.Fatalf("%d bytes pending", l.PendingBytes())
	}
	pos, err := l.AppendTxn([]byte("not lazy"), false)
	must(t, err)
	if got, want := l.PendingBytes(), int64(frameOverhead+prevTxnBytes+8); got != want {
		t.Fatalf("%d bytes pending, want %d", got, want)
	}
	cut(true)
	cut(false)
	if l.PendingBytes() != 0 || l.Durable().Less(pos) || !slices.Equal(closed, []uint64{0}) {
		t.Fatalf("after the cut: pending %d, durable %v, closed %v", l.PendingBytes(), l.Durable(), closed)
	}
	_, err = l.AppendTxn([]byte("lazy"), true)
	must(t, err)
	must(t, l.Close(ctx))
	if !slices.Equal(closed, []uint64{0, 1}) {
		t.Fatalf("closed %v", closed)
	}
	must(t, l.Close(ctx))
}

// A block is read from memory until its file is complete, and from the file by the same address after.
func TestReadBlockFromMemoryOrFile(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs, 1))
	want := []byte("a block")
	a, err := l.AppendBlock(Owner{3, 4}, want)
	must(t, err)
	for _, wrong := range []Addr{
		{a.Segment, a.Offset + 1, a.FrameBytes, a.RawBytes}, {a.Segment, a.Offset, a.FrameBytes + 1, a.RawBytes + 1},
		{a.Segment, a.Offset, a.FrameBytes, a.RawBytes - 1}, {a.Segment, 0, a.FrameBytes, a.RawBytes}, {},
		{a.Segment, a.Offset + a.FrameBytes, a.FrameBytes, a.RawBytes}, {a.Segment, 1<<32 - 1, a.FrameBytes, a.RawBytes},
	} {
		if got, err := l.ReadBlock(nil, wrong); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("block at %v: %q, %v", wrong, got, err)
		}
	}
	if _, err := l.ReadBlock(nil, Addr{a.Segment + 1, a.Offset, a.FrameBytes, a.RawBytes}); !errors.Is(err, ErrNotHeld) {
		t.Fatal(err)
	}
	_, err = l.Cut(ctx)
	must(t, err)
	if _, err := l.ReadBlock(nil, a); !errors.Is(err, ErrNotHeld) {
		t.Fatal(err)
	}
	file := readFile(t, fs, Path("log", 0))
	h, err := ReadHeader(bytes.NewReader(file), &testKey)
	must(t, err)
	c, err := NewCipher(&testKey, h.ID)
	must(t, err)
	got, owner, err := c.OpenBlockOwner(nil, a, file[a.Offset:a.Offset+a.FrameBytes])
	if err != nil || !bytes.Equal(got, want) || owner != (Owner{3, 4}) {
		t.Fatalf("got %q of %v, %v", got, owner, err)
	}
}

// A second process begins behind the first, and never in a segment of it.
func TestOpenContinues(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs, 1))
	pos, err := l.AppendTxn([]byte("first"), false)
	must(t, err)
	must(t, l.Sync(ctx, pos))
	l.Discard()

	if _, err := Open(testOptions(fs, 2)); !errors.Is(err, ErrExists) {
		t.Fatalf("opened over a segment: %v", err)
	}
	_, found, err := replayAll(t, fs, "log")
	must(t, err)
	if found.Next != 1 || found.PrevEnd != pos.Offset || found.Segments[0].Complete {
		t.Fatalf("recovered %+v", found)
	}
	o := testOptions(fs, 2)
	o.Next, o.Prev, o.PrevEnd = found.Next, found.Prev, found.PrevEnd
	l = mustOpen(t, o)
	_, err = l.AppendTxn([]byte("second"), false)
	must(t, err)
	must(t, l.Close(ctx))
	got, found, err := replayAll(t, fs, "log")
	must(t, err)
	samePrefix(t, "both", got, []record{{kind: KindTxn, data: []byte("first")}, {kind: KindTxn, data: []byte("second")}}, 2)

	t.Run("wrong end", func(t *testing.T) {
		o := testOptions(fs, 3)
		o.Next, o.Prev, o.PrevEnd = found.Next, found.Prev, found.PrevEnd-5
		if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut in the middle of a frame: %v", err)
		}
		o.PrevEnd = found.PrevEnd + 5
		if _, err := Open(o); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("shorter than said: %v", err)
		}
	})
	t.Run("header never written", func(t *testing.T) {
		for _, content := range [][]byte{nil, make([]byte, 79), make([]byte, 5000)} {
			f, err := fs.Create(Path("log", found.Next), vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = f.Write(content)
			must(t, err)
			must(t, f.Close())
			_, again, err := replayAll(t, fs, "log")
			if must(t, err); again.Next != found.Next || again.End != found.End {
				t.Fatalf("recovered %+v, before %+v", again, found)
			}
			o := testOptions(fs, 3)
			o.Next, o.Prev, o.PrevEnd = again.Next, again.Prev, again.PrevEnd
			mustOpen(t, o).Discard()
			if ordinals, _ := List(fs, "log"); len(ordinals) != int(found.Next) {
				t.Fatalf("segments %v", ordinals)
			}
		}
	})
	t.Run("truncated since", func(t *testing.T) {
		name := Path("log", 0)
		whole := readFile(t, fs, name)
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.Write(bytes.Clone(whole[:headerBytes])) // at a frame's boundary
		must(t, err)
		must(t, f.Close())
		if _, _, err := replayAll(t, fs, "log"); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("replayed a shortened log: %v", err)
		}
		must(t, fs.Remove(name))
		if _, _, err := replayAll(t, fs, "log"); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("replayed a log without its first segment: %v", err)
		}
	})
}

// A process may die and leave in the page cache what was never synced. The next one, having read it, makes it durable
// before it goes on, whether the file ends there or has to be cut.
func TestOpenSettlesWhatItGoesOnFrom(t *testing.T) {
	for _, tail := range []int{0, 100} {
		disk := vfs.NewCrashableMem()
		l := mustOpen(t, testOptions(disk, 1))
		pos, err := l.AppendTxn([]byte("synced"), false)
		must(t, err)
		must(t, l.Sync(ctx, pos))
		_, err = l.AppendTxn([]byte("only written"), false)
		must(t, err)
		l.mu.Lock()
		must(t, l.takeTurn(l.end, false))
		l.mu.Unlock()
		if l.Durable() != pos {
			t.Fatalf("durable up to %v without a sync, want %v", l.Durable(), pos)
		}
		l.Discard()
		f, err := disk.OpenReadWrite(Path("log", 0), vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.WriteAt(make([]byte, tail), int64(l.End().Offset))
		must(t, err)
		must(t, f.Close())
		want, found, err := replayAll(t, disk, "log")
		must(t, err)
		o := testOptions(disk, 2)
		o.Next, o.Prev, o.PrevEnd = found.Next, found.Prev, found.PrevEnd
		mustOpen(t, o)
		got, _, err := replayAll(t, disk.CrashClone(vfs.CrashCloneCfg{}), "log")
		must(t, err)
		samePrefix(t, "after a power cut", got, want, 2)
	}
}

// A segment of another writer's log does not pass as the next one, though all of it opens.
func TestReplayChecksTheChain(t *testing.T) {
	var disks [2]vfs.FS
	for i := range disks {
		disks[i] = vfs.NewMem()
		l := mustOpen(t, testOptions(disks[i], uint64(i)))
		for range 2 {
			_, err := l.AppendTxn([]byte("the same in both"), false)
			must(t, err)
			_, err = l.Cut(ctx)
			must(t, err)
		}
		_, _, err := replayAll(t, disks[i], "log")
		must(t, err)
	}
	must(t, vfsCopy(disks[1], disks[0], Path("log", 1)))
	if got, _, err := replayAll(t, disks[0], "log"); !errors.Is(err, ErrCorrupt) || len(got) != 1 {
		t.Fatalf("%d records, %v", len(got), err)
	}
}

func vfsCopy(from, to vfs.FS, name string) error {
	f, err := from.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return copyFile(to, name, f, info.Size())
}

// The end frame may reach the disk before a block does. So in the last segment blocks are opened, end frame or not, and a
// transaction behind a torn block is not replayed.
func TestReplayOpensBlocksOfTheLastSegment(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs, 1))
	a, err := l.AppendBlock(Owner{}, textBytes(rand.New(rand.NewPCG(1, 1)), 3000))
	must(t, err)
	_, err = l.AppendTxn([]byte("refers to the block"), false)
	must(t, err)
	must(t, l.Close(ctx))
	f, err := fs.OpenReadWrite(Path("log", 0), vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 512), int64(a.Offset)+100)
	must(t, err)
	got, found, err := replayAll(t, fs, "log")
	must(t, err)
	if len(got) != 0 || found.PrevEnd != a.Offset || found.Segments[0].Complete {
		t.Fatalf("%d records, %+v", len(got), found)
	}
}

// The buffer of a segment is not used again while someone reads in it.
func TestBufferIsKeptForReaders(t *testing.T) {
	l := mustOpen(t, testOptions(vfs.NewMem(), 1))
	for _, readers := range []int{1, 0} {
		_, err := l.AppendTxn(nil, false)
		must(t, err)
		l.mu.Lock()
		l.open.readers += readers
		l.mu.Unlock()
		_, err = l.Cut(ctx)
		must(t, err)
		if got := l.spare != nil; got != (readers == 0) {
			t.Fatalf("%d readers, buffer to be used again: %v", readers, got)
		}
	}
}

// On a real disk a complete file has exactly its bytes: neither zeros written ahead nor preallocated blocks stay.
func TestFileOnDiskIsCutToSize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "log")
	must(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	l := mustOpen(t, Options{Dir: dir, Key: testKey})
	pos, err := l.AppendTxn(make([]byte, 300), false)
	must(t, err)
	must(t, l.Sync(ctx, pos))
	ahead, err := os.Stat(Path(dir, 0))
	must(t, err)
	if zeros := ahead.Size() - int64(pos.Offset); zeros < aheadBytes || zeros >= aheadBytes+pageBytes {
		t.Fatalf("%d bytes after a small sync at %d, want %d zeros and what fills the page", ahead.Size(), pos.Offset, aheadBytes)
	}
	a, err := l.AppendBlock(Owner{}, make([]byte, 100))
	must(t, err)
	_, err = l.Cut(ctx)
	must(t, err)
	info, err := os.Stat(Path(dir, 0))
	must(t, err)
	if want := int64(a.Offset + a.FrameBytes + endFrameBytes); info.Size() != want {
		t.Fatalf("%d bytes, want %d", info.Size(), want)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks*512 > 64<<10 {
		t.Fatalf("%d bytes are allocated for %d", st.Blocks*512, info.Size())
	}
	must(t, l.Close(ctx))
	if ordinals, err := List(vfs.Default, dir); err != nil || !slices.Equal(ordinals, []uint64{0}) {
		t.Fatalf("segments %v, %v", ordinals, err)
	}
}

func TestListIgnoresOthers(t *testing.T) {
	fs := vfs.NewMem()
	if ordinals, err := List(fs, "nosuch"); err != nil || ordinals != nil {
		t.Fatalf("%v, %v", ordinals, err)
	}
	must(t, fs.MkdirAll("log", 0o700))
	for _, name := range []string{Path("log", 1<<63), Path("log", 10), Path("log", 9), "log/x.qseg", "log/000000000000000A.qseg", "log/00.qseg", "log/0000000000000001.qseg.cut", "log/0000000000000001"} {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		must(t, err)
		must(t, f.Close())
	}
	if ordinals, err := List(fs, "log"); err != nil || !slices.Equal(ordinals, []uint64{9, 10, 1 << 63}) {
		t.Fatalf("%v, %v", ordinals, err)
	}
}

func TestPositionEncodingKeepsOrder(t *testing.T) {
	ps := []Position{{}, {0, 1}, {0, 1 << 31}, {1, 0}, {255, 3}, {256, 2}, {1 << 63, 0}, {1 << 63, 7}}
	for i, p := range ps {
		b := p.AppendTo(nil)
		if q, err := DecodePosition(b); err != nil || q != p || len(b) != PositionBytes {
			t.Fatalf("%v decoded as %v, %v", p, q, err)
		}
		for j, q := range ps {
			want := min(max(i-j, -1), 1)
			if p.Compare(q) != want || bytes.Compare(b, q.AppendTo(nil)) != want || p.Less(q) != (want < 0) {
				t.Fatalf("%v and %v", p, q)
			}
		}
	}
	a := Addr{5, 80, 140, 100}
	if b, err := DecodeAddr(a.AppendTo(nil)); err != nil || b != a {
		t.Fatalf("%v decoded as %v, %v", a, b, err)
	}
	for _, bad := range []Addr{{}, {0, 79, 140, 100}, {0, 80, 141, 100}, {0, 80, 39, 100}, {0, 80, 200, MaxBlockBytes + 1}, {0, MaxSegmentBytes, 140, 100}} {
		if _, err := DecodeAddr(bad.AppendTo(nil)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%v taken: %v", bad, err)
		}
	}
	if _, err := DecodePosition(make([]byte, 11)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := DecodeAddr(make([]byte, 21)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// No 8 bytes of what was appended, and no owner, stand in a file; nor does a length stand where it would.
func TestFileHoldsNoPlaintext(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs, 1))
	r := rand.New(rand.NewPCG(5, 5))
	pieces := map[[8]byte]bool{}
	for range 100 {
		rec := randomRecord(r, 2000)
		if rec.kind == KindBlock {
			rec.owner = Owner{Ino: 0x1122334455667788, FileOffset: 0xCAFEBABE << 16}
		}
		whole := append(rec.owner.appendTo(nil), rec.data...)
		for i := 0; i+8 <= len(whole); i++ {
			pieces[[8]byte(whole[i:])] = true
		}
		_, _, err := rec.put(l)
		must(t, err)
	}
	must(t, l.Close(ctx))
	ordinals, err := List(fs, "log")
	must(t, err)
	seen := map[[8]byte]bool{}
	for _, ordinal := range ordinals {
		file := readFile(t, fs, Path("log", ordinal))
		for i := 0; i+8 <= len(file); i++ {
			piece := [8]byte(file[i:])
			if pieces[piece] {
				t.Fatalf("segment %d has %x in clear at %d", ordinal, piece, i)
			}
			if i >= 8 && seen[piece] {
				t.Fatalf("segment %d repeats %x at %d", ordinal, piece, i)
			}
			seen[piece] = true
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop items on purpose here")
	}
	o := testOptions(vfs.NewMem(), 1)
	o.SegmentBytes = 32 << 20
	l := mustOpen(t, o)
	l.full = true // the flusher stays out
	r := rand.New(rand.NewPCG(5, 5))
	block, txn, read := textBytes(r, 64<<10), textBytes(r, 300), make([]byte, 0, 64<<10)
	a, err := l.AppendBlock(Owner{}, block)
	must(t, err)
	n := testing.AllocsPerRun(50, func() {
		_, err1 := l.AppendBlock(Owner{}, block)
		_, err2 := l.AppendTxn(txn, false)
		_, err3 := l.ReadBlock(read, a)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 { // a garbage collection may empty a pool in between
		t.Fatalf("%v allocations", n)
	}
}
