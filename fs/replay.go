package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/segment"
	"github.com/qsfs/qsfs/fs/wal"
)

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
