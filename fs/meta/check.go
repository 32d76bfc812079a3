package meta

import (
	"context"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Problem is one inconsistency that Check found.
type Problem struct {
	Ino  Ino    // the inode it concerns, or 0
	Text string // what is wrong, for a person
}

func (p Problem) String() string {
	if p.Ino == 0 {
		return p.Text
	}
	return fmt.Sprintf("inode %d: %s", p.Ino, p.Text)
}

// checkWindow is how many inodes Check has in memory at a time. It reads all directory entries once for each window.
const checkWindow = 128 << 10

// Check walks one state of the whole store and calls fn with each inconsistency. The error says only that the walk could
// not be finished. Changes go on meanwhile.
func (s *Store) Check(ctx context.Context, fn func(Problem)) error {
	return s.check(ctx, checkWindow, fn)
}

func (s *Store) check(ctx context.Context, window int, fn func(Problem)) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	snapshot := s.db.NewSnapshot()
	defer snapshot.Close()
	c := &checker{ctx: ctx, r: snapshot, report: fn, good: map[Ino]bool{}}
	c.kinds()
	for lo := Ino(0); c.err == nil; lo = c.hi {
		c.inodes(lo, window)
		c.entries()
		c.cookies()
		c.extents()
		c.xattrs()
		c.small()
		c.verdicts()
		if c.hi == 0 {
			break
		}
	}
	c.totals()
	if c.err != nil {
		return fmt.Errorf("check metadata: %w", corrupt(c.err))
	}
	return nil
}

// checker holds what Check knows of the inodes from lo to before hi; hi 0 is the end.
type checker struct {
	ctx    context.Context
	r      *pebble.Snapshot
	report func(Problem)
	err    error

	lo, hi  Ino
	tallies map[Ino]*tally
	good    map[Ino]bool // directories known to hang below the root; bounded

	usedBytes, inodeCount uint64
	highest               Ino
}

// tally is what the other records say about an inode.
type tally struct {
	attr           Attr
	names          uint32 // entries that stand for it
	parent         Ino    // the directory of the last of them
	entries        uint64 // of a directory, by name
	cookies        uint64 // of a directory, by cookie
	lastCookie     uint64
	subdirs        uint32
	allocBytes     uint64
	end            uint64 // of its last extent
	xattrs         uint32
	xattrNameBytes uint32
	orphan         bool
	targetBytes    uint64
}

func (c *checker) problem(ino Ino, format string, args ...any) {
	c.report(Problem{Ino: ino, Text: fmt.Sprintf(format, args...)})
}

// each scans a range and stops at a cancelled context.
func (c *checker) each(from, to []byte, fn func(key, value []byte)) {
	if c.err != nil {
		return
	}
	n := 0
	c.err = scan(c.r, from, to, func(key, value []byte) (bool, error) {
		if n++; n%1024 == 0 && c.ctx.Err() != nil {
			return false, c.ctx.Err()
		}
		if err := checkKey(key); err != nil {
			c.problem(0, "%v", err)
			return true, nil
		}
		fn(key, value)
		return true, nil
	})
}

// window scans the keys of a kind that belong to the inodes of the window.
func (c *checker) window(kind byte, fn func(ino Ino, key, value []byte)) {
	to := []byte{kind + 1}
	if c.hi != 0 {
		to = appendKey(nil, kind, uint64(c.hi))
	}
	c.each(appendKey(nil, kind, uint64(c.lo)), to, func(key, value []byte) {
		n, _ := keyNumbers(key)
		fn(Ino(n), key, value)
	})
}

// inside says whether an inode belongs to the window.
func (c *checker) inside(ino Ino) bool { return ino >= c.lo && (c.hi == 0 || ino < c.hi) }

// kinds finds keys of kinds that nobody writes, and reads the records that no inode has.
func (c *checker) kinds() {
	const known = "CDEILNOPSVX"
	from := byte(0)
	for i := 0; i <= len(known); i++ {
		to := []byte{255, 255}
		if i < len(known) {
			to = []byte{known[i]}
		}
		c.each([]byte{from}, to, func(key, _ []byte) { c.problem(0, "key %x of an unknown kind", key) })
		if i < len(known) {
			from = known[i] + 1
		}
	}
	for _, kind := range []byte{kindSegment, kindRecord} {
		c.each([]byte{kind}, []byte{kind + 1}, func(key, value []byte) {
			if _, err := decodeOpaque(value); err != nil {
				c.problem(0, "record %x: %v", key, err)
			}
		})
	}
}

// inodes begins the window that starts at lo.
func (c *checker) inodes(lo Ino, window int) {
	c.lo, c.hi, c.tallies = lo, 0, make(map[Ino]*tally)
	if c.err != nil {
		return
	}
	n := 0
	c.err = scan(c.r, appendKey(nil, kindInode, uint64(lo)), []byte{kindInode + 1}, func(key, value []byte) (bool, error) {
		if err := checkKey(key); err != nil {
			c.problem(0, "%v", err)
			return true, nil
		}
		number, _ := keyNumbers(key)
		ino := Ino(number)
		if n++; n > window {
			c.hi = ino
			return false, c.ctx.Err()
		}
		a, err := decodeAttr(ino, value)
		if err != nil {
			c.problem(ino, "%v", err)
			return true, nil
		}
		c.tallies[ino] = &tally{attr: a}
		c.usedBytes += a.AllocBytes
		c.inodeCount++
		c.highest = ino
		return true, nil
	})
}

// entries reads all directory entries by name: those that stand for an inode of the window, and those of a directory of it.
func (c *checker) entries() {
	c.each([]byte{kindDentry}, []byte{kindDentry + 1}, func(key, value []byte) {
		n, _ := keyNumbers(key)
		parent, name := Ino(n), string(key[9:])
		d, err := decodeDentry(value)
		if err != nil {
			if c.inside(parent) {
				c.problem(parent, "entry %q: %v", name, err)
			}
			return
		}
		if c.inside(d.ino) {
			switch t := c.tallies[d.ino]; {
			case t == nil:
				c.problem(parent, "entry %q stands for inode %d, which is not there", name, d.ino)
			case t.attr.Type() != d.typ:
				c.problem(parent, "entry %q says type %o, inode %d is %o", name, d.typ, d.ino, t.attr.Type())
			default:
				t.names++
				t.parent = parent
			}
		}
		if c.inside(parent) {
			c.entry(parent, name, d)
		}
	})
}

// entry checks an entry of a directory of the window against the record by cookie.
func (c *checker) entry(parent Ino, name string, d dentry) {
	t := c.tallies[parent]
	if t == nil || !t.attr.IsDir() {
		c.problem(parent, "has entry %q but is no directory", name)
		return
	}
	t.entries++
	if d.typ == syscall.S_IFDIR {
		t.subdirs++
	}
	value, ok, err := getFrom(c.r, appendKey2(nil, kindCookie, uint64(parent), d.cookie), nil)
	if err == nil && ok {
		var other dentry
		var otherName []byte
		other, otherName, err = decodeCookie(d.cookie, value)
		ok = other == d && string(otherName) == name
	}
	if err != nil || !ok {
		c.problem(parent, "entry %q does not match cookie %d", name, d.cookie)
	}
}

// cookies reads the entries by cookie of the directories of the window. With as many of them as names, and each name
// matched by its cookie, the two are one to one.
func (c *checker) cookies() {
	c.window(kindCookie, func(ino Ino, key, value []byte) {
		_, cookie := keyNumbers(key)
		if _, _, err := decodeCookie(cookie, value); err != nil {
			c.problem(ino, "cookie %d: %v", cookie, err)
		}
		if t := c.tallies[ino]; t == nil || !t.attr.IsDir() {
			c.problem(ino, "has cookie %d but is no directory", cookie)
		} else {
			t.cookies++
			t.lastCookie = cookie
		}
	})
}

func (c *checker) extents() {
	c.window(kindExtent, func(ino Ino, key, value []byte) {
		t := c.tallies[ino]
		if t == nil || !t.attr.IsRegular() {
			c.problem(ino, "has an extent but is no regular file")
			return
		}
		e, err := readExtent(key, value)
		if err != nil {
			c.problem(ino, "%v", err)
			return
		}
		if e.FileOffset < t.end {
			c.problem(ino, "extents overlap at %d", e.FileOffset)
		}
		t.end = e.End()
		t.allocBytes += uint64(e.Length)
	})
}

func (c *checker) xattrs() {
	c.window(kindXattr, func(ino Ino, key, value []byte) {
		if _, err := decodeOpaque(value); err != nil {
			c.problem(ino, "extended attribute %q: %v", key[9:], err)
		}
		t := c.tallies[ino]
		if t == nil {
			c.problem(ino, "is not there but has extended attribute %q", key[9:])
			return
		}
		t.xattrs++
		t.xattrNameBytes += uint32(len(key)-9) + 1
	})
}

// small reads orphans and the targets of symbolic links.
func (c *checker) small() {
	c.window(kindOrphan, func(ino Ino, _, value []byte) {
		if _, err := body(value, 1, true); err != nil {
			c.problem(ino, "orphan: %v", err)
		}
		if t := c.tallies[ino]; t == nil {
			c.problem(ino, "is an orphan but not there")
		} else {
			t.orphan = true
		}
	})
	c.window(kindTarget, func(ino Ino, _, value []byte) {
		target, err := decodeTarget(value)
		if err != nil {
			c.problem(ino, "target: %v", err)
		}
		if t := c.tallies[ino]; t == nil || t.attr.Type() != syscall.S_IFLNK {
			c.problem(ino, "has a target but is no symbolic link")
		} else {
			t.targetBytes = uint64(len(target))
		}
	})
}

// verdicts compares each inode of the window with what was found about it.
func (c *checker) verdicts() {
	if c.err != nil {
		return // the window was not read to its end
	}
	for ino, t := range c.tallies {
		a := &t.attr
		expect := func(what string, have, want uint64) {
			if have != want {
				c.problem(ino, "%s: recorded %d, found %d", what, have, want)
			}
		}
		if t.orphan != (a.Nlink == 0) {
			c.problem(ino, "has link count %d, orphan record: %t", a.Nlink, t.orphan)
		}
		expect("allocated bytes", a.AllocBytes, t.allocBytes)
		expect("extended attributes", uint64(a.XattrCount), uint64(t.xattrs))
		expect("bytes of extended attribute names", uint64(a.XattrNameBytes), uint64(t.xattrNameBytes))
		if t.end > a.SizeBytes {
			c.problem(ino, "extents reach to %d, behind the size %d", t.end, a.SizeBytes)
		}
		if a.Type() == syscall.S_IFLNK {
			expect("length of target", a.SizeBytes, t.targetBytes)
		}
		if !a.IsDir() {
			expect("links", uint64(a.Nlink), uint64(t.names))
			continue
		}
		expect("entries", a.SizeBytes, t.entries)
		expect("entries by cookie", a.SizeBytes, t.cookies)
		if t.lastCookie >= a.DirSeq {
			c.problem(ino, "cookie %d was given, the next is %d", t.lastCookie, a.DirSeq)
		}
		c.directory(ino, t)
	}
}

// directory checks the place of a directory in the tree.
func (c *checker) directory(ino Ino, t *tally) {
	links, names := uint32(2)+t.subdirs, uint32(1)
	if ino == RootIno {
		names = 0
	}
	if t.orphan {
		links, names = 0, 0
		if t.entries != 0 {
			c.problem(ino, "is an orphan with entries")
		}
	}
	if t.attr.Nlink != links {
		c.problem(ino, "link count: recorded %d, found %d", t.attr.Nlink, links)
	}
	if t.names != names {
		c.problem(ino, "directory has %d names, not %d", t.names, names)
	}
	if t.names > 0 && t.parent != t.attr.Parent {
		c.problem(ino, "says its parent is %d, but is in %d", t.attr.Parent, t.parent)
	}
	if !t.orphan && !c.reachesRoot(ino) {
		c.problem(ino, "directory does not hang below the root")
	}
}

// goodLimit bounds the memory of reachesRoot.
const goodLimit = 64 << 10

// reachesRoot walks up the parents; a ring is found by Brent's algorithm.
func (c *checker) reachesRoot(ino Ino) bool {
	dir, marked, steps, limit := ino, ino, 0, 1
	for dir != RootIno && !c.good[dir] {
		value, ok, err := getFrom(c.r, appendKey(nil, kindInode, uint64(dir)), nil)
		if err != nil || !ok {
			return false
		}
		a, err := decodeAttr(dir, value)
		if err != nil || !a.IsDir() || a.Nlink == 0 {
			return false
		}
		if dir = a.Parent; dir == marked {
			return false
		}
		if steps++; steps == limit {
			marked, steps, limit = dir, 0, limit*2
		}
	}
	if len(c.good) >= goodLimit {
		clear(c.good)
	}
	c.good[ino] = true
	return true
}

// totals checks the counters and the position.
func (c *checker) totals() {
	if c.err != nil {
		return
	}
	value, ok, err := getFrom(c.r, keyCounters, nil)
	if err != nil {
		c.err = err
		return
	}
	if !ok {
		if c.inodeCount != 0 {
			c.problem(0, "no counters")
		}
		return
	}
	total, err := decodeCounters(value)
	switch {
	case err != nil:
		c.problem(0, "%v", err)
		return
	case total.nextIno <= c.highest:
		c.problem(0, "next inode is %d, but %d exists", total.nextIno, c.highest)
	}
	if total.usedBytes != c.usedBytes {
		c.problem(0, "used bytes: recorded %d, found %d", total.usedBytes, c.usedBytes)
	}
	if total.inodes != c.inodeCount {
		c.problem(0, "inodes: recorded %d, found %d", total.inodes, c.inodeCount)
	}
	if value, ok, err = getFrom(c.r, keyPosition, nil); err != nil || !ok {
		c.problem(0, "no log position")
	} else if _, err := decodePosition(value); err != nil {
		c.problem(0, "%v", err)
	}
}
