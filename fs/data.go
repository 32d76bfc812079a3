package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/fs/wal"
)

const maxFileBytes = meta.MaxFileBytes

// extentsPerTxn bounds the extents of one transaction, and so its frame.
const extentsPerTxn = 256

// Write stores data at off. What covers whole blocks goes to the log at once,
// the rest waits as dirty ranges. fromCache says that the kernel wrote back a
// page of a shared mapping, whose times it manages itself.
func (v *Volume) Write(ctx context.Context, ino meta.Ino, off int64, data []byte, fromCache bool) error {
	if off < 0 || int64(len(data)) > maxFileBytes-off {
		return fmt.Errorf("write at %d: %w", off, meta.ErrFileTooBig)
	}
	if len(data) == 0 {
		return nil
	}
	if err := v.admit(ctx, len(data)); err != nil {
		return err
	}
	v.writes.RLock()
	defer v.writes.RUnlock()
	if v.closing.Load() {
		return errClosing
	}
	n := v.inodes.get(ino)
	defer v.inodes.put(n)
	many, err := v.write(n, off, data, fromCache)
	if err == nil && many {
		err = v.flush(n)
	}
	return err
}

// maxRanges bounds the dirty ranges of an inode: tiny ones cost more memory
// than they hold.
const maxRanges = 4096

// write is Write for an inode in use. It reports whether the dirty ranges have
// become too many.
func (v *Volume) write(n *inode, off int64, data []byte, fromCache bool) (many bool, err error) {
	n.io.RLock()
	defer n.io.RUnlock()
	ino, now := n.ino, time.Now()
	var exts []meta.Extent
	var partial []dirtyRange
	for p := data; len(p) > 0; {
		at := off + int64(len(data)-len(p))
		size := min(blockBytes-at%blockBytes, int64(len(p)))
		if size == blockBytes {
			ext, err := v.appendBlock(ino, at, p[:size])
			if err != nil {
				return false, err
			}
			exts = append(exts, ext)
		} else {
			partial = append(partial, dirtyRange{at, p[:size]})
		}
		p = p[size:]
	}
	if len(exts) > 0 {
		if err := v.commitExtents(ino, exts, now, fromCache); err != nil {
			return false, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(exts) > 0 {
		first, last := exts[0], exts[len(exts)-1]
		v.inodes.dirtyBytes.Add(-n.dirty.cut(int64(first.FileOffset), int64(last.End())))
		if !fromCache {
			n.mtime = time.Time{} // the commit stored a newer one
		}
	}
	for _, r := range partial {
		if !n.pending() {
			n.dirtySince = now
		}
		v.inodes.dirtyBytes.Add(n.dirty.put(r.off, r.data))
		n.size = max(n.size, uint64(r.end()))
		if !fromCache {
			n.mtime = now
		}
		if err := v.sealFullBlock(n, r.off-r.off%blockBytes, now, fromCache); err != nil {
			return false, err
		}
	}
	return len(n.dirty) > maxRanges, nil
}

// sealFullBlock moves the block at off to the log when small writes have filled
// it. n.mu is held, so that readers see it dirty or stored, never neither.
func (v *Volume) sealFullBlock(n *inode, off int64, now time.Time, fromCache bool) error {
	full := n.dirty.at(off)
	if full == nil || len(full.data) != blockBytes {
		return nil
	}
	ext, err := v.appendBlock(n.ino, off, full.data)
	if err != nil {
		return err
	}
	if err := v.commitExtents(n.ino, []meta.Extent{ext}, now, fromCache); err != nil {
		return err
	}
	v.inodes.dirtyBytes.Add(-n.dirty.cut(off, off+blockBytes))
	if len(n.dirty) == 0 {
		n.size = 0 // the commit reached as far
		if !fromCache {
			n.mtime = time.Time{}
		}
	}
	return nil
}

func (v *Volume) appendBlock(ino meta.Ino, off int64, data []byte) (meta.Extent, error) {
	addr, err := v.log.AppendBlock(wal.Owner{Ino: uint64(ino), FileOffset: uint64(off)}, data)
	if err != nil {
		return meta.Extent{}, fmt.Errorf("inode %d at %d: %w", ino, off, err)
	}
	return meta.Extent{FileOffset: uint64(off), Length: uint32(len(data)), Block: addr}, nil
}

// commitExtents maps file ranges to blocks that are in the log.
func (v *Volume) commitExtents(ino meta.Ino, exts []meta.Extent, now time.Time, keepTimes bool) error {
	for len(exts) > 0 {
		part := exts[:min(len(exts), extentsPerTxn)]
		exts = exts[len(part):]
		var ch meta.Change
		if !keepTimes {
			ch = written(now)
		}
		if _, err := v.store.WriteExtents(ino, part, ch); err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
	}
	return nil
}

// written is what a write at this time changes in an inode besides its data.
func written(at time.Time) meta.Change {
	t := meta.TimeOf(at)
	return meta.Change{Mask: meta.ChangeMtime | meta.ChangeCtime, Mtime: t, Ctime: t}
}

// flush puts what is dirty in n into the log. On an error the rest stays dirty.
func (v *Volume) flush(n *inode) error {
	n.io.Lock()
	defer n.io.Unlock()
	return v.flushLocked(n)
}

// flushLocked is flush with n.io held exclusively.
func (v *Volume) flushLocked(n *inode) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.dirty) > 0 {
		part := n.dirty[:min(len(n.dirty), extentsPerTxn)]
		exts := make([]meta.Extent, 0, len(part))
		for _, r := range part {
			ext, err := v.appendBlock(n.ino, r.off, r.data)
			if err != nil {
				return err
			}
			exts = append(exts, ext)
		}
		var ch meta.Change
		if !n.mtime.IsZero() {
			a, err := v.store.GetAttr(n.ino)
			if err != nil && !errors.Is(err, meta.ErrStale) {
				return err
			}
			if ch = written(n.mtime); later(a.Ctime, ch.Ctime) {
				ch.Mask &^= meta.ChangeCtime // changed otherwise since
			}
		}
		_, err := v.store.WriteExtents(n.ino, exts, ch)
		if errors.Is(err, meta.ErrStale) { // unlinked and reclaimed meanwhile
			v.discard(n)
			return nil
		}
		if err != nil {
			return fmt.Errorf("inode %d: %w", n.ino, err)
		}
		for _, r := range part {
			v.inodes.dirtyBytes.Add(-int64(len(r.data)))
		}
		n.dirty = n.dirty[len(part):]
	}
	n.dirty, n.size, n.mtime = nil, 0, time.Time{}
	return nil
}

// discard forgets what is dirty in n. n.mu is held.
func (v *Volume) discard(n *inode) {
	v.inodes.dirtyBytes.Add(-n.dirty.cut(0, maxFileBytes))
	n.dirty, n.size, n.mtime = nil, 0, time.Time{}
}

// Read fills b from off and returns how many bytes the file has there.
func (v *Volume) Read(ctx context.Context, ino meta.Ino, off int64, b []byte) (int, error) {
	n := v.inodes.get(ino)
	defer v.inodes.put(n)
	n.io.RLock()
	defer n.io.RUnlock()

	n.mu.Lock()
	attr, err := v.store.GetAttr(ino) // under the lock: a size moves from n to the store
	if err != nil {
		n.mu.Unlock()
		return 0, err
	}
	n.view(&attr)
	if off < 0 || uint64(off) >= attr.SizeBytes {
		n.mu.Unlock()
		return 0, nil
	}
	b = b[:min(uint64(len(b)), attr.SizeBytes-uint64(off))]
	end := off + int64(len(b))
	// The dirty data is copied before the extents are read: what moves from
	// one to the other in between is then seen twice, not never.
	overlay := n.dirty.overlapping(off, end)
	n.mu.Unlock()

	if len(overlay) == 1 && overlay[0].off == off && overlay[0].end() == end {
		copy(b, overlay[0].data)
		return len(b), nil
	}
	var array [20]meta.Extent
	exts, err := v.store.Extents(ino, uint64(off), uint64(len(b)), array[:0])
	if err != nil {
		return 0, err
	}
	if err := v.readExtents(ctx, exts, off, b); err != nil {
		return 0, fmt.Errorf("inode %d: %w", ino, err)
	}
	for _, r := range overlay {
		copy(b[r.off-off:], r.data)
	}
	return len(b), nil
}

// readExtents fills b, which starts at file offset off, from exts and with
// zeros between them. Blocks that need the nodes are fetched at the same time.
func (v *Volume) readExtents(ctx context.Context, exts []meta.Extent, off int64, b []byte) error {
	at := off
	var wg sync.WaitGroup
	var firstErr error
	var mu sync.Mutex
	end := off + int64(len(b))
	for i, e := range exts {
		lo, hi := max(int64(e.FileOffset), off), min(int64(e.End()), end)
		if lo >= hi {
			continue
		}
		clear(b[at-off : lo-off])
		at = hi
		dst := b[lo-off : hi-off]
		in := int(e.BlockOffset) + int(lo-int64(e.FileOffset))
		read := func() {
			if err := v.readBlock(ctx, e.Block, in, dst); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if firstErr == nil {
					firstErr = err
				}
			}
		}
		if i == len(exts)-1 {
			read()
		} else {
			wg.Go(read)
		}
	}
	wg.Wait()
	clear(b[at-off:])
	return firstErr
}

// readBlock copies the block's plaintext from byte in on to dst. Parts of
// blocks are served from memory; whole blocks are the kernel's to cache.
func (v *Volume) readBlock(ctx context.Context, a wal.Addr, in int, dst []byte) error {
	if in+len(dst) > int(a.RawBytes) {
		return fmt.Errorf("block of %d bytes read at %d for %d: %w", a.RawBytes, in, len(dst), meta.ErrCorrupt)
	}
	if b := v.blocks.Get(a); b != nil {
		copy(dst, b[in:])
		return nil
	}
	if len(dst) == int(a.RawBytes) {
		out, err := v.segments.ReadBlock(ctx, dst[:0], a)
		if err != nil {
			return err
		}
		return checkBlock(out, a, func() { copy(dst, out) })
	}
	out, err := v.segments.ReadBlock(ctx, make([]byte, 0, a.RawBytes), a)
	if err != nil {
		return err
	}
	return checkBlock(out, a, func() {
		v.blocks.Put(a, out)
		copy(dst, out[in:])
	})
}

func checkBlock(out []byte, a wal.Addr, use func()) error {
	if len(out) != int(a.RawBytes) {
		return fmt.Errorf("block of %d bytes where the extent says %d: %w", len(out), a.RawBytes, meta.ErrCorrupt)
	}
	use()
	return nil
}

// Fsync makes what was written to the inode durable at the volume's level.
// Metadata made before is durable with it: the log has one order.
func (v *Volume) Fsync(ctx context.Context, ino meta.Ino) error {
	if n := v.inodes.find(ino); n != nil {
		err := v.flush(n)
		v.inodes.put(n)
		if err != nil {
			return err
		}
	}
	return v.syncLog(ctx)
}

// syncLog makes the log durable at the volume's level.
func (v *Volume) syncLog(ctx context.Context) error {
	if err := v.log.Sync(ctx, v.log.End()); err != nil {
		return err
	}
	if v.o.Durability != Grid {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.StallTimeout)
	defer cancel()
	return v.syncGrid(ctx, true, nil)
}

// SetAttr changes attributes; a change of size cuts dirty data, too.
func (v *Volume) SetAttr(ino meta.Ino, ch meta.Change) (meta.Attr, error) {
	if err := v.changeable(false); err != nil {
		return meta.Attr{}, err
	}
	n := v.inodes.get(ino)
	defer v.inodes.put(n)
	if ch.Mask&meta.ChangeSize == 0 {
		n.mu.Lock()
		defer n.mu.Unlock()
		a, err := v.store.SetAttr(ino, ch)
		if err != nil {
			return a, err
		}
		if ch.Mask&meta.ChangeMtime != 0 {
			n.mtime = time.Time{} // what the user set outlives earlier writes
		}
		n.view(&a)
		return a, nil
	}
	n.io.Lock()
	defer n.io.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	a, err := v.store.SetAttr(ino, ch)
	if err != nil {
		return a, err
	}
	// The stored size is the true one from now on, and its time is set.
	v.inodes.dirtyBytes.Add(-n.dirty.cut(int64(ch.SizeBytes), maxFileBytes))
	n.size, n.mtime = 0, time.Time{}
	return a, nil
}

// GetAttr returns the attributes with what is pending applied.
func (v *Volume) GetAttr(ino meta.Ino) (meta.Attr, error) {
	a, err := v.store.GetAttr(ino)
	if err != nil {
		return a, err
	}
	v.applyPending(&a)
	return a, nil
}

// applyPending replaces stored attributes by those of this moment.
func (v *Volume) applyPending(a *meta.Attr) {
	n := v.inodes.find(a.Ino)
	if n != nil {
		defer v.inodes.put(n)
		n.mu.Lock()
		defer n.mu.Unlock()
	}
	// Read again, also without n: a flush may have ended since, and taken n with it.
	if now, err := v.store.GetAttr(a.Ino); err == nil {
		*a = now
	}
	if n != nil {
		n.view(a)
	}
}

// Punch makes a hole; the size stays.
func (v *Volume) Punch(ino meta.Ino, off, length int64) error {
	if err := v.changeable(false); err != nil {
		return err
	}
	n := v.inodes.get(ino)
	defer v.inodes.put(n)
	n.io.Lock()
	defer n.io.Unlock()
	if err := v.flushLocked(n); err != nil {
		return err
	}
	_, err := v.store.PunchHole(ino, uint64(off), uint64(length), written(time.Now()))
	return err
}
