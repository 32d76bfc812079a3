package fs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/segment"
)

// fillEvery is how often shards that missed their node are tried again.
const fillEvery = 3 * time.Second

// debts are the segments that lack shards on some node. It also counts the
// stripes of all segments, for the status.
type debts struct {
	mu       sync.Mutex
	degraded map[uint64]int // stripes of a segment that lack shards
	stripes  int64
}

// note takes in the layout of a segment; isNew when it is the segment's first.
func (d *debts) note(ordinal uint64, l *erasure.Layout, isNew bool) {
	if l == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if isNew {
		d.stripes += int64(l.Stripes())
	}
	if n := l.DegradedStripes(); n > 0 {
		if d.degraded == nil {
			d.degraded = map[uint64]int{}
		}
		d.degraded[ordinal] = n
	} else {
		delete(d.degraded, ordinal)
	}
}

// segments returns those that lack shards, oldest first.
func (d *debts) segments() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]uint64, 0, len(d.degraded))
	for o := range d.degraded {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}

func (d *debts) counts() (stripes, degraded int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.degraded {
		degraded += int64(n)
	}
	return d.stripes, degraded
}

// fillLoop writes the shards that were missing when their node was away.
func (v *Volume) fillLoop(ctx context.Context) {
	tick := time.NewTicker(fillEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if v.writable() != nil {
			return
		}
		v.takeBadShards(ctx)
		for _, ordinal := range v.debts.segments() {
			if err := v.fillSegment(ctx, ordinal); err != nil && ctx.Err() == nil {
				v.o.Log.DebugContext(ctx, "missing shards stay missing", "segment", ordinal, "err", err)
			}
		}
		if err := v.fillCheckpoint(ctx); err != nil && ctx.Err() == nil {
			v.o.Log.DebugContext(ctx, "checkpoint stays degraded", "err", err)
		}
	}
}

// fillSegment writes what a segment lacks on nodes that are up.
func (v *Volume) fillSegment(ctx context.Context, ordinal uint64) error {
	rec, err := v.segments.Get(ordinal)
	if err != nil || !v.cluster.canFill(rec.Layout) {
		return err
	}
	layout, filled, err := v.cluster.Fill(ctx, rec.Layout)
	if filled > 0 {
		rec.Layout = &layout
		if err := v.recordSegment(ordinal, rec, false); err != nil {
			return err
		}
		v.o.Log.InfoContext(ctx, "missing shards written", "segment", ordinal, "shards", filled, "left", len(layout.Missing))
	}
	return err
}

// segmentRecord finds a record in the metadata store, for the segment reader.
func (v *Volume) segmentRecord(ordinal uint64) (segment.Record, error) {
	b, err := v.store.Segment(ordinal)
	if err != nil {
		return segment.Record{}, fmt.Errorf("%w: %w", segment.ErrUnknown, err)
	}
	return segment.DecodeRecord(b)
}

// badShard is a shard that a read found wrong or gone.
type badShard struct {
	ordinal uint64
	ref     erasure.ShardRef
}

// noteBadShard is called by the pool during reads; it must not wait.
func (v *Volume) noteBadShard(l *erasure.Layout, ref erasure.ShardRef, _ error) {
	ordinal, ok := segment.OrdinalOf(l.Object)
	if !ok {
		return
	}
	select {
	case v.badShards <- badShard{ordinal, ref}:
	default: // found again by the next read
	}
}

// takeBadShards lists the shards found bad as missing, so that they are
// written again.
func (v *Volume) takeBadShards(ctx context.Context) {
	for {
		var b badShard
		select {
		case b = <-v.badShards:
		default:
			return
		}
		rec, err := v.segments.Get(b.ordinal)
		if err != nil || rec.Layout == nil {
			continue
		}
		layout := rec.Layout.Clone()
		if !layout.AddMissing(b.ref) {
			continue
		}
		rec.Layout = &layout
		if err := v.recordSegment(b.ordinal, rec, false); err != nil {
			v.o.Log.WarnContext(ctx, "bad shard not recorded", "segment", b.ordinal, "err", err)
			return
		}
		v.o.Log.WarnContext(ctx, "bad shard will be written again", "segment", b.ordinal, "stripe", b.ref.Stripe, "shard", b.ref.Shard)
	}
}
