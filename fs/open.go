package fs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Open opens a volume of this machine for writing: it takes the lease, replays
// the log, and from then on works in the background until Close.
func Open(ctx context.Context, o Options) (*Volume, error) {
	o = o.withDefaults()
	v := &Volume{o: o, checkpoint: make(chan struct{}, 1), bookkeeping: map[uint64]bool{}, badShards: make(chan badShard, 256)}
	v.inodes.byIno = map[meta.Ino]*inode{}
	v.orphans.init()
	if err := v.open(ctx); err != nil {
		v.abandon(ctx)
		return nil, public(err)
	}
	v.start()
	return v, nil
}

// abandon gives back what a failed open has taken.
func (v *Volume) abandon(ctx context.Context) {
	if v.log != nil {
		v.log.Discard()
	}
	if v.store != nil {
		v.store.Close()
	}
	if v.metaFS != nil {
		v.metaFS.Close()
	}
	if v.segments != nil {
		v.segments.Close()
	}
	if v.lease != nil {
		releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
		defer cancel()
		if err := v.lease.Release(releaseCtx); err != nil {
			v.o.Log.WarnContext(ctx, "lease not released", "err", err)
		}
	}
	if v.cluster != nil {
		v.cluster.Close()
	}
	if v.dirLock != nil {
		v.dirLock.Close()
	}
}

func (v *Volume) open(ctx context.Context) error {
	if err := v.openState(ctx); err != nil {
		return err
	}
	adopt, err := v.claim(ctx)
	if err != nil {
		return err
	}
	if adopt {
		if err := v.adopt(ctx); err != nil {
			return fmt.Errorf("bring the volume here: %w", err)
		}
	}
	if err := v.openStore(); err != nil {
		return err
	}
	var recovered wal.Recovered
	if adopt {
		recovered, err = v.replayRemote(ctx)
	} else {
		recovered, err = v.replayLocal(ctx)
	}
	if err != nil {
		return err
	}
	if err := v.openLog(ctx, recovered, adopt); err != nil {
		return err
	}
	return v.takeOver(ctx)
}

// openState reads the state folder and connects to the nodes.
func (v *Volume) openState(ctx context.Context) error {
	info, err := v.o.disk().readInfo(v.o.StateDir)
	v.name = info.Name
	if err != nil {
		return withHint(err, `"qsfs ls" shows the volumes of this machine; "qsfs restore" brings one back from its nodes`)
	}
	if v.dirLock, err = v.o.disk().lock(v.o.StateDir); err != nil {
		return err
	}
	if info.VolumeID != hex.EncodeToString(v.o.Keys.ID[:]) {
		return withHint(fmt.Errorf("%w: it is not that of volume %s", ErrWrongKey, info.Name), "check the words, or the key file")
	}
	if v.state, err = v.o.disk().readState(v.o.StateDir); err != nil {
		return err
	}
	if v.super, err = v.o.disk().readSuperblockFile(v.o.StateDir, v.o.Keys); err != nil {
		return withHint(fmt.Errorf("%w: local superblock: %w", ErrDamaged, err), `move the folder %s away and run "qsfs restore"`, v.o.StateDir)
	}
	v.geometry = erasure.Geometry{Data: v.super.Data, Parity: v.super.Parity, ShardBytes: v.super.ShardBytes}
	v.cluster, err = openCluster(ctx, nodesOf(v.super), v.geometry, v.o, v.noteBadShard)
	return err
}

func nodesOf(s *superblock.Superblock) []NodeConfig {
	var out []NodeConfig
	for _, n := range s.Nodes {
		out = append(out, NodeConfig{ID: erasure.NodeID(n.ID), URL: n.URL, Group: n.Group, Password: n.Password})
	}
	return out
}

// claim takes the lease and finds whether the volume was written elsewhere
// since this folder last held it, so that the folder's state must be replaced.
func (v *Volume) claim(ctx context.Context) (adopt bool, err error) {
	// Asked before the lease, so that too few nodes or a newer format change nothing.
	before, err := v.newestSuperblock(ctx)
	if err != nil {
		return false, err
	}
	var settle time.Duration
	if v.cluster.exclusive() {
		settle = -1 // nobody else can reach the nodes: no race to settle
	}
	v.lease, err = lease.Acquire(ctx, lease.Options{
		Settle: settle,
		Nodes:  v.cluster, Key: v.o.Keys.Lease, WriterID: v.state.writerID(), Holder: v.o.HolderName,
		Quorum: v.cluster.quorum, TTL: v.o.LeaseTTL, Steal: v.o.Steal || v.cluster.exclusive(), MinEpoch: max(v.super.Epoch, before.newest.Epoch) + 1,
		Waiting: v.o.Waiting, Rand: entropy, Log: v.o.Log,
	})
	if errors.Is(err, lease.ErrHeld) {
		return false, withHint(fmt.Errorf("%w: %w", ErrLocked, err), "unmount it there first; if that machine is gone for good, its lease ends by itself within a minute")
	}
	if errors.Is(err, lease.ErrNoQuorum) {
		return false, v.cluster.tooFew(v.cluster.quorum)
	}
	if err != nil {
		return false, err
	}
	f, err := v.newestSuperblock(ctx)
	if err != nil {
		return false, err
	}
	foreign := f.newest.Epoch > v.state.LastEpoch && hex.EncodeToString(f.newest.WriterID) != v.state.WriterID
	if f.newest.Newer(v.super) {
		v.super = f.newest
	}
	if v.lease.Epoch <= v.super.Epoch {
		return false, fmt.Errorf("%w: epoch %d of the lease is not beyond %d of the superblock", ErrDamaged, v.lease.Epoch, v.super.Epoch)
	}
	// A folder that never held the volume has nothing but the superblock.
	adopt = foreign || v.state.LastEpoch == 0 && v.super.Epoch > 0
	if foreign && !v.state.Clean {
		return false, withHint(fmt.Errorf("%w: by %s, and this folder has changes that never reached the nodes", ErrForked, f.newest.Writer),
			"keep %s if those changes matter, and restore under another --state-dir", v.o.StateDir)
	}
	return adopt, nil
}

// newestSuperblock asks the nodes and insists on a quorum of answers.
func (v *Volume) newestSuperblock(ctx context.Context) (found, error) {
	f := v.cluster.findSuperblock(ctx)
	if f.tooNew != nil {
		return f, f.tooNew
	}
	if f.answered < v.cluster.quorum {
		return f, v.cluster.tooFew(v.cluster.quorum)
	}
	if f.newest == nil {
		return f, withHint(fmt.Errorf("%w: no node has a superblock of this volume", ErrDamaged), "were the nodes emptied, or do the addresses lead elsewhere?")
	}
	return f, nil
}

// adopt replaces the local state by what the newest superblock leads to.
func (v *Volume) adopt(ctx context.Context) error {
	for _, folder := range []string{metaFolder, logFolder} {
		if err := v.o.Disk.RemoveAll(filepath.Join(v.o.StateDir, folder)); err != nil {
			return err
		}
	}
	if err := v.o.disk().removeIfThere(filepath.Join(v.o.StateDir, manifestPath)); err != nil {
		return err
	}
	if len(v.super.Manifest) == 0 {
		return nil
	}
	b, err := v.cluster.readManifest(ctx, v.super.Manifest)
	if err != nil {
		return err
	}
	if _, err := decodeManifest(b); err != nil {
		return err
	}
	return saveManifest(v.o.StateDir, v.o, b)
}

// openStore opens the metadata store; files that are still on the nodes only
// are fetched when it asks for them.
func (v *Volume) openStore() error {
	m, err := loadManifest(v.o.StateDir, v.o)
	if err != nil {
		return err
	}
	dir := filepath.Join(v.o.StateDir, metaFolder)
	if err := v.o.disk().makeDir(dir); err != nil {
		return err
	}
	v.remote = &remoteFiles{cluster: v.cluster, files: map[string]manifestFile{}}
	v.gridFiles = map[sealfs.FileID]gridFile{}
	inline, err := v.takeManifest(m, dir)
	if err != nil {
		return err
	}
	v.metaFS = sealfs.New(v.o.Disk, v.o.Keys.Metadata, sealfs.Options{
		RemoteDir: dir, Remote: v.remote.size, RemoteNames: v.remote.names,
		Fetch: func(ctx context.Context, name string) error {
			r, err := v.remote.open(ctx, name)
			if err != nil {
				return err
			}
			return v.metaFS.WriteRaw(filepath.Join(dir, name), r)
		},
	})
	for _, f := range inline {
		if err := v.metaFS.WriteRaw(filepath.Join(dir, f.Name), bytes.NewReader(f.Inline)); err != nil {
			return fmt.Errorf("metadata file %s: %w", f.Name, err)
		}
	}
	v.store, err = meta.Open(meta.Options{Dir: dir, FS: v.metaFS, CacheBytes: v.o.MemoryBytes / 8, Log: v.o.Log})
	if err != nil {
		return err
	}
	logDir := filepath.Join(v.o.StateDir, logFolder)
	v.segments, err = segment.NewReader(segment.Options{
		Key: &v.o.Keys.Data, LogDir: logDir, CacheDir: v.o.CacheDir, CacheBytes: v.o.CacheBytes,
		Disk: v.o.Disk, Pool: v.cluster, Record: v.segmentRecord, Log: v.o.Log,
	})
	if err != nil {
		return err
	}
	v.blocks = blockcache.New(v.o.MemoryBytes / 8)
	return nil
}

// takeManifest learns which metadata files are on the nodes, and returns those
// that the manifest itself holds when the store's folder is empty and wants them.
func (v *Volume) takeManifest(m *manifest, dir string) (inline []manifestFile, err error) {
	if m == nil {
		return nil, nil
	}
	names, err := v.o.disk().list(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if f.Layout == nil {
			inline = append(inline, f)
			continue
		}
		l, err := erasure.DecodeLayout(f.Layout)
		if err != nil {
			return nil, fmt.Errorf("manifest: %s: %w", f.Name, err)
		}
		v.gridFiles[sealfs.FileID(f.FileID)] = gridFile{layout: l}
		v.remote.files[f.Name] = f
	}
	if len(names) > 0 {
		inline = nil
	}
	return inline, nil
}

// openLog begins a new segment behind the replayed ones and queues for upload
// what is not on the nodes.
func (v *Volume) openLog(ctx context.Context, r wal.Recovered, adopt bool) error {
	v.uploads = newUploads(v.o.UploadDelay, v.o.MaxStagedBytes/2)
	logDir := filepath.Join(v.o.StateDir, logFolder)
	next := max(r.Next, v.super.NextOrdinal)
	if next > r.Next { // nothing local to continue
		r.PrevEnd = 0
	}
	var err error
	v.log, err = wal.Open(wal.Options{
		FS: v.o.Disk, Dir: logDir, Key: v.o.Keys.Data, Epoch: v.lease.Epoch, Next: next, Prev: r.Prev, PrevEnd: r.PrevEnd,
		Log: v.o.Log, OnClosed: v.segmentClosed,
	})
	if err != nil {
		return err
	}
	v.segments.SetHeld(v.log)
	v.store.SetJournal(v.log)
	if err := v.countSegments(); err != nil {
		return err
	}
	for _, a := range v.adopted {
		if err := v.recordSegment(a.ordinal, a.rec, true); err != nil {
			return err
		}
	}
	v.adopted = nil
	if err := v.queueLocal(ctx, logDir, next); err != nil {
		return err
	}
	if _, err := v.store.GetAttr(meta.RootIno); errors.Is(err, meta.ErrStale) {
		if err := v.store.Format(0o755, uint32(os.Getuid()), uint32(os.Getgid())); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if adopt {
		// From here on the local log has the position that the store reached, so
		// that the next open can replay from it.
		if err := v.store.PutRecord("adopted", nil, true); err != nil {
			return err
		}
		if err := v.store.Flush(ctx); err != nil {
			return err
		}
	}
	return v.store.Orphans(func(ino meta.Ino) bool {
		v.orphans.add(ino)
		return true
	})
}

// countSegments learns from the stored records which segments lack shards.
func (v *Volume) countSegments() error {
	var bad error
	err := v.store.Segments(func(ordinal uint64, b []byte) bool {
		rec, err := segment.DecodeRecord(b)
		if err != nil {
			bad = fmt.Errorf("segment %d: %w", ordinal, err)
			return false
		}
		v.debts.note(ordinal, rec.Layout, true)
		return true
	})
	return errors.Join(err, bad)
}

// takeOver makes this process the writer for all who read the nodes.
func (v *Volume) takeOver(ctx context.Context) error {
	next := *v.super
	first := v.super.ReplaySegment
	for _, s := range v.super.Tail {
		first = min(first, s.Ordinal) // the checkpoint lacks its record
	}
	tail, open, err := v.tail(first)
	if err != nil {
		return err
	}
	next.Tail, next.NextOrdinal = tail, open
	if err := v.writeSuperblock(ctx, &next); err != nil {
		return err
	}
	v.state.LastEpoch, v.state.Clean = v.lease.Epoch, false
	return v.o.disk().writeState(v.o.StateDir, v.state)
}
