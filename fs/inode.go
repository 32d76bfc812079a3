package fs

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/fs/meta"
)

// blockBytes is how file data is cut into blocks.
const blockBytes = 64 << 10

// dirtyRange is file data not yet in the log; ranges of an inode are sorted,
// do not overlap and never cross a block border.
type dirtyRange struct {
	off  int64
	data []byte
}

func (d dirtyRange) end() int64 { return d.off + int64(len(d.data)) }

// dirtyRanges is the dirty data of one inode.
type dirtyRanges []dirtyRange

// put adds data, which stays within one block, over what is there. It returns
// by how many bytes the ranges grew.
func (d *dirtyRanges) put(off int64, data []byte) int64 {
	end := off + int64(len(data))
	block := off / blockBytes
	// i..j are the ranges of this block that overlap or touch the new one.
	i, _ := slices.BinarySearchFunc(*d, off, func(r dirtyRange, at int64) int {
		if r.end() < at || r.end() == at && r.off/blockBytes != block {
			return -1
		}
		return 1
	})
	j := i
	for j < len(*d) && (*d)[j].off <= end && (*d)[j].off/blockBytes == block {
		j++
	}
	if i == j {
		*d = slices.Insert(*d, i, dirtyRange{off, append(make([]byte, 0, max(len(data), 512)), data...)})
		return int64(len(data))
	}
	var before int64
	for _, r := range (*d)[i:j] {
		before += int64(len(r.data))
	}
	first, last := (*d)[i], (*d)[j-1]
	merged := dirtyRange{off: min(off, first.off)}
	switch {
	case first.off <= off && j == i+1: // the common case: append to or overwrite one range
		merged.data = first.data
		if need := end - first.off; need > int64(len(merged.data)) {
			merged.data = append(merged.data, make([]byte, need-int64(len(merged.data)))...)
		}
	default:
		merged.data = make([]byte, max(end, last.end())-merged.off)
		for _, r := range (*d)[i:j] {
			copy(merged.data[r.off-merged.off:], r.data)
		}
	}
	copy(merged.data[off-merged.off:], data)
	*d = slices.Replace(*d, i, j, merged)
	return int64(len(merged.data)) - before
}

// at returns the range that begins at off, or nil.
func (d dirtyRanges) at(off int64) *dirtyRange {
	i, ok := slices.BinarySearchFunc(d, off, func(r dirtyRange, at int64) int { return cmp.Compare(r.off, at) })
	if !ok {
		return nil
	}
	return &d[i]
}

// cut removes [off, end) and returns how many bytes went.
func (d *dirtyRanges) cut(off, end int64) int64 {
	if off >= end {
		return 0
	}
	var gone int64
	var out dirtyRanges
	touched := false
	for _, r := range *d {
		if r.end() <= off || r.off >= end {
			out = append(out, r)
			continue
		}
		touched = true
		gone += min(r.end(), end) - max(r.off, off)
		if r.off < off {
			out = append(out, dirtyRange{r.off, r.data[:off-r.off]})
		}
		if r.end() > end {
			out = append(out, dirtyRange{end, slices.Clone(r.data[end-r.off:])})
		}
	}
	if touched {
		*d = out
	}
	return gone
}

// overlapping returns copies of the dirty data within [off, end).
func (d dirtyRanges) overlapping(off, end int64) dirtyRanges {
	var out dirtyRanges
	for _, r := range d {
		if r.end() <= off || off >= end {
			continue
		}
		if r.off >= end {
			break
		}
		lo, hi := max(r.off, off), min(r.end(), end)
		out = append(out, dirtyRange{lo, slices.Clone(r.data[lo-r.off : hi-r.off])})
	}
	return out
}

// inode is the state of an inode with work in flight or dirty data. Metadata
// that is not pending here is in the store.
type inode struct {
	ino meta.Ino

	// io is held shared by reads and writes, exclusively by what replaces
	// extents under them: flush, truncate, punch.
	io sync.RWMutex

	// mu guards what follows.
	mu    sync.Mutex
	dirty dirtyRanges
	// size is the size when dirty data reaches beyond the stored one, else 0.
	size uint64
	// mtime is set while a write's modification time is not stored.
	mtime      time.Time
	dirtySince time.Time

	refs int // guarded by inodeTable.mu
}

// view applies what is pending to a stored attribute. mu is held.
func (n *inode) view(a *meta.Attr) {
	a.SizeBytes = max(a.SizeBytes, n.size)
	for _, r := range n.dirty {
		a.AllocBytes += uint64(len(r.data))
	}
	if !n.mtime.IsZero() {
		t := meta.TimeOf(n.mtime)
		a.Mtime = t
		if later(t, a.Ctime) { // else changed otherwise since
			a.Ctime = t
		}
	}
}

func later(a, b meta.Time) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

func (n *inode) pending() bool { return len(n.dirty) > 0 || n.size > 0 || !n.mtime.IsZero() }

// inodeTable holds the inodes that are in use or dirty.
type inodeTable struct {
	mu    sync.Mutex
	byIno map[meta.Ino]*inode
	// dirtyBytes is the sum over all inodes.
	dirtyBytes atomic.Int64
}

// get returns the inode's state for use; put gives it back.
func (t *inodeTable) get(ino meta.Ino) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byIno[ino]
	if n == nil {
		n = &inode{ino: ino}
		t.byIno[ino] = n
	}
	n.refs++
	return n
}

// find is get for an inode that has state already; nil otherwise.
func (t *inodeTable) find(ino meta.Ino) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byIno[ino]
	if n != nil {
		n.refs++
	}
	return n
}

func (t *inodeTable) put(n *inode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.refs--
	if n.refs > 0 {
		return
	}
	// Nobody else can reach n while refs is 0 and t.mu is held.
	if n.mu.Lock(); !n.pending() {
		delete(t.byIno, n.ino)
	}
	n.mu.Unlock()
}

// dirtyBefore returns the inodes, in use from now on, whose oldest dirty data
// is from before at, oldest first; all dirty ones for the zero time.
func (t *inodeTable) dirtyBefore(at time.Time) []*inode {
	type aged struct {
		n     *inode
		since time.Time
	}
	var found []aged
	t.mu.Lock()
	for _, n := range t.byIno {
		if !n.mu.TryLock() { // busy, perhaps waiting for the disk: nobody else shall wait for it here
			if at.IsZero() {
				n.refs++
				found = append(found, aged{n, time.Time{}})
			}
			continue
		}
		if n.pending() && (at.IsZero() || n.dirtySince.Before(at)) {
			n.refs++
			found = append(found, aged{n, n.dirtySince})
		}
		n.mu.Unlock()
	}
	t.mu.Unlock()
	slices.SortFunc(found, func(a, b aged) int { return a.since.Compare(b.since) })
	out := make([]*inode, len(found))
	for i, f := range found {
		out[i] = f.n
	}
	return out
}
