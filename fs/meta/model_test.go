package meta

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model runs the same operations on a store and on the reference.
type model struct {
	*rig
	ref    *reference
	blocks uint32
}

func (m *model) step(t *rapid.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

var modelNames = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})

// ino draws a number, mostly of an inode that exists.
func (m *model) ino(t *rapid.T, want func(*refInode) bool) Ino {
	var fit []Ino
	for _, ino := range sortedKeys(m.ref.inodes) {
		if want(m.ref.inodes[ino]) {
			fit = append(fit, ino)
		}
	}
	if len(fit) == 0 || rapid.IntRange(0, 19).Draw(t, "stray") == 0 {
		return Ino(rapid.Uint64Range(1, uint64(m.ref.next)).Draw(t, "ino"))
	}
	return rapid.SampledFrom(fit).Draw(t, "ino")
}

func (m *model) dir(t *rapid.T) Ino {
	return m.ino(t, func(in *refInode) bool { return in.attr.IsDir() })
}

func (m *model) file(t *rapid.T) Ino {
	return m.ino(t, func(in *refInode) bool { return in.attr.IsRegular() })
}

func (m *model) any(t *rapid.T) Ino { return m.ino(t, func(*refInode) bool { return true }) }

// Every operation on the store has the result, and leaves the state, that it has on plain maps; so do crash and replay.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{rig: newRigFor(t)}
		defer func() { m.Store.Close() }()
		m.ref = newReference(Time{Sec: 1000, Nsec: 7})
		m.limits()
		t.Repeat(m.actions())
		m.compare(t)
	})
}

// limits makes the store take the paths of huge files with small ones.
func (m *model) limits() { m.pointDeletes, m.payloadRoom = 3, 200 }

func (m *model) actions() map[string]func(*rapid.T) {
	create := func(typ uint32) func(*rapid.T) {
		return func(t *rapid.T) {
			parent, name, now := m.dir(t), modelNames.Draw(t, "name"), m.clock.tick()
			n := New{Mode: typ | rapid.SampledFrom([]uint32{0o644, 0o2755}).Draw(t, "mode"), UID: 5, GID: rapid.Uint32Max(9).Draw(t, "gid")}
			switch typ {
			case syscall.S_IFLNK:
				n.Target = "to/" + name
			case syscall.S_IFCHR:
				n.Rdev = 77
			}
			ino, want := m.ref.create(parent, name, n, now)
			a, err := m.Create(parent, name, n)
			m.step(t, "create", err, want)
			if want == nil && a != m.ref.full(m.ref.inodes[ino]) {
				t.Fatalf("created %+v", a)
			}
		}
	}
	remove := func(dir bool) func(*rapid.T) {
		return func(t *rapid.T) {
			parent, name, now := m.dir(t), modelNames.Draw(t, "name"), m.clock.tick()
			want := m.ref.remove(parent, name, dir, now)
			op := m.Unlink
			if dir {
				op = m.Rmdir
			}
			a, err := op(parent, name)
			m.step(t, "remove", err, want)
			if want == nil && a != m.ref.full(m.ref.inodes[a.Ino]) {
				t.Fatalf("removed %+v", a)
			}
		}
	}
	return map[string]func(*rapid.T){
		"file":    create(syscall.S_IFREG),
		"mkdir":   create(syscall.S_IFDIR),
		"symlink": create(syscall.S_IFLNK),
		"mknod":   create(syscall.S_IFCHR),
		"unlink":  remove(false),
		"rmdir":   remove(true),
		"tmpfile": func(t *rapid.T) {
			n := New{Mode: syscall.S_IFREG | 0o600}
			ino := m.ref.orphan(n, m.clock.tick())
			a, err := m.CreateOrphan(n)
			m.step(t, "tmpfile", err, nil)
			if a.Ino != ino {
				t.Fatalf("inode %d, want %d", a.Ino, ino)
			}
		},
		"link": func(t *rapid.T) {
			ino, parent, name, now := m.any(t), m.dir(t), modelNames.Draw(t, "name"), m.clock.tick()
			want := m.ref.link(ino, parent, name, now)
			_, err := m.Link(ino, parent, name)
			m.step(t, "link", err, want)
		},
		"rename":   m.rename,
		"write":    m.write,
		"truncate": m.truncate,
		"punch": func(t *rapid.T) {
			ino, off, n := m.file(t), rapid.Uint64Max(300).Draw(t, "off"), rapid.Uint64Max(300).Draw(t, "n")
			want := m.ref.punch(ino, off, n)
			_, err := m.PunchHole(ino, off, n, Change{})
			m.step(t, "punch", err, want)
		},
		"chmod": func(t *rapid.T) {
			ino, now := m.any(t), m.clock.tick()
			ch := Change{Mask: ChangeMode | ChangeUID | ChangeGID | ChangeAtime | ChangeFlags, Mode: 0o2750, UID: 9, GID: 8, Atime: Time{-5, 6}, Flags: 4}
			in := m.ref.inodes[ino]
			want := ErrStale
			if in != nil {
				want = nil
				in.attr.Mode, in.attr.UID, in.attr.GID = in.attr.Type()|0o2750, 9, 8
				in.attr.Atime, in.attr.Flags, in.attr.Ctime = ch.Atime, 4, now
			}
			_, err := m.SetAttr(ino, ch)
			m.step(t, "chmod", err, want)
		},
		"setxattr":    m.setXattr,
		"removexattr": m.removeXattr,
		"reclaim": func(t *rapid.T) {
			ino := m.ino(t, func(in *refInode) bool { return in.names == 0 })
			m.step(t, "reclaim", m.Reclaim(ino), m.ref.reclaim(ino))
		},
		"flush": func(t *rapid.T) { m.step(t, "flush", m.Flush(context.Background()), nil) },
		"crash": func(t *rapid.T) {
			m.crash(rapid.IntRange(0, 100).Draw(t, "percent"), rapid.Uint64().Draw(t, "seed"))
			m.limits()
			m.compare(t)
		},
		"compare": m.compare,
	}
}

func (m *model) rename(t *rapid.T) {
	op, on, np, nn := m.dir(t), modelNames.Draw(t, "old"), m.dir(t), modelNames.Draw(t, "new")
	flags := rapid.SampledFrom([]RenameFlags{0, 0, RenameNoReplace, RenameExchange}).Draw(t, "flags")
	var before Ino
	if d := m.ref.inodes[np]; d != nil {
		before = d.entries[nn].ino
	}
	want := m.ref.rename(op, on, np, nn, flags, m.clock.tick())
	res, err := m.Rename(op, on, np, nn, flags)
	m.step(t, "rename", err, want)
	if err != nil {
		return
	}
	other := res.Replaced
	if flags == RenameExchange {
		other = res.Exchanged
	}
	if res.Moved != m.ref.full(m.ref.inodes[res.Moved.Ino]) {
		t.Fatalf("moved %+v", res.Moved)
	}
	if other.Ino == 0 && before == res.Moved.Ino {
		return // nothing happened
	}
	if other.Ino != before || before != 0 && other != m.ref.full(m.ref.inodes[before]) {
		t.Fatalf("replaced %+v, want %d", other, before)
	}
}

func (m *model) write(t *rapid.T) {
	ino := m.file(t)
	var exts []Extent
	off := uint64(0)
	for range rapid.IntRange(0, 6).Draw(t, "extents") {
		off += rapid.Uint64Max(60).Draw(t, "gap")
		e := Extent{FileOffset: off, Length: rapid.Uint32Range(1, 50).Draw(t, "length"), BlockOffset: rapid.Uint32Max(50).Draw(t, "start"), Block: block(m.blocks)}
		m.blocks++
		exts = append(exts, e)
		off = e.End()
	}
	ch := Change{}
	if rapid.Bool().Draw(t, "grow") {
		ch = Change{Mask: ChangeSize, SizeBytes: rapid.Uint64Max(400).Draw(t, "size")}
	}
	want := m.ref.write(ino, exts, ch.SizeBytes)
	a, err := m.WriteExtents(ino, exts, ch)
	m.step(t, "write", err, want)
	if err == nil && a != m.ref.full(m.ref.inodes[ino]) {
		t.Fatalf("wrote %+v\nwant  %+v", a, m.ref.full(m.ref.inodes[ino]))
	}
}

func (m *model) truncate(t *rapid.T) {
	ino, size, now := m.file(t), rapid.Uint64Max(400).Draw(t, "size"), m.clock.tick()
	if rapid.IntRange(0, 3).Draw(t, "zero") == 0 {
		size = 0
	}
	want := m.ref.resize(ino, size, now)
	_, err := m.SetAttr(ino, Change{Mask: ChangeSize, SizeBytes: size})
	m.step(t, "truncate", err, want)
}

func (m *model) setXattr(t *rapid.T) {
	ino, name, now := m.any(t), "user."+modelNames.Draw(t, "name"), m.clock.tick()
	value := rapid.StringN(0, 5, 10).Draw(t, "value")
	flags := rapid.SampledFrom([]XattrFlags{0, XattrCreate, XattrReplace}).Draw(t, "flags")
	var want error
	if in := m.ref.inodes[ino]; in == nil {
		want = ErrStale
	} else if _, ok := in.xattrs[name]; ok && flags == XattrCreate {
		want = ErrXattrExists
	} else if !ok && flags == XattrReplace {
		want = ErrNoXattr
	} else {
		if in.xattrs == nil {
			in.xattrs = map[string]string{}
		}
		in.xattrs[name] = value
		in.attr.Ctime = now
	}
	m.step(t, "setxattr", m.SetXattr(ino, name, []byte(value), flags), want)
}

func (m *model) removeXattr(t *rapid.T) {
	ino, name, now := m.any(t), "user."+modelNames.Draw(t, "name"), m.clock.tick()
	var want error
	if in := m.ref.inodes[ino]; in == nil {
		want = ErrStale
	} else if _, ok := in.xattrs[name]; !ok {
		want = ErrNoXattr
	} else {
		delete(in.xattrs, name)
		in.attr.Ctime = now
	}
	m.step(t, "removexattr", m.RemoveXattr(ino, name), want)
}

// compare looks at everything through every way there is.
func (m *model) compare(t *rapid.T) {
	var used uint64
	var orphans []Ino
	for ino := Ino(1); ino <= m.ref.next; ino++ {
		in := m.ref.inodes[ino]
		a, err := m.GetAttr(ino)
		if in == nil {
			m.step(t, "no inode", err, ErrStale)
			continue
		}
		if want := m.ref.full(in); err != nil || a != want {
			t.Fatalf("inode %d: %v\n%s", ino, err, cmp.Diff(a, want))
		}
		used += a.AllocBytes
		if in.names == 0 {
			orphans = append(orphans, ino)
		}
		m.compareContent(t, in)
	}
	if gotUsed, gotInodes := m.Usage(); gotUsed != used || gotInodes != uint64(len(m.ref.inodes)) {
		t.Fatalf("usage %d %d, want %d %d", gotUsed, gotInodes, used, len(m.ref.inodes))
	}
	var got []Ino
	if err := m.Orphans(func(ino Ino) bool { got = append(got, ino); return true }); err != nil || !slices.Equal(got, orphans) {
		t.Fatalf("orphans %v, want %v: %v", got, orphans, err)
	}
	if err := m.check(context.Background(), 3, func(p Problem) { t.Errorf("check: %v", p) }); err != nil {
		t.Fatal(err)
	}
}

func (m *model) compareContent(t *rapid.T, in *refInode) {
	ino := in.attr.Ino
	names, err := m.ListXattr(ino)
	if err != nil || !slices.Equal(names, sortedKeys(in.xattrs)) {
		t.Fatalf("inode %d: xattrs %q: %v", ino, names, err)
	}
	for name, want := range in.xattrs {
		if value, err := m.GetXattr(ino, name); err != nil || string(value) != want {
			t.Fatalf("inode %d: xattr %s = %q: %v", ino, name, value, err)
		}
	}
	switch in.attr.Type() {
	case syscall.S_IFDIR:
		want := in.listing(m.ref)
		var got []DirEntry
		if err := m.ReadDir(ino, 0, func(e DirEntry) bool { got = append(got, e); return true }); err != nil || !slices.Equal(got, want) {
			t.Fatalf("directory %d: %v\n%s", ino, err, cmp.Diff(got, want))
		}
		for i, e := range want {
			if a, err := m.Lookup(ino, e.Name); err != nil || a.Ino != e.Ino {
				t.Fatalf("lookup %q in %d: %d %v", e.Name, ino, a.Ino, err)
			}
			rest := 0
			if err := m.ReadDir(ino, e.Cookie, func(DirEntry) bool { rest++; return true }); err != nil || rest != len(want)-i-1 {
				t.Fatalf("behind cookie %d of %d: %d entries: %v", e.Cookie, ino, rest, err)
			}
		}
	case syscall.S_IFLNK:
		if target, err := m.Readlink(ino); err != nil || target != in.target {
			t.Fatalf("target %q: %v", target, err)
		}
	case syscall.S_IFREG:
		if err := m.compareData(in); err != nil {
			t.Fatalf("file %d: %v", ino, err)
		}
	}
}

func (m *model) compareData(in *refInode) error {
	ino := in.attr.Ino
	exts, err := m.Extents(ino, 0, math.MaxUint64, nil)
	if err != nil {
		return err
	}
	got := map[uint64]refByte{}
	for _, e := range exts {
		for i := range e.Length {
			got[e.FileOffset+uint64(i)] = refByte{e.Block.Segment, e.Block.Offset, e.BlockOffset + i}
		}
	}
	if diff := cmp.Diff(got, in.data, cmp.AllowUnexported(refByte{})); diff != "" {
		return errors.New(diff)
	}
	size := in.attr.SizeBytes
	for off := uint64(0); off <= size; off += 1 + size/7 {
		// A window of the extents is exactly that window.
		part, err := m.Extents(ino, off, 40, nil)
		if err != nil {
			return err
		}
		n, last := 0, off
		for _, e := range part {
			if e.FileOffset < last || e.End() > off+40 {
				return fmt.Errorf("window at %d has %+v", off, e)
			}
			last = e.End()
			for i := range e.Length {
				if in.data[e.FileOffset+uint64(i)] != (refByte{e.Block.Segment, e.Block.Offset, e.BlockOffset + i}) {
					return fmt.Errorf("window at %d: wrong byte in %+v", off, e)
				}
				n++
			}
		}
		data, hole, inWindow := uint64(math.MaxUint64), size, 0
		for at := size; at > off; at-- {
			if _, ok := in.data[at-1]; ok {
				data = at - 1
			} else {
				hole = at - 1
			}
		}
		for at := off; at < off+40; at++ {
			if _, ok := in.data[at]; ok {
				inWindow++
			}
		}
		if n != inWindow {
			return fmt.Errorf("window at %d: %d bytes, want %d", off, n, inWindow)
		}
		gotData, err := m.NextData(ino, off)
		if data == math.MaxUint64 != errors.Is(err, ErrNoData) || err == nil && gotData != data {
			return fmt.Errorf("next data at %d: %d %v, want %d", off, gotData, err, data)
		}
		gotHole, err := m.NextHole(ino, off)
		if off < size && (err != nil || gotHole != hole) || off >= size && !errors.Is(err, ErrNoData) {
			return fmt.Errorf("next hole at %d: %d %v, want %d", off, gotHole, err, hole)
		}
	}
	return nil
}
