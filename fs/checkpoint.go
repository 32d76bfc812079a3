package fs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/sealfs"
	"github.com/qsfs/qsfs/fs/segment"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/fs/wal"
)

const checkpointFolder = "checkpoint" // below the state folder, while one is made

// checkpointIdle is after how long without a checkpoint one is made although
// little was written.
const checkpointIdle = 10 * time.Minute

func (v *Volume) askCheckpoint() {
	select {
	case v.checkpoint <- struct{}{}:
	default:
	}
}

func (v *Volume) checkpointLoop(ctx context.Context) {
	tick := time.NewTicker(checkpointIdle)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.checkpoint:
		case <-tick.C:
			if v.appended.Load() == v.checkpointed.Load() {
				continue
			}
		}
		if err := v.runCheckpoint(ctx, false); err != nil && ctx.Err() == nil {
			v.o.Log.WarnContext(ctx, "checkpoint not made", "err", err)
		}
	}
}

// runCheckpoint brings the metadata store to the nodes and writes a superblock
// that leads to it. Writers are not held up; what is staged goes up when it is
// due, or at once when urgent.
func (v *Volume) runCheckpoint(ctx context.Context, urgent bool) error {
	v.superMu.Lock()
	defer v.superMu.Unlock()
	if err := v.writable(); err != nil {
		return err
	}
	appended := v.appended.Load()
	open := v.log.End().Segment
	// Everything closed so far goes up first, so that the flushed store holds
	// the records of those segments.
	if err := v.syncGrid(ctx, urgent, nil); err != nil {
		return err
	}
	dir := filepath.Join(v.o.StateDir, checkpointFolder)
	if err := v.o.Disk.RemoveAll(dir); err != nil {
		return err
	}
	defer v.o.Disk.RemoveAll(dir)
	pos, err := v.store.CheckpointPosition(ctx, dir)
	if err != nil {
		return fmt.Errorf("checkpoint of the metadata: %w", err)
	}
	// The checkpoint may refer to blocks written since: those go up before the
	// superblock does. Their records are not in the checkpoint, so the
	// superblock carries them.
	if err := v.syncGrid(ctx, urgent, nil); err != nil {
		return err
	}
	m, grid, err := v.uploadMetadata(ctx, dir)
	if err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	id, err := manifestObjectID()
	if err != nil {
		return err
	}
	layout, err := v.cluster.Put(ctx, id, bytes.NewReader(body), int64(len(body)), v.geometry)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	// The records of segments before open are in the checkpoint, those of later
	// ones may not be.
	recorded := min(open, pos.Segment)
	tail, nextOrdinal, err := v.tail(recorded)
	if err != nil {
		return err
	}
	next := *v.super
	next.Manifest = layout.AppendTo(nil)
	next.ReplaySegment, next.ReplayOffset = pos.Segment, pos.Offset
	next.Tail, next.NextOrdinal = tail, nextOrdinal
	next.UsedBytes, next.Inodes = v.usage()
	if err := v.writeSuperblock(ctx, &next); err != nil {
		return err
	}
	v.gridFiles = grid
	v.countDegraded()
	v.checkpointed.Store(appended)
	if err := saveManifest(v.o.StateDir, v.o, body); err != nil {
		return err
	}
	return v.retireLog(recorded)
}

// uploadMetadata brings the files of a checkpoint to the nodes that are not
// there yet.
func (v *Volume) uploadMetadata(ctx context.Context, dir string) (*manifest, map[sealfs.FileID]gridFile, error) {
	names, err := v.metaFS.List(dir)
	if err != nil {
		return nil, nil, err
	}
	m := &manifest{Version: manifestVersion}
	grid := map[sealfs.FileID]gridFile{}
	for _, name := range names {
		f, err := v.uploadMetadataFile(ctx, filepath.Join(dir, name), grid)
		if err != nil {
			return nil, nil, fmt.Errorf("metadata file %s: %w", name, err)
		}
		m.Files = append(m.Files, f)
	}
	return m, grid, nil
}

func (v *Volume) uploadMetadataFile(ctx context.Context, path string, grid map[sealfs.FileID]gridFile) (manifestFile, error) {
	id, err := v.metaFS.FileID(path)
	if err != nil {
		return manifestFile{}, err
	}
	st, err := v.metaFS.Stat(path)
	if err != nil {
		return manifestFile{}, err
	}
	raw, err := v.metaFS.OpenRaw(path)
	if err != nil {
		return manifestFile{}, err
	}
	defer raw.Close()
	f := manifestFile{Name: filepath.Base(path), FileID: id[:], PlainBytes: st.Size(), RawBytes: raw.SizeBytes}
	if known, ok := v.gridFiles[id]; ok {
		grid[id] = known
		f.Layout = known.layout.AppendTo(nil)
		return f, nil
	}
	if !strings.HasSuffix(path, ".sst") && f.RawBytes <= inlineBytes {
		f.Inline = make([]byte, f.RawBytes)
		_, err := io.ReadFull(io.NewSectionReader(raw, 0, f.RawBytes), f.Inline)
		return f, err
	}
	layout, err := v.cluster.Put(ctx, metaObjectID(id), raw, f.RawBytes, v.geometry)
	if err != nil {
		return f, err
	}
	grid[id] = gridFile{layout: layout}
	f.Layout = layout.AppendTo(nil)
	return f, nil
}

// tail lists the segments from the one with ordinal first on that hold data,
// with their records as far as they are on the nodes, and says which ordinal is
// the next: that of the open segment.
func (v *Volume) tail(first uint64) (tail []superblock.Segment, next uint64, err error) {
	next = v.log.End().Segment
	for ordinal := first; ordinal < next; ordinal++ {
		if v.bookkeeping[ordinal] {
			continue
		}
		rec, err := v.segments.Get(ordinal)
		if errors.Is(err, segment.ErrUnknown) {
			continue // ordinals that a restore skipped
		}
		if err != nil {
			return nil, 0, err
		}
		s := superblock.Segment{Ordinal: ordinal, Epoch: rec.Epoch}
		if rec.Layout != nil {
			s.Record = rec.AppendTo(nil)
		}
		tail = append(tail, s)
	}
	return tail, next, nil
}

// writeSuperblock makes next the volume's superblock, on the nodes and here.
// superMu is held.
func (v *Volume) writeSuperblock(ctx context.Context, next *superblock.Superblock) error {
	if err := v.lease.Check(ctx); err != nil {
		return err
	}
	next.Epoch = v.lease.Epoch
	// A number is used once, also when the write fails: some nodes may have it.
	v.tried = max(v.tried, v.super.Generation) + 1
	next.Generation = v.tried
	next.WriterID, next.Writer = v.state.writerID(), v.o.HolderName
	next.WrittenAt = time.Now().UTC()
	value, missed, err := publish(ctx, v.cluster, v.o, next)
	if err != nil {
		return err
	}
	v.super, v.superValue, v.superMissed = next, value, missed
	v.generation.Store(next.Generation)
	v.countDegraded()
	return nil
}

// countDegraded counts what the checkpoint lacks, for the status. superMu is held.
func (v *Volume) countDegraded() {
	n := len(v.superMissed)
	for _, f := range v.gridFiles {
		n += f.layout.DegradedStripes()
	}
	if l, err := erasure.DecodeLayout(v.super.Manifest); err == nil {
		n += l.DegradedStripes()
	}
	v.degraded.Store(int64(n))
}

// publish writes a superblock to every node, then to the state folder. It
// returns what was stored, and the nodes that did not take it.
func publish(ctx context.Context, c *cluster, o Options, s *superblock.Superblock) (value []byte, missed []erasure.NodeID, err error) {
	value, err = superblock.Seal(s, o.Keys, entropy)
	if err != nil {
		return nil, nil, err
	}
	replies, err := c.SetAll(ctx, superblock.Name(&o.Keys.Superblock, s.Slot()), value)
	for _, r := range replies {
		if r.Err != nil {
			missed = append(missed, r.Node)
			err = r.Err
		}
	}
	if acks := len(c.nodes) - len(missed); len(replies) == 0 || acks < c.quorum {
		return nil, missed, fmt.Errorf("%w: %d of %d nodes took the superblock, %d needed: %w", ErrTooFewNodes, acks, len(c.nodes), c.quorum, err)
	}
	return value, missed, o.disk().writeSuperblockFile(o.StateDir, s.Slot(), value)
}

// fillSuperblock brings the superblock to nodes that were away when it was
// written. superMu is held.
func (v *Volume) fillSuperblock(ctx context.Context) error {
	if len(v.superMissed) == 0 {
		return nil
	}
	if err := v.lease.Check(ctx); err != nil {
		return err
	}
	var errs []error
	key := superblock.Name(&v.o.Keys.Superblock, v.super.Slot())
	v.superMissed = slices.DeleteFunc(v.superMissed, func(id erasure.NodeID) bool {
		if !v.cluster.up(id) {
			return false
		}
		err := v.cluster.setOne(ctx, id, key, v.superValue)
		errs = append(errs, err)
		return err == nil
	})
	return errors.Join(errs...)
}

// retireLog moves the segments before an ordinal out of the log folder: the
// flushed metadata store has their records, and replay begins behind them.
func (v *Volume) retireLog(before uint64) error {
	ordinals, err := wal.List(v.o.Disk, filepath.Join(v.o.StateDir, logFolder))
	if err != nil {
		return err
	}
	for _, o := range ordinals {
		if o >= before {
			break
		}
		if v.bookkeeping[o] {
			if err := v.o.Disk.Remove(wal.Path(filepath.Join(v.o.StateDir, logFolder), o)); err != nil {
				return err
			}
			continue
		}
		rec, err := v.segments.Get(o)
		switch {
		case err != nil:
			return err
		case rec.Layout != nil:
			if err := v.segments.Retire(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// fillCheckpoint brings the superblock and the metadata files to nodes that
// were away when they were written.
func (v *Volume) fillCheckpoint(ctx context.Context) error {
	if !v.superMu.TryLock() { // a checkpoint is being made
		return nil
	}
	defer v.superMu.Unlock()
	var errs []error
	for id, f := range v.gridFiles {
		if !v.cluster.canFill(&f.layout) {
			continue
		}
		layout, filled, err := v.cluster.Fill(ctx, &f.layout)
		if filled > 0 {
			v.gridFiles[id] = gridFile{layout: layout} // the next manifest tells
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(v.super.Manifest) > 0 {
		l, err := erasure.DecodeLayout(v.super.Manifest)
		if err != nil {
			return err
		}
		if v.cluster.canFill(&l) {
			filledLayout, filled, err := v.cluster.Fill(ctx, &l)
			if err != nil {
				errs = append(errs, err)
			}
			if filled > 0 {
				next := *v.super
				next.Manifest = filledLayout.AppendTo(nil)
				errs = append(errs, v.writeSuperblock(ctx, &next))
			}
		}
	}
	errs = append(errs, v.fillSuperblock(ctx))
	v.countDegraded()
	return errors.Join(errs...)
}
