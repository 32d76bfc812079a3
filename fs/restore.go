package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/zdb"
)

// RestoreOptions says how far a restore goes.
type RestoreOptions struct {
	DryRun bool // find and verify, write nothing
	Full   bool // bring everything here, as far as the cache has room, not only on first use
	// Progress is told how far it is.
	Progress func(RestoreProgress)
}

// RestoreProgress is how far a restore is.
type RestoreProgress struct {
	Stage      string `json:"stage"` // "superblock", "log", "metadata", "data"
	DoneBytes  int64  `json:"done_bytes"`
	TotalBytes int64  `json:"total_bytes"`
}

// RestoreReport is what a restore found.
type RestoreReport struct {
	Name       string    `json:"name"`
	VolumeName string    `json:"volume_name"` // as it was named when made
	VolumeID   string    `json:"volume_id"`
	Generation uint64    `json:"generation"`
	Epoch      uint32    `json:"epoch"`
	Writer     string    `json:"writer"`
	WrittenAt  time.Time `json:"written_at"`
	Data       int       `json:"data_shards"`
	Parity     int       `json:"parity_shards"`
	NodesUp    int       `json:"nodes_up"`
	Nodes      int       `json:"nodes"`
	Inodes     int64     `json:"inodes"`     // as of the checkpoint
	UsedBytes  int64     `json:"used_bytes"` // as of the checkpoint
}

// Restore finds the volume of o.Keys through any of the seed nodes and makes its
// state folder here, so that Open brings it back. The folder must not exist.
func Restore(ctx context.Context, name string, seeds []NodeConfig, o Options, ro RestoreOptions) (report RestoreReport, err error) {
	o = o.withDefaults()
	if ro.Progress == nil {
		ro.Progress = func(RestoreProgress) {}
	}
	if err := o.disk().vacant(o.StateDir); err != nil {
		return report, err
	}
	ro.Progress(RestoreProgress{Stage: "superblock"})
	s, value, up, err := findVolume(ctx, seeds, o)
	if err != nil {
		return report, public(err)
	}
	report = RestoreReport{
		Name: name, VolumeName: s.Name, VolumeID: fmt.Sprintf("%x", s.VolumeID), Generation: s.Generation, Epoch: s.Epoch,
		Writer: s.Writer, WrittenAt: s.WrittenAt, Data: s.Data, Parity: s.Parity,
		NodesUp: up, Nodes: len(s.Nodes), Inodes: s.Inodes, UsedBytes: s.UsedBytes,
	}
	if ro.DryRun {
		return report, nil
	}
	undo, err := o.disk().makeStateDir(o.StateDir)
	if err != nil {
		return report, err
	}
	defer func() {
		if err != nil {
			undo()
			err = public(err)
		}
	}()
	st, err := newState()
	if err != nil {
		return report, err
	}
	if err := o.disk().writeState(o.StateDir, st); err != nil {
		return report, err
	}
	if err := o.disk().writeSuperblockFile(o.StateDir, s.Slot(), value); err != nil {
		return report, err
	}
	local := *s
	local.Name = name
	if err := o.disk().writeInfo(o.StateDir, &local); err != nil {
		return report, err
	}
	if !ro.Full {
		return report, nil
	}
	ro.Progress(RestoreProgress{Stage: "log"})
	v, err := Open(ctx, o)
	if err != nil {
		return report, err
	}
	err = v.fetchAll(ctx, ro.Progress)
	return report, errors.Join(err, v.Close(context.WithoutCancel(ctx)))
}

// findVolume asks the seeds for the newest superblock they have, and then all
// the nodes that it names, so that the newest of all is found.
func findVolume(ctx context.Context, seeds []NodeConfig, o Options) (s *superblock.Superblock, value []byte, up int, err error) {
	c, err := openCluster(ctx, seeds, erasure.Geometry{Data: 1, ShardBytes: erasure.DefaultShardBytes}, o, nil)
	if err != nil {
		return nil, nil, 0, err
	}
	f := c.findSuperblock(ctx)
	noneUp := len(c.dialErrors()) == len(seeds)
	tooFew := c.tooFew(1)
	noNamespace := noneUp
	for _, err := range c.dialErrors() {
		noNamespace = noNamespace && errors.Is(err, zdb.ErrNamespaceNotFound)
	}
	// Closed before the same nodes are opened again: an embedded one is locked.
	if err := c.Close(); err != nil {
		return nil, nil, 0, err
	}
	switch {
	case f.tooNew != nil:
		return nil, nil, 0, f.tooNew
	case f.newest == nil && f.foreign > 0:
		return nil, nil, 0, withHint(fmt.Errorf("%w: the nodes hold a volume that these words do not open", ErrWrongKey), "check the words and their order")
	case f.newest == nil && noNamespace:
		return nil, nil, 0, withHint(fmt.Errorf("%w: the named nodes have no such namespace", ErrVolumeNotFound), "check the address and the namespace, the last part of it")
	case f.newest == nil && noneUp:
		return nil, nil, 0, tooFew
	case f.newest == nil:
		return nil, nil, 0, withHint(fmt.Errorf("%w: the named nodes hold no volume of these words", ErrVolumeNotFound), "check the words, the address and the namespace")
	}
	g := erasure.Geometry{Data: f.newest.Data, Parity: f.newest.Parity, ShardBytes: f.newest.ShardBytes}
	all, err := openCluster(ctx, nodesOf(f.newest), g, o, nil)
	if err != nil {
		return nil, nil, 0, err
	}
	defer all.Close()
	fa := all.findSuperblock(ctx)
	if fa.tooNew != nil {
		return nil, nil, 0, fa.tooNew
	}
	if fa.answered < all.quorum {
		return nil, nil, 0, all.tooFew(all.quorum)
	}
	if !f.newest.Newer(fa.newest) && fa.newest != nil {
		return fa.newest, fa.value, fa.answered, nil
	}
	return f.newest, f.value, fa.answered, nil
}

// fetchAll brings the metadata and, as far as the cache has room, the data of
// the volume here.
func (v *Volume) fetchAll(ctx context.Context, progress func(RestoreProgress)) error {
	p := RestoreProgress{Stage: "metadata"}
	names := v.remote.names()
	for _, name := range names {
		n, _ := v.remote.size(name)
		p.TotalBytes += n
	}
	for _, name := range names {
		progress(p)
		f, err := v.metaFS.Open(filepath.Join(v.o.StateDir, metaFolder, name))
		if errors.Is(err, os.ErrNotExist) { // compacted away meanwhile
			continue
		}
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		n, _ := v.remote.size(name)
		p.DoneBytes += n
	}
	progress(p)

	p = RestoreProgress{Stage: "data"}
	var ordinals []uint64
	err := v.store.Segments(func(ordinal uint64, _ []byte) bool {
		if rec, err := v.segments.Get(ordinal); err == nil && rec.Layout != nil {
			ordinals = append(ordinals, ordinal)
			p.TotalBytes += rec.SizeBytes
		}
		return true
	})
	if err != nil {
		return err
	}
	for i := len(ordinals) - 1; i >= 0; i-- { // the newest first, while there is room
		if ctx.Err() != nil {
			return ctx.Err()
		}
		progress(p)
		n, room, err := v.segments.Fetch(ctx, ordinals[i], v.cluster)
		if err != nil {
			return fmt.Errorf("segment %d: %w", ordinals[i], err)
		}
		if !room {
			break
		}
		p.DoneBytes += n
	}
	progress(p)
	return nil
}
