package meta

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/fs/wal"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

// golden compares lines of "name hex" with a file that releases have written.
func golden(t *testing.T, file string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", "v1", file)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: encoding changed:\n%s\nwant\n%s", file, got, want)
	}
}

func goldenLines(t testing.TB, file string) (names []string, values [][]byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		names, values = append(names, name), append(values, value)
	}
	return names, values
}

// recode decodes a value as one of a kind and encodes what it read.
func recode(kind byte, value []byte) ([]byte, error) {
	switch kind {
	case kindInode:
		a, err := decodeAttr(9, value)
		return appendAttr(nil, &a), err
	case kindDentry:
		d, err := decodeDentry(value)
		return appendDentry(nil, d), err
	case kindCookie:
		d, name, err := decodeCookie(5, value)
		return appendCookie(nil, d, string(name)), err
	case kindExtent:
		e, err := decodeExtent(1<<33, value)
		return appendExtent(nil, &e), err
	case kindCounters:
		c, err := decodeCounters(value)
		return appendCounters(nil, c), err
	case kindPosition:
		p, err := decodePosition(value)
		return appendPosition(nil, p), err
	case kindTarget:
		s, err := decodeTarget(value)
		return appendOpaque(nil, []byte(s)), err
	default:
		b, err := decodeOpaque(value)
		return appendOpaque(nil, b), err
	}
}

func TestRecordGolden(t *testing.T) {
	file := Attr{
		Ino: 9, Mode: syscall.S_IFREG | 0o4755, UID: 1, GID: 0xffffffff, Nlink: 3, Flags: 4, SizeBytes: 1 << 40, AllocBytes: 6,
		Atime: Time{-7, 8}, Mtime: Time{9, 10}, Ctime: Time{11, 12}, Btime: Time{13, 999999999}, XattrCount: 14, XattrNameBytes: 150,
	}
	dir := Attr{Ino: 9, Mode: syscall.S_IFDIR | 0o755, Nlink: 2, SizeBytes: 5, Parent: 1, DirSeq: 77}
	e := Extent{FileOffset: 1<<33 - 700, Length: 700, BlockOffset: 5, Block: wal.Addr{Segment: 3, Offset: 4096, FrameBytes: 600, RawBytes: 1000}}
	d := dentry{ino: 8, typ: syscall.S_IFLNK, cookie: 5}
	var lines []string
	for _, r := range []struct {
		kind  byte
		value []byte
	}{
		{kindInode, appendAttr(nil, &file)},
		{kindInode, appendAttr(nil, &dir)},
		{kindDentry, appendDentry(nil, d)},
		{kindCookie, appendCookie(nil, d, "name")},
		{kindExtent, appendExtent(nil, &e)},
		{kindCounters, appendCounters(nil, counters{1, 2, 3})},
		{kindPosition, appendPosition(nil, wal.Position{Segment: 1, Offset: 2})},
		{kindTarget, appendOpaque(nil, []byte("to/there"))},
		{kindXattr, appendOpaque(nil, []byte("value"))},
		{kindOrphan, appendOpaque(nil, nil)},
		{kindSegment, appendOpaque(nil, []byte{1, 2})},
		{kindRecord, appendOpaque(nil, []byte{3})},
	} {
		lines = append(lines, fmt.Sprintf("%c %x", r.kind, r.value))
		if got, err := recode(r.kind, r.value); err != nil || !bytes.Equal(got, r.value) {
			t.Errorf("%c: %x: %v", r.kind, got, err)
		}
		for n := range r.value {
			if got, err := recode(r.kind, r.value[:n]); err == nil && !bytes.Equal(got, r.value[:n]) {
				t.Errorf("%c cut to %d bytes is taken", r.kind, n)
			}
		}
		newer := append([]byte{recordVersion + 1}, r.value[1:]...)
		if _, err := recode(r.kind, newer); !errors.Is(err, ErrTooNew) {
			t.Errorf("%c of a newer version: %v", r.kind, err)
		}
	}
	golden(t, "records.txt", lines)
}

func FuzzRecord(f *testing.F) {
	names, values := goldenLines(f, "records.txt")
	for i := range names {
		f.Add(names[i][0], values[i])
	}
	f.Fuzz(func(t *testing.T, kind byte, value []byte) {
		got, err := recode(kind, value)
		if err == nil && !bytes.Equal(got, value) {
			t.Fatalf("not canonical: %x, %x", value, got)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
			t.Fatal(err)
		}
	})
}

// story makes a small volume that uses every kind of record and operation.
func story(t *testing.T, r *rig) {
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := r.mustCreate(RootIno, "dir", New{Mode: syscall.S_IFDIR | 0o750, UID: 1, GID: 2})
	f := r.mustCreate(dir.Ino, "file", New{Mode: 0o640})
	r.mustCreate(dir.Ino, "link", New{Mode: syscall.S_IFLNK | 0o777, Target: "file"})
	r.mustCreate(dir.Ino, "null", New{Mode: syscall.S_IFCHR | 0o666, Rdev: 0x103})
	ok(r.Link(f.Ino, RootIno, "file2"))
	ok(r.WriteExtents(f.Ino, []Extent{{Length: 100, Block: block(1)}, {FileOffset: 200, Length: 100, Block: block(2)}}, Change{}))
	ok(r.PunchHole(f.Ino, 40, 20, Change{}))
	ok(r.SetAttr(f.Ino, Change{Mask: ChangeSize, SizeBytes: 250}))
	ok(nil, r.SetXattr(f.Ino, "user.x", []byte("value"), 0))
	ok(nil, r.SetXattr(f.Ino, "user.y", []byte("value"), 0))
	ok(nil, r.RemoveXattr(f.Ino, "user.y"))
	gone := r.mustCreate(RootIno, "gone", New{})
	ok(r.WriteExtents(gone.Ino, []Extent{{Length: 10, Block: block(3)}, {FileOffset: 10, Length: 10, Block: block(4)}, {FileOffset: 20, Length: 10, Block: block(4)}}, Change{}))
	ok(r.Unlink(RootIno, "gone"))
	r.pointDeletes = 1 // the next is a delete of a range
	ok(nil, r.Reclaim(gone.Ino))
	ok(r.CreateOrphan(New{Mode: 0o600}))
	ok(r.Rename(RootIno, "file2", RootIno, "file3", 0))
	ok(nil, r.PutSegment(4, []byte("segment"), true))
	ok(nil, r.PutRecord("volume", []byte("record"), true))
}

// A log written by a release replays into the same volume for ever.
func TestPayloadGolden(t *testing.T) {
	r := newRig(t)
	story(t, r)
	var lines []string
	for _, e := range r.journal.entries {
		lines = append(lines, fmt.Sprintf("payload %x", e.payload))
	}
	golden(t, "payloads.txt", lines)

	_, payloads := goldenLines(t, "payloads.txt")
	s, err := Open(Options{Dir: "meta", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, p := range payloads {
		if err := s.Replay(p, wal.Position{Offset: uint32(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time is skipped
		got, want := dump(t, s), dump(t, r.Store)
		if !bytes.Equal(got, want) {
			t.Errorf("replayed:\n%s\nwant\n%s", got, want)
		}
		if err := s.Replay(payloads[3], wal.Position{Offset: 4}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Check(context.Background(), func(p Problem) { t.Error(p) }); err != nil {
		t.Error(err)
	}
}

// dump is everything in a store but the position.
func dump(t testing.TB, s *Store) []byte {
	var b bytes.Buffer
	err := scan(s.db, []byte{0}, []byte{255}, func(key, value []byte) (bool, error) {
		if key[0] != kindPosition {
			fmt.Fprintf(&b, "%x %x\n", key, value)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzPayload(f *testing.F) {
	_, payloads := goldenLines(f, "payloads.txt")
	for _, p := range payloads {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p payload
		p.reset()
		err := decodePayload(b, func(o op) error {
			switch o.kind {
			case opSet:
				p.set(o.key, o.value)
			case opDelete:
				p.del(o.key)
			case opDeleteRange:
				p.delRange(o.key, o.value)
			}
			return nil
		})
		if err == nil && !bytes.Equal(p.finish(), b) {
			t.Fatalf("not canonical: %x", b)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
			t.Fatal(err)
		}
	})
}

// Garbage in any record is an error of ours or is not noticed by that operation; it never panics, and Check finds it.
func TestGarbageRecords(t *testing.T) {
	garbage := map[string][]byte{
		"empty": {}, "newer": {recordVersion + 1, 0}, "old": {0}, "short": {recordVersion, 1, 2}, "long": bytes.Repeat([]byte{recordVersion}, 200),
		"ones": append([]byte{recordVersion}, bytes.Repeat([]byte{0xff}, attrBytes-1)...), "zeros": append([]byte{recordVersion}, make([]byte, attrBytes-1)...),
	}
	for name, bad := range garbage {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			story(t, r)
			var keys [][]byte
			if err := scan(r.db, []byte{0}, []byte{255}, func(key, _ []byte) (bool, error) {
				keys = append(keys, bytes.Clone(key))
				return true, nil
			}); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				good, _, err := r.get(key, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.db.Set(key, bad, pebble.NoSync); err != nil {
					t.Fatal(err)
				}
				r.attrs = newAttrCache(1)
				for what, err := range everyRead(r) {
					if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) && !errors.Is(err, ErrNoXattr) && !errors.Is(err, ErrNoData) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrIsDir) && !errors.Is(err, ErrNotDir) {
						t.Errorf("key %x: %s: %v", key, what, err)
					}
				}
				problems := 0
				if err := r.check(context.Background(), 2, func(Problem) { problems++ }); err != nil {
					t.Errorf("key %x: check: %v", key, err)
				}
				opaque := key[0] == kindXattr || key[0] == kindSegment || key[0] == kindRecord || key[0] == kindTarget
				if problems == 0 && !(opaque && len(bad) > 0 && bad[0] == recordVersion) {
					t.Errorf("key %x: check found nothing", key)
				}
				if err := r.db.Set(key, good, pebble.NoSync); err != nil {
					t.Fatal(err)
				}
			}
			r.attrs = newAttrCache(1)
			r.mustCheck()
		})
	}
}

// everyRead runs every operation that only reads, on everything.
func everyRead(r *rig) map[string]error {
	errs := map[string]error{}
	for ino := Ino(1); ino < 6; ino++ {
		_, err := r.GetAttr(ino)
		errs[fmt.Sprint("attr ", ino)] = err
		errs[fmt.Sprint("readdir ", ino)] = r.ReadDir(ino, 0, func(DirEntry) bool { return true })
		_, err = r.Readlink(ino)
		errs[fmt.Sprint("readlink ", ino)] = err
		_, err = r.Extents(ino, 0, 1000, nil)
		errs[fmt.Sprint("extents ", ino)] = err
		_, err = r.NextData(ino, 0)
		errs[fmt.Sprint("data ", ino)] = err
		_, err = r.NextHole(ino, 0)
		errs[fmt.Sprint("hole ", ino)] = err
		_, err = r.GetXattr(ino, "user.x")
		errs[fmt.Sprint("xattr ", ino)] = err
		_, err = r.ListXattr(ino)
		errs[fmt.Sprint("xattrs ", ino)] = err
	}
	for _, name := range []string{"dir", "file3"} {
		_, err := r.Lookup(RootIno, name)
		errs["lookup "+name] = err
	}
	errs["segments"] = r.Segments(func(uint64, []byte) bool { return true })
	errs["orphans"] = r.Orphans(func(Ino) bool { return true })
	_, err := r.Record("volume")
	errs["record"] = err
	return errs
}

// Check finds each way in which records can contradict each other.
func TestCheckFinds(t *testing.T) {
	key := func(kind byte, n uint64) []byte { return appendKey(nil, kind, n) }
	attr := func(r *rig, ino Ino, change func(*Attr)) {
		a, err := r.GetAttr(ino)
		if err != nil {
			t.Fatal(err)
		}
		change(&a)
		r.db.Set(key(kindInode, uint64(ino)), appendAttr(nil, &a), pebble.NoSync)
	}
	tests := map[string]func(r *rig){
		"unknown kind":        func(r *rig) { r.db.Set([]byte("Z"), nil, pebble.NoSync) },
		"entry without inode": func(r *rig) { r.db.Delete(key(kindInode, 3), pebble.NoSync) },
		"inode without entry": func(r *rig) { r.db.Delete(appendKeyName(nil, kindDentry, 2, "file"), pebble.NoSync) },
		"cookie lost":         func(r *rig) { r.db.Delete(appendKey2(nil, kindCookie, 2, 3), pebble.NoSync) },
		"cookie too many": func(r *rig) {
			r.db.Set(appendKey2(nil, kindCookie, 2, 99), appendCookie(nil, dentry{ino: 3, typ: syscall.S_IFREG}, "x"), pebble.NoSync)
		},
		"type differs":     func(r *rig) { attr(r, 3, func(a *Attr) { a.Mode = syscall.S_IFSOCK; a.AllocBytes = 0 }) },
		"links":            func(r *rig) { attr(r, 3, func(a *Attr) { a.Nlink++ }) },
		"directory links":  func(r *rig) { attr(r, 1, func(a *Attr) { a.Nlink++ }) },
		"entries":          func(r *rig) { attr(r, 2, func(a *Attr) { a.SizeBytes++ }) },
		"parent":           func(r *rig) { attr(r, 2, func(a *Attr) { a.Parent = 2 }) },
		"next cookie":      func(r *rig) { attr(r, 2, func(a *Attr) { a.DirSeq = 3 }) },
		"allocated":        func(r *rig) { attr(r, 3, func(a *Attr) { a.AllocBytes-- }) },
		"size":             func(r *rig) { attr(r, 3, func(a *Attr) { a.SizeBytes = a.AllocBytes }) },
		"xattrs":           func(r *rig) { attr(r, 3, func(a *Attr) { a.XattrCount = 0 }) },
		"xattr of nothing": func(r *rig) { r.db.Set(appendKeyName(nil, kindXattr, 50, "user.a"), []byte{1}, pebble.NoSync) },
		"extent of nothing": func(r *rig) {
			r.db.Set(appendKey2(nil, kindExtent, 50, 10), appendExtent(nil, &Extent{Length: 10, Block: block(1)}), pebble.NoSync)
		},
		"extents overlap": func(r *rig) {
			r.db.Set(appendKey2(nil, kindExtent, 3, 45), appendExtent(nil, &Extent{Length: 45, Block: block(1)}), pebble.NoSync)
		},
		"orphan with names": func(r *rig) { r.db.Set(key(kindOrphan, 3), []byte{1}, pebble.NoSync) },
		"orphan unrecorded": func(r *rig) { r.db.Delete(key(kindOrphan, 7), pebble.NoSync) },
		"orphan of nothing": func(r *rig) { r.db.Set(key(kindOrphan, 50), []byte{1}, pebble.NoSync) },
		"target lost":       func(r *rig) { r.db.Delete(key(kindTarget, 4), pebble.NoSync) },
		"target of a file":  func(r *rig) { r.db.Set(key(kindTarget, 3), []byte("\x01x"), pebble.NoSync) },
		"used bytes": func(r *rig) {
			c := r.counters
			c.usedBytes++
			r.db.Set(keyCounters, appendCounters(nil, c), pebble.NoSync)
		},
		"inodes": func(r *rig) {
			c := r.counters
			c.inodes--
			r.db.Set(keyCounters, appendCounters(nil, c), pebble.NoSync)
		},
		"next inode": func(r *rig) {
			c := r.counters
			c.nextIno = 7
			r.db.Set(keyCounters, appendCounters(nil, c), pebble.NoSync)
		},
		"no counters": func(r *rig) { r.db.Delete(keyCounters, pebble.NoSync) },
		"no position": func(r *rig) { r.db.Delete(keyPosition, pebble.NoSync) },
		"directory not in tree": func(r *rig) {
			attr(r, 1, func(a *Attr) { a.Nlink--; a.SizeBytes-- })
			d := dentry{ino: 2, typ: syscall.S_IFDIR, cookie: 50}
			r.db.Delete(appendKeyName(nil, kindDentry, 1, "dir"), pebble.NoSync)
			r.db.Delete(appendKey2(nil, kindCookie, 1, 3), pebble.NoSync)
			r.db.Set(appendKeyName(nil, kindDentry, 2, "me"), appendDentry(nil, d), pebble.NoSync)
			r.db.Set(appendKey2(nil, kindCookie, 2, 50), appendCookie(nil, d, "me"), pebble.NoSync)
			attr(r, 2, func(a *Attr) { a.Parent = 2; a.Nlink++; a.SizeBytes++; a.DirSeq = 51 })
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			story(t, r)
			r.mustCheck()
			damage(r)
			for _, window := range []int{1, 100} {
				found := 0
				if err := r.check(context.Background(), window, func(p Problem) { found++; t.Log(p) }); err != nil {
					t.Fatal(err)
				}
				if found == 0 {
					t.Errorf("nothing found with a window of %d", window)
				}
			}
		})
	}
}
