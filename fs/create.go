package fs

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/superblock"
)

// Create makes an empty volume on the nodes and its state folder here. All
// nodes must be reachable, and none may hold a volume of these keys. On an
// error nothing that it made stays behind.
func Create(ctx context.Context, cfg Config, o Options) (err error) {
	o = o.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := o.disk().vacant(o.StateDir); err != nil {
		return err
	}
	undo, err := o.disk().makeStateDir(o.StateDir)
	if err != nil {
		return err
	}
	lock, err := o.disk().lock(o.StateDir)
	if err != nil {
		return err
	}
	defer func() {
		lock.Close()
		if err != nil {
			undo()
			err = public(err)
		}
	}()
	c, err := openCluster(ctx, cfg.Nodes, erasure.Geometry{Data: cfg.Data, Parity: cfg.Parity, ShardBytes: erasure.DefaultShardBytes}, o, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(c.dialErrors()) > 0 {
		return c.tooFew(len(cfg.Nodes)) // all are needed to make a volume
	}
	f := c.findSuperblock(ctx)
	switch {
	case f.tooNew != nil:
		return f.tooNew
	case f.newest != nil:
		return withHint(fmt.Errorf("%w: these nodes hold %q, made with the same phrase", ErrVolumeExists, f.newest.Name),
			`"qsfs restore" brings it here; a new volume needs a new phrase`)
	case f.answered < len(cfg.Nodes):
		return c.tooFew(len(cfg.Nodes))
	}
	st, err := newState()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	s := &superblock.Superblock{
		VolumeID: o.Keys.ID[:], Name: cfg.Name, Generation: 1, WriterID: st.writerID(), Writer: o.HolderName,
		CreatedAt: now, WrittenAt: now, Data: cfg.Data, Parity: cfg.Parity, ShardBytes: erasure.DefaultShardBytes,
	}
	for _, n := range cfg.Nodes {
		s.Nodes = append(s.Nodes, superblock.Node{ID: uint16(n.ID), URL: n.URL, Group: n.Group, Password: n.Password})
	}
	if err := o.disk().writeState(o.StateDir, st); err != nil {
		return err
	}
	if _, _, err := publish(ctx, c, o, s); err != nil {
		c.deleteSuperblock(ctx, s.Slot())
		return err
	}
	// Last: the folder is a volume's from here on.
	if err := o.disk().writeInfo(o.StateDir, s); err != nil {
		c.deleteSuperblock(ctx, s.Slot())
		return err
	}
	return nil
}

// vacant returns ErrVolumeExists when the folder holds a volume, or part of one:
// its log may be all that there is of somebody's data.
func (d disk) vacant(dir string) error {
	for _, name := range []string{infoFile, stateFile, superblockFile, manifestPath, logFolder, metaFolder} {
		if d.exists(filepath.Join(dir, name)) {
			return withHint(fmt.Errorf("%w: %s", ErrVolumeExists, dir), "choose another name, or move that folder away if the volume in it is not needed")
		}
	}
	return nil
}

// makeStateDir makes the folder of a volume; undo removes what was made in it.
func (d disk) makeStateDir(dir string) (undo func(), err error) {
	existed := d.exists(dir)
	if err := d.makeDir(dir); err != nil {
		return nil, err
	}
	return func() {
		for _, name := range []string{infoFile, stateFile, superblockFile, manifestPath, lockFile} {
			d.Remove(filepath.Join(dir, name))
		}
		d.RemoveAll(filepath.Join(dir, logFolder))
		d.RemoveAll(filepath.Join(dir, metaFolder))
		if !existed {
			d.Remove(dir)
		}
	}, nil
}
