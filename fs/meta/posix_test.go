package meta

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/qsfs/qsfs/fs/wal"
)

func TestNames(t *testing.T) {
	r := newRig(t)
	for name, want := range map[string]error{
		"": ErrInvalid, ".": ErrInvalid, "..": ErrInvalid, "a/b": ErrInvalid, "a\x00": ErrInvalid,
		strings.Repeat("x", 256): ErrNameTooLong, strings.Repeat("x", 255): nil, "\xff\xfe": nil, "...": nil,
	} {
		_, err := r.Create(RootIno, name, New{})
		expect(t, fmt.Sprintf("create %q", name), err, want)
		_, err = r.Lookup(RootIno, name)
		expect(t, fmt.Sprintf("lookup %q", name), err, want)
	}
	_, err := r.Create(RootIno, "l", New{Mode: syscall.S_IFLNK})
	expect(t, "empty target", err, ErrInvalid)
	_, err = r.Create(RootIno, "l", New{Mode: syscall.S_IFLNK, Target: strings.Repeat("x", MaxTargetBytes+1)})
	expect(t, "long target", err, ErrNameTooLong)
	_, err = r.Create(RootIno, "l", New{Mode: 0o130000})
	expect(t, "unknown type", err, ErrInvalid)
	_, err = r.CreateOrphan(New{Mode: syscall.S_IFDIR})
	expect(t, "orphan directory", err, ErrInvalid)
	r.mustCheck()
}

func TestLimits(t *testing.T) {
	r := newRig(t)
	f := r.mustCreate(RootIno, "f", New{})
	d := r.mustCreate(RootIno, "d", New{Mode: syscall.S_IFDIR})
	d2 := r.mustCreate(RootIno, "d2", New{Mode: syscall.S_IFDIR})

	// Links at the bound: only the cached inode says so, the tree stays small.
	links := func(a Attr, n uint32) { a.Nlink = n; r.attrs.put(&a) }
	links(f, MaxLinks)
	_, err := r.Link(f.Ino, RootIno, "g")
	expect(t, "link", err, ErrTooManyLinks)
	links(f, 1)
	links(d, MaxLinks)
	_, err = r.Create(d.Ino, "sub", New{Mode: syscall.S_IFDIR})
	expect(t, "mkdir", err, ErrTooManyLinks)
	_, err = r.Rename(RootIno, "d2", d.Ino, "sub", 0)
	expect(t, "rename", err, ErrTooManyLinks)
	r.mustCreate(d.Ino, "file", New{})
	d, _ = r.GetAttr(d.Ino)
	_, err = r.Rename(RootIno, "d2", d.Ino, "file", RenameExchange)
	expect(t, "exchange", err, ErrTooManyLinks)
	links(d, 2)
	if _, err := r.SetAttr(d.Ino, Change{}); err != nil {
		t.Error(err)
	}

	_, err = r.SetAttr(f.Ino, Change{Mask: ChangeSize, SizeBytes: MaxFileBytes + 1})
	expect(t, "size", err, ErrFileTooBig)
	if _, err = r.SetAttr(f.Ino, Change{Mask: ChangeSize, SizeBytes: MaxFileBytes}); err != nil {
		t.Error(err)
	}
	_, err = r.WriteExtents(f.Ino, []Extent{{FileOffset: MaxFileBytes - 9, Length: 10, Block: block(1)}}, Change{})
	expect(t, "extent behind the end", err, ErrFileTooBig)
	if _, err = r.WriteExtents(f.Ino, []Extent{{FileOffset: MaxFileBytes - 10, Length: 10, Block: block(1)}}, Change{}); err != nil {
		t.Error(err)
	}
	if off, err := r.NextData(f.Ino, 0); err != nil || off != MaxFileBytes-10 {
		t.Error(off, err)
	}
	_, err = r.PunchHole(f.Ino, 5, ^uint64(0), Change{})
	expect(t, "punch to the end", err, nil)
	for what, exts := range map[string][]Extent{
		"empty": {{Block: block(1)}}, "no address": {{Length: 1, Block: wal.Addr{RawBytes: 10}}}, "behind the block": {{BlockOffset: 1, Length: 100, Block: block(1)}},
		"overlap": {{Length: 10, Block: block(1)}, {FileOffset: 9, Length: 1, Block: block(1)}},
	} {
		_, err = r.WriteExtents(f.Ino, exts, Change{})
		expect(t, what, err, ErrInvalid)
	}
	_, err = r.SetAttr(f.Ino, Change{Mask: ChangeAtime, Atime: Time{Nsec: 1e9}})
	expect(t, "nanoseconds", err, ErrInvalid)
	_, err = r.SetAttr(d2.Ino, Change{Mask: ChangeSize})
	expect(t, "size of a directory", err, ErrIsDir)
	_, err = r.GetAttr(999)
	expect(t, "unknown inode", err, ErrStale)
	_, err = r.Create(f.Ino, "x", New{})
	expect(t, "create in a file", err, ErrNotDir)
	_, err = r.Lookup(f.Ino, "x")
	expect(t, "lookup in a file", err, ErrNotDir)
	_, err = r.Rename(RootIno, "f", RootIno, "g", RenameExchange|RenameNoReplace)
	expect(t, "flags", err, ErrInvalid)
	expect(t, "format twice", r.Format(0, 0, 0), ErrExist)
	r.mustCheck()
}

func TestXattrLimits(t *testing.T) {
	r := newRig(t)
	big := make([]byte, MaxXattrBytes)
	if err := r.SetXattr(RootIno, "user.big", big, 0); err != nil {
		t.Error(err)
	}
	if got, err := r.GetXattr(RootIno, "user.big"); err != nil || len(got) != len(big) {
		t.Error(len(got), err)
	}
	expect(t, "value", r.SetXattr(RootIno, "user.big", append(big, 0), 0), ErrXattrTooBig)
	expect(t, "name", r.SetXattr(RootIno, strings.Repeat("x", 256), nil, 0), ErrNameTooLong)
	expect(t, "no name", r.SetXattr(RootIno, "", nil, 0), ErrInvalid)
	expect(t, "flags", r.SetXattr(RootIno, "a", nil, 3), ErrInvalid)
	f := r.mustCreate(RootIno, "f", New{})
	_, err := r.GetXattr(f.Ino, "user.a")
	expect(t, "none", err, ErrNoXattr)
	n := 0
	for ; err == nil || n == 0; n++ {
		err = r.SetXattr(f.Ino, fmt.Sprintf("user.%0250d", n), nil, 0)
	}
	expect(t, "names", err, ErrXattrsFull)
	if n-1 != MaxXattrNamesBytes/256 {
		t.Errorf("%d names fit", n-1)
	}
	if _, err := r.Unlink(RootIno, "f"); err != nil {
		t.Error(err)
	}
	if err := r.Reclaim(f.Ino); err != nil {
		t.Error(err)
	}
	r.mustCheck()
}

// A removed directory that is still open is there, empty, and takes no entries.
func TestRemovedDirectory(t *testing.T) {
	r := newRig(t)
	d := r.mustCreate(RootIno, "d", New{Mode: syscall.S_IFDIR | 0o755})
	f := r.mustCreate(RootIno, "f", New{})
	if a, err := r.Rmdir(RootIno, "d"); err != nil || a.Nlink != 0 {
		t.Fatal(a, err)
	}
	_, err := r.Create(d.Ino, "x", New{})
	expect(t, "create", err, ErrNotExist)
	_, err = r.Lookup(d.Ino, "x")
	expect(t, "lookup", err, ErrNotExist)
	_, err = r.Link(f.Ino, d.Ino, "x")
	expect(t, "link", err, ErrNotExist)
	_, err = r.Rename(RootIno, "f", d.Ino, "x", 0)
	expect(t, "rename", err, ErrNotExist)
	if got := r.names(d.Ino); len(got) != 0 {
		t.Error(got)
	}
	expect(t, "reclaim of a live file", r.Reclaim(f.Ino), ErrInvalid)
	if err := r.Reclaim(d.Ino); err != nil {
		t.Error(err)
	}
	expect(t, "reclaim again", r.Reclaim(d.Ino), ErrStale)
	r.mustCheck()
}

// What is there the whole time is listed exactly once, whatever else happens, and a cookie goes on where it was.
func TestReadDirStable(t *testing.T) {
	r := newRig(t)
	var stay []string
	for i := range 50 {
		stay = append(stay, fmt.Sprintf("stay%02d", i))
		r.mustCreate(RootIno, stay[i], New{})
		r.mustCreate(RootIno, fmt.Sprintf("go%02d", i), New{})
	}
	var seen []string
	cookie, round := uint64(0), 0
	for more := true; more; round++ {
		more = false
		if err := r.ReadDir(RootIno, cookie, func(e DirEntry) bool {
			more, cookie = true, e.Cookie
			if strings.HasPrefix(e.Name, "stay") {
				seen = append(seen, e.Name)
			}
			return len(seen)%7 != 0
		}); err != nil {
			t.Fatal(err)
		}
		if round < 50 { // between two reads: remove, add, and replace a name that stays
			r.Unlink(RootIno, fmt.Sprintf("go%02d", round))
			r.mustCreate(RootIno, "tmp", New{})
			if _, err := r.Rename(RootIno, "tmp", RootIno, stay[(round*13)%50], 0); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Rename(RootIno, stay[round], RootIno, stay[49-round], RenameExchange); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(seen, stay) {
		t.Errorf("seen %v", seen)
	}
	r.mustCheck()
}

// Many extents in one call take several transactions and any number of old ones.
func TestManyExtents(t *testing.T) {
	r := newRig(t)
	f := r.mustCreate(RootIno, "f", New{})
	exts := make([]Extent, 20_000)
	for i := range exts {
		exts[i] = Extent{FileOffset: uint64(i) * 100, Length: 100, Block: block(uint32(i))}
	}
	for range 2 {
		a, err := r.WriteExtents(f.Ino, exts, Change{})
		if err != nil || a.AllocBytes != 2_000_000 || a.SizeBytes != 2_000_000 {
			t.Fatal(a, err)
		}
	}
	for _, e := range r.journal.entries {
		if len(e.payload) > MaxPayloadBytes {
			t.Errorf("payload of %d bytes", len(e.payload))
		}
	}
	if got, err := r.Extents(f.Ino, 0, 1<<40, nil); err != nil || !slices.Equal(got, exts) {
		t.Error(len(got), err)
	}
	// One wide extent in place of more than are deleted one by one.
	wide := block(7)
	wide.RawBytes, wide.FrameBytes = wal.MaxBlockBytes, 1000
	last := r.Position()
	a, err := r.WriteExtents(f.Ino, []Extent{{FileOffset: 50, Length: wal.MaxBlockBytes, Block: wide}}, Change{})
	if err != nil || a.AllocBytes != 2_000_000 {
		t.Fatal(a, err)
	}
	if e := r.journal.last(); len(e.payload) > 1000 || last == e.after {
		t.Errorf("payload of %d bytes", len(e.payload))
	}
	covered := (50+wal.MaxBlockBytes)/100 - 1 // wholly
	if got, err := r.Extents(f.Ino, 0, 1<<40, nil); err != nil || len(got) != 20_001-covered {
		t.Error(len(got), err)
	}
	r.mustCheck()
	if _, err := r.SetAttr(f.Ino, Change{Mask: ChangeSize}); err != nil {
		t.Error(err)
	}
	if used, _ := r.Usage(); used != 0 {
		t.Errorf("%d bytes used", used)
	}
	r.mustCheck()
}

// Readers and writers of everything at once, under the race detector; then the tree is consistent.
func TestConcurrent(t *testing.T) {
	r := newRig(t)
	for i := range 4 {
		r.mustCreate(RootIno, fmt.Sprintf("d%d", i), New{Mode: syscall.S_IFDIR | 0o755})
	}
	var wg sync.WaitGroup
	fail := func(err error) {
		for _, ok := range []error{nil, ErrNotExist, ErrExist, ErrStale, ErrNotEmpty, ErrInvalid, ErrIsDir, ErrNotDir, ErrNoXattr} {
			if errors.Is(err, ok) {
				return
			}
		}
		t.Error(err)
	}
	for w := range 6 {
		wg.Go(func() {
			for i := range 150 {
				dir, name := Ino(2+(w+i)%4), fmt.Sprint("f", i%5)
				switch w {
				case 0, 1:
					a, err := r.Create(dir, name, New{})
					fail(err)
					if err == nil {
						_, err = r.WriteExtents(a.Ino, []Extent{{Length: 50, Block: block(uint32(i))}}, Change{})
						fail(err)
						fail(r.SetXattr(a.Ino, "user.a", []byte("v"), 0))
					}
				case 2:
					a, err := r.Unlink(dir, name)
					fail(err)
					if err == nil {
						fail(r.Reclaim(a.Ino))
					}
				case 3:
					_, err := r.Rename(dir, name, Ino(2+i%4), name, RenameFlags(i%3))
					fail(err)
				case 4:
					a, err := r.Lookup(dir, name)
					fail(err)
					_, err = r.Extents(a.Ino, 0, 100, nil)
					fail(err)
					_, err = r.GetXattr(a.Ino, "user.a")
					fail(err)
					fail(r.ReadDir(dir, 0, func(e DirEntry) bool {
						_, err := r.GetAttr(e.Ino)
						fail(err)
						return true
					}))
				case 5:
					if i%30 == 0 {
						fail(r.Flush(t.Context()))
						fail(r.Check(t.Context(), func(p Problem) { t.Error(p) }))
					}
					fail(r.Orphans(func(Ino) bool { return true }))
				}
			}
		})
	}
	wg.Wait()
	r.mustCheck()
	before := dump(t, r.Store)
	r.crash(50, 9)
	if !slices.Equal(before, dump(t, r.Store)) {
		t.Error("state after crash and replay differs")
	}
	r.mustCheck()
}

// The cache of inodes stays within its bound and keeps no inode older than the last put.
func TestAttrCache(t *testing.T) {
	c := newAttrCache(attrShards * 2)
	for i := Ino(1); i < 1000; i++ {
		c.put(&Attr{Ino: i})
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].entries)
	}
	if n != attrShards*2 {
		t.Errorf("%d entries", n)
	}
	_, ok, version := c.get(5)
	if ok {
		t.Error("the oldest is still there")
	}
	c.put(&Attr{Ino: 5, UID: 2}) // a writer overtakes
	c.fill(&Attr{Ino: 5, UID: 1}, version)
	if a, ok, _ := c.get(5); !ok || a.UID != 2 {
		t.Error(a, ok)
	}
	c.drop(5)
	c.fill(&Attr{Ino: 5, UID: 1}, version)
	if _, ok, version = c.get(5); ok {
		t.Error("an inode that was removed is back")
	}
	c.fill(&Attr{Ino: 5, UID: 3}, version)
	if a, ok, _ := c.get(5); !ok || a.UID != 3 {
		t.Error(a, ok)
	}
}
