package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/blockcache"
	"github.com/qsfs/qsfs/fs/lease"
	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/fs/sealfs"
	"github.com/qsfs/qsfs/fs/segment"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/fs/wal"
)

const (
	flushAge        = time.Second     // dirty data goes to the log after this
	logSyncEvery    = 5 * time.Second // the log is synced at least this often
	checkpointBytes = 256 << 20       // of log, after which a checkpoint is due
	minFreeBytes    = 64 << 20        // of local disk, kept for metadata and deletes
	closeGridWait   = 15 * time.Second
)

// Volume is an open volume with the right to write it. Its methods are safe for
// concurrent use.
type Volume struct {
	o        Options
	name     string
	log      *wal.Log
	store    *meta.Store
	metaFS   *sealfs.FS
	cluster  *cluster
	lease    *lease.Lease
	dirLock  io.Closer
	state    localState
	geometry erasure.Geometry

	segments *segment.Reader
	blocks   *blockcache.Cache
	inodes   inodeTable
	uploads  *uploads
	debts    debts
	adopted  []adoptedSegment // while opening
	remote   *remoteFiles

	// bookkeeping are local segments of earlier runs that hold nothing but
	// bookkeeping: they need not go to the nodes. Not changed once open.
	bookkeeping map[uint64]bool

	// superMu serialises checkpoints and superblock writes, and guards super to tried.
	superMu     sync.Mutex
	super       *superblock.Superblock
	superValue  []byte           // super as stored
	superMissed []erasure.NodeID // the nodes that lack it
	tried       uint64           // the greatest generation that was written or tried
	// gridFiles knows the metadata files on the nodes by object; guarded by superMu.
	gridFiles map[sealfs.FileID]gridFile

	appended     atomic.Int64 // bytes of segments closed since Open
	checkpointed atomic.Int64 // of those, before the last checkpoint began

	generation atomic.Uint64 // of super
	leftBytes  atomic.Int64  // not on the nodes when Close ended
	closed     atomic.Bool

	// writes is held shared by writes of file data, exclusively to set closing:
	// what is written after the last flush would be acknowledged and lost.
	writes  sync.RWMutex
	closing atomic.Bool

	badShards chan badShard

	degraded atomic.Int64 // stripes of the checkpoint that lack shards

	readOnly   atomic.Pointer[string]
	diskLow    atomic.Bool
	pendingAt  atomic.Int64 // unix nanoseconds at which the open segment got its first byte; 0 none
	mountpoint atomic.Pointer[string]

	orphans    orphans
	stop       context.CancelFunc
	background sync.WaitGroup
	checkpoint chan struct{} // asks for a checkpoint
	closeOnce  sync.Once
	closeErr   error
}

// start runs what goes on in the background until stop is called.
func (v *Volume) start() {
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	v.background.Go(func() { v.flushLoop(ctx) })
	v.background.Go(func() { v.checkpointLoop(ctx) })
	v.background.Go(func() { v.fillLoop(ctx) })
	v.background.Go(func() { v.reclaimLoop(ctx) })
	for range uploadWorkers {
		v.background.Go(func() { v.uploadLoop(ctx) })
	}
	if !v.cluster.exclusive() {
		v.background.Go(func() {
			v.lease.Run(ctx, func(err error) { v.setReadOnly(ctx, err.Error()) })
		})
	}
}

// setReadOnly stops all changes for good; reads go on.
func (v *Volume) setReadOnly(ctx context.Context, reason string) {
	if v.readOnly.CompareAndSwap(nil, &reason) {
		v.o.Log.ErrorContext(ctx, "volume is read-only from now on", "reason", reason)
	}
}

func (v *Volume) writable() error {
	if r := v.readOnly.Load(); r != nil {
		return fmt.Errorf("%w: %s", ErrReadOnly, *r)
	}
	return nil
}

// admit lets a write of n bytes in: it waits while too much is dirty or staged,
// and refuses when there is no room or no progress.
func (v *Volume) admit(ctx context.Context, n int) error {
	if err := v.changeable(false); err != nil {
		return err
	}
	if v.localRoom() < int64(n) {
		v.diskLow.Store(true)
		return fmt.Errorf("%w on the local disk", ErrNoSpace)
	}
	if err := v.uploads.admit(ctx, v.o.MaxStagedBytes, v.o.StallTimeout); err != nil {
		return err
	}
	if v.inodes.dirtyBytes.Load()+int64(n) > v.o.MemoryBytes/8 {
		return v.flushDirty(time.Time{})
	}
	return nil
}

// localRoom is what may still be written on the local disk: a reserve stays for
// metadata, deletes and checkpoints, and what is in memory needs its place.
func (v *Volume) localRoom() int64 {
	return v.o.disk().freeBytes(v.o.StateDir) - minFreeBytes - v.log.UnwrittenBytes() - v.inodes.dirtyBytes.Load()
}

// changeable is admit for what changes metadata only: it needs no staging room,
// so that files can be deleted when the volume is full.
func (v *Volume) changeable(grows bool) error {
	if v.closing.Load() {
		return errClosing
	}
	if err := v.writable(); err != nil {
		return err
	}
	if grows && v.diskLow.Load() {
		return fmt.Errorf("%w on the local disk", ErrNoSpace)
	}
	return nil
}

// flushDirty puts into the log what was dirty before at; everything for the
// zero time.
func (v *Volume) flushDirty(at time.Time) error {
	var errs []error
	for _, n := range v.inodes.dirtyBefore(at) {
		if err := v.flush(n); err != nil && len(errs) < 4 {
			errs = append(errs, err)
		}
		v.inodes.put(n)
	}
	return errors.Join(errs...)
}

// flushLoop bounds how long data stays in memory, in the open segment, and
// unsynced.
func (v *Volume) flushLoop(ctx context.Context) {
	tick := time.NewTicker(min(flushAge/2, v.o.UploadDelay/4+time.Millisecond))
	defer tick.Stop()
	synced, lastSync := wal.Position{}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v.checkDisk(ctx)
		if err := v.flushDirty(time.Now().Add(-flushAge)); err != nil {
			v.o.Log.WarnContext(ctx, "dirty data not yet in the log", "err", err)
		}
		if end := v.log.End(); end != synced && time.Since(lastSync) >= logSyncEvery {
			if err := v.log.Sync(ctx, end); err != nil && ctx.Err() == nil {
				v.logFailed(ctx, err)
			} else {
				synced, lastSync = end, time.Now()
			}
		}
		v.cutAged(ctx)
		v.uploads.wake()
	}
}

// cutAged closes the open segment when it holds data for half the upload delay.
func (v *Volume) cutAged(ctx context.Context) {
	now := time.Now().UnixNano()
	if v.log.PendingBytes() == 0 {
		v.pendingAt.Store(0)
		return
	}
	since := v.pendingAt.Load()
	if since == 0 {
		v.pendingAt.Store(now)
		return
	}
	if time.Duration(now-since) < v.o.UploadDelay/2 {
		return
	}
	v.pendingAt.Store(0)
	if _, err := v.log.Cut(ctx); err != nil && ctx.Err() == nil {
		v.logFailed(ctx, err)
	}
}

// logFailed judges a log error: a full disk passes, anything else ends writing.
func (v *Volume) logFailed(ctx context.Context, err error) {
	if !errors.Is(err, wal.ErrNoSpace) {
		v.setReadOnly(ctx, "the log can't be written: "+err.Error())
		return
	}
	if !v.diskLow.Swap(true) {
		v.o.Log.WarnContext(ctx, "no space for the log", "err", err)
	}
}

// checkDisk refuses writes before the local disk is full to the last byte, and
// makes room there while it is.
func (v *Volume) checkDisk(ctx context.Context) {
	low := v.localRoom() <= 0
	if v.diskLow.Swap(low) != low {
		v.o.Log.WarnContext(ctx, "local disk", "room_bytes", v.localRoom(), "writes_refused", low)
	}
	if !low || v.retirable() == 0 && v.segments.CachedBytes() == 0 {
		return
	}
	if err := v.makeRoom(ctx); err != nil && ctx.Err() == nil {
		v.o.Log.DebugContext(ctx, "no room made on the local disk", "err", err)
	}
}

// retirable is how many segments at the front of the log are on the nodes.
func (v *Volume) retirable() int {
	ordinals, err := wal.List(v.o.Disk, filepath.Join(v.o.StateDir, logFolder))
	if err != nil {
		return 0
	}
	n := 0
	for _, o := range ordinals {
		rec, err := v.segments.Get(o)
		if !v.bookkeeping[o] && (err != nil || rec.Layout == nil) || o >= v.log.End().Segment {
			break
		}
		n++
	}
	return n
}

// makeRoom gives the disk back what the nodes have: segments of the log once
// the metadata store is flushed beyond them, and copies in the cache.
func (v *Volume) makeRoom(ctx context.Context) error {
	recorded := v.uploads.firstOrdinal(v.log.End().Segment) // the records before are in the store
	if err := v.store.Flush(ctx); err != nil {
		return err
	}
	if err := v.retireLog(min(recorded, v.store.DurablePosition().Segment)); err != nil {
		return err
	}
	v.segments.Shrink(2 * minFreeBytes)
	return nil
}

// Sync waits until everything written before is on the nodes at write quorum.
func (v *Volume) Sync(ctx context.Context, progress func(SyncProgress)) error {
	if err := v.flushDirty(time.Time{}); err != nil {
		return public(err)
	}
	err := v.syncGrid(ctx, true, progress)
	if errors.Is(err, erasure.ErrNoSpace) {
		return withHint(fmt.Errorf("%w on the nodes: %d bytes wait on the local disk: %w", ErrNoSpace, v.StagedBytes(), cause(err)),
			"give the nodes more room; what waits goes there by itself then")
	}
	return public(err)
}

// syncGrid waits until the log as it is now is on the nodes; when urgent, it
// goes there at once.
func (v *Volume) syncGrid(ctx context.Context, urgent bool, progress func(SyncProgress)) error {
	if _, err := v.log.Cut(ctx); err != nil {
		return err
	}
	return v.uploads.wait(ctx, urgent, progress)
}

// Close makes everything durable here, brings to the nodes what it can until
// ctx ends, and gives the volume up. StagedBytes then tells what is left; it is
// uploaded when the volume is opened the next time.
func (v *Volume) Close(ctx context.Context) error {
	v.closeOnce.Do(func() { v.closeErr = v.close(ctx) })
	return public(v.closeErr)
}

// StagedBytes is how much of the log is not yet on the nodes.
func (v *Volume) StagedBytes() int64 {
	if v.closed.Load() {
		return v.leftBytes.Load()
	}
	return v.uploads.stagedBytes() + v.log.PendingBytes() + v.inodes.dirtyBytes.Load()
}

func (v *Volume) close(ctx context.Context) error {
	var errs []error
	v.writes.Lock()
	v.closing.Store(true)
	v.writes.Unlock()
	fenced := v.readOnly.Load() != nil
	if !fenced {
		errs = append(errs, v.flushDirty(time.Time{}), v.log.Sync(ctx, v.log.End()))
		gridCtx, cancel := context.WithTimeout(ctx, closeGridWait)
		err := v.syncGrid(gridCtx, true, nil)
		if err == nil {
			err = v.runCheckpoint(gridCtx, true)
		}
		if err == nil {
			v.state.Clean = v.log.PendingBytes() == 0
		} else if gridCtx.Err() == nil {
			v.o.Log.WarnContext(ctx, "not everything is on the nodes yet", "err", err)
		}
		cancel()
	}
	v.stop()
	v.uploads.wakeAll()
	v.background.Wait()
	if !fenced {
		releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
		if err := v.lease.Release(releaseCtx); err != nil {
			v.o.Log.WarnContext(ctx, "lease not released; another machine waits for it to end", "err", err)
		}
		cancel()
	}
	v.leftBytes.Store(v.StagedBytes())
	v.closed.Store(true)
	errs = append(errs, v.log.Close(context.WithoutCancel(ctx)))
	errs = append(errs, v.store.Close(), v.metaFS.Close(), v.segments.Close(), v.cluster.Close())
	errs = append(errs, v.o.disk().writeState(v.o.StateDir, v.state), v.dirLock.Close())
	return errors.Join(errs...)
}
