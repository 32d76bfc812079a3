package fs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// replayLocal brings the store up to the end of the local log.
func (v *Volume) replayLocal(ctx context.Context) (wal.Recovered, error) {
	from := v.store.Position()
	// After a kill the end of the log may be in the page cache only, and what
	// the store makes of it must not reach the disk before it.
	if err := v.o.disk().syncFiles(filepath.Join(v.o.StateDir, logFolder)); err != nil {
		return wal.Recovered{}, fmt.Errorf("sync the log: %w", err)
	}
	r, err := wal.Replay(v.o.Disk, filepath.Join(v.o.StateDir, logFolder), &v.o.Keys.Data, from, func(e wal.Entry) error {
		if e.Kind == wal.KindBlock {
			return nil
		}
		return v.store.Replay(e.Payload, e.After)
	})
	if err != nil {
		return r, withHint(fmt.Errorf("replay the log: %w", err), `the nodes may have what is damaged here: move %s away and run "qsfs restore"`, v.o.StateDir)
	}
	if len(r.Segments) > 0 {
		v.o.Log.InfoContext(ctx, "log replayed", "from", from, "to", r.End, "segments", len(r.Segments))
	}
	return r, nil
}

// replayRemote brings a store that came from a checkpoint up to the end of the
// log on the nodes.
func (v *Volume) replayRemote(ctx context.Context) (wal.Recovered, error) {
	r := wal.Recovered{Next: max(v.super.NextOrdinal, v.super.ReplaySegment+1), End: v.store.Position()}
	if len(v.super.Manifest) == 0 && len(v.super.Tail) == 0 {
		r.Next = v.super.NextOrdinal
	}
	for i, s := range v.super.Tail {
		r.Next = max(r.Next, s.Ordinal+1)
		err := v.replayObject(ctx, s.Epoch, s.Ordinal, s.Record, &r)
		if errors.Is(err, erasure.ErrNotFound) && len(s.Record) == 0 {
			// It was still on its way when its machine was lost, and what came after it builds on it.
			v.o.Log.WarnContext(ctx, "the last changes never reached the nodes and are lost", "after", v.super.WrittenAt, "segment", s.Ordinal, "segments_listed", len(v.super.Tail)-i)
			return r, nil
		}
		if err != nil {
			return r, err
		}
	}
	for ordinal := v.super.NextOrdinal; ; ordinal++ {
		err := v.replayObject(ctx, v.super.Epoch, ordinal, nil, &r)
		if errors.Is(err, erasure.ErrNotFound) {
			v.o.Log.InfoContext(ctx, "end of the log on the nodes", "segment", ordinal)
			r.Next = max(r.Next, ordinal+1) // part of it may be there
			return r, nil
		}
		if err != nil {
			return r, err
		}
	}
}

// replayObject replays one segment from the nodes.
func (v *Volume) replayObject(ctx context.Context, epoch uint32, ordinal uint64, record []byte, r *wal.Recovered) error {
	var rec segment.Record
	var err error
	if len(record) > 0 {
		if rec, err = segment.DecodeRecord(record); err != nil {
			return err
		}
	} else {
		layout, err := v.cluster.Find(ctx, segment.ObjectID(epoch, ordinal))
		if err != nil {
			return fmt.Errorf("segment %d: %w", ordinal, err)
		}
		rec = segment.Record{Epoch: epoch, SizeBytes: layout.SizeBytes, Layout: &layout}
	}
	from := uint32(0)
	if pos := v.store.Position(); pos.Segment == ordinal {
		from = pos.Offset
	} else if ordinal < pos.Segment {
		return v.adoptSegment(ordinal, rec, &objectAt{ctx: ctx, cluster: v.cluster, layout: rec.Layout})
	}
	// Read whole before any of it is replayed: one whose upload was cut short is
	// as if it was not there.
	if rec.SizeBytes > wal.MaxSegmentBytes {
		return fmt.Errorf("%w: segment %d of %d bytes", ErrDamaged, ordinal, rec.SizeBytes)
	}
	whole := make([]byte, rec.SizeBytes)
	if err := v.cluster.ReadAt(ctx, rec.Layout, whole, 0); err != nil {
		return fmt.Errorf("segment %d: %w", ordinal, err)
	}
	res, err := wal.Scan(bytes.NewReader(whole), rec.SizeBytes, &v.o.Keys.Data, from, func(e wal.Entry) error {
		if e.Kind == wal.KindBlock {
			return nil
		}
		return v.store.Replay(e.Payload, e.After)
	})
	// A segment that a crash tore was cut before it was stored: it ends where its last frame does.
	if errors.Is(err, wal.ErrTorn) && int64(res.End) == rec.SizeBytes {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("segment %d: %w", ordinal, err)
	}
	if res.Header.Ordinal != ordinal || res.Header.Epoch != epoch {
		return fmt.Errorf("%w: segment %d of epoch %d in the place of %d of %d", ErrDamaged, res.Header.Ordinal, res.Header.Epoch, ordinal, epoch)
	}
	rec.ID = res.Header.ID
	v.adopted = append(v.adopted, adoptedSegment{ordinal, rec})
	r.Prev, r.PrevEnd, r.Epoch = res.Header.ID, 0, epoch
	r.Next, r.End = max(r.Next, ordinal+1, v.store.Position().Segment+1), wal.Position{Segment: ordinal, Offset: res.End}
	return nil
}

// adoptSegment takes in the record of a segment that needs no replay.
func (v *Volume) adoptSegment(ordinal uint64, rec segment.Record, at io.ReaderAt) error {
	h, err := wal.ReadHeader(at, &v.o.Keys.Data)
	if err != nil {
		return fmt.Errorf("segment %d: %w", ordinal, err)
	}
	rec.ID = h.ID
	v.adopted = append(v.adopted, adoptedSegment{ordinal, rec})
	return nil
}

// adoptedSegment is a segment found on the nodes whose record is not stored yet.
type adoptedSegment struct {
	ordinal uint64
	rec     segment.Record
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

// queueLocal queues the segments of earlier runs that are not on the nodes.
func (v *Volume) queueLocal(ctx context.Context, logDir string, next uint64) error {
	ordinals, err := wal.List(v.o.Disk, logDir)
	if err != nil {
		return err
	}
	for _, ordinal := range ordinals {
		if ordinal >= next {
			break
		}
		if rec, err := v.segmentRecord(ordinal); err == nil && rec.Layout != nil {
			continue
		}
		c, data, err := v.inspect(wal.Path(logDir, ordinal))
		if err != nil {
			return fmt.Errorf("segment %d: %w", ordinal, err)
		}
		v.segments.Set(ordinal, segment.Record{Epoch: c.Epoch, ID: c.ID, SizeBytes: c.SizeBytes})
		if !data {
			v.bookkeeping[ordinal] = true
			continue
		}
		v.uploads.add(c)
		v.o.Log.InfoContext(ctx, "segment of an earlier run goes to the nodes", "segment", ordinal, "bytes", c.SizeBytes)
	}
	return nil
}

// errData ends the search of a segment at the first frame that matters.
var errData = errors.New("has data")

// inspect reads a local segment's header and finds whether it holds anything
// but bookkeeping.
func (v *Volume) inspect(path string) (wal.Closed, bool, error) {
	f, err := v.o.Disk.Open(path)
	if err != nil {
		return wal.Closed{}, false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return wal.Closed{}, false, err
	}
	res, err := wal.Scan(f, fi.Size(), &v.o.Keys.Data, 0, func(e wal.Entry) error {
		if e.Kind == wal.KindLazyTxn {
			return nil
		}
		return errData
	})
	c := wal.Closed{Header: res.Header, SizeBytes: fi.Size(), Path: path}
	switch {
	case errors.Is(err, errData):
		return c, true, nil
	case errors.Is(err, wal.ErrTorn) && int64(res.End) == fi.Size():
		return c, false, nil
	}
	return c, false, err
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
