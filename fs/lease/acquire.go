package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

// maxRounds bounds how often Acquire looks and writes.
const maxRounds = 6

// Acquire takes the volume, or says who holds it.
func Acquire(ctx context.Context, o Options) (*Lease, error) {
	if o.TTL == 0 {
		o.TTL = 30 * time.Second
	}
	if o.Every == 0 {
		o.Every = o.TTL / 3
	}
	if o.Settle == 0 {
		o.Settle = o.TTL / 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lease{o: o, turn: make(chan struct{}, 1)}
	var silent *Record // of a holder that was waited for
	for range maxRounds {
		looked := time.Now()
		found, err := read(ctx, &l.o)
		if err != nil {
			return nil, err
		}
		best := newest(found, o.WriterID)
		if best != nil && !best.sameWriter(o.WriterID) && !best.Released && !o.Steal && !best.equal(silent) {
			if silent != nil {
				return nil, &HeldError{Holder: best.Holder} // it was quicker
			}
			if silent, err = waitSilent(ctx, &l.o, best); err != nil {
				return nil, err
			}
			continue
		}
		if err := l.claim(ctx, best, looked); err != nil {
			return nil, err
		}
		switch owned, err := l.owned(ctx); {
		case err != nil:
			return nil, err
		case owned:
			return l, nil
		}
		// Overwritten by the last renewal of a predecessor, or a node lost it.
	}
	return nil, fmt.Errorf("%w: the record does not stay on them", ErrNoQuorum)
}

// claim writes the record of the epoch after best and waits until every other
// writer that looked before it was there has written, too.
func (l *Lease) claim(ctx context.Context, best *Record, looked time.Time) error {
	mine := best != nil && best.sameWriter(l.o.WriterID) && best.Epoch == l.Epoch // of an earlier round
	if !mine {
		l.Epoch, l.counter = max(l.o.MinEpoch, l.Epoch, 1), 0
		if best != nil {
			if best.Epoch == math.MaxUint32 {
				return fmt.Errorf("%w: no epoch left", ErrCorrupt)
			}
			l.Epoch = max(l.Epoch, best.Epoch+1)
		}
	}
	if err := l.write(ctx, false); err != nil {
		return err
	}
	if l.o.Settle > 0 && time.Since(looked) > l.o.Settle {
		return l.outlast(ctx)
	}
	return sleep(ctx, l.o.Settle)
}

// outlast is for a writer that wrote so late that it may have overwritten the
// record of an owner. It keeps its record alive until that owner has found out,
// and then takes an epoch that the owner never had.
func (l *Lease) outlast(ctx context.Context) error {
	for end := time.Now().Add(l.o.TTL); time.Now().Before(end); {
		if err := sleep(ctx, min(l.o.Every, time.Until(end))); err != nil {
			return err
		}
		found, err := read(ctx, &l.o)
		if err != nil {
			return err
		}
		if r := l.rival(found); r != nil {
			return &HeldError{Holder: r.Holder}
		}
		l.counter++
		if err := l.write(ctx, false); err != nil {
			return err
		}
	}
	l.Epoch++
	l.counter = 0
	return l.write(ctx, false)
}

// owned reports whether a quorum shows our record. The error is ErrHeld when
// another writer's stands beside it.
func (l *Lease) owned(ctx context.Context) (bool, error) {
	found, err := read(ctx, &l.o)
	if err != nil {
		return false, err
	}
	if r := l.rival(found); r != nil {
		return false, &HeldError{Holder: r.Holder}
	}
	ours := 0
	for _, r := range found {
		if r.Epoch == l.Epoch {
			ours++
		}
	}
	return ours >= l.o.Quorum, nil
}

// rival returns a record that fences this writer off.
func (l *Lease) rival(found []*Record) *Record {
	for _, r := range found {
		if r.Epoch >= l.Epoch && !r.sameWriter(l.o.WriterID) || r.Epoch > l.Epoch {
			return r
		}
	}
	return nil
}

// waitSilent watches the record until it has not changed for TTL. A change
// means that the holder lives.
func waitSilent(ctx context.Context, o *Options, seen *Record) (*Record, error) {
	if o.Waiting != nil {
		o.Waiting(seen.Holder, o.TTL)
	}
	deadline := time.Now().Add(o.TTL)
	for time.Now().Before(deadline) {
		if err := sleep(ctx, max(min(o.Every/4, time.Until(deadline)), time.Millisecond)); err != nil {
			return nil, err
		}
		found, err := read(ctx, o)
		if err != nil {
			return nil, err
		}
		switch now := newest(found, o.WriterID); {
		case now == nil: // the nodes that had it are away
		case now.Released:
			return now, nil
		case !now.equal(seen):
			return nil, &HeldError{Holder: now.Holder}
		}
	}
	return seen, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// newest returns the record that counts. Of two writers that took the same epoch
// it is the other one's.
func newest(found []*Record, writerID []byte) *Record {
	var best *Record
	for _, r := range found {
		if best == nil || compare(r, best, writerID) > 0 {
			best = r
		}
	}
	return best
}

func compare(a, b *Record, writerID []byte) int {
	foreign := func(r *Record) int {
		if r.sameWriter(writerID) {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(foreign(a), foreign(b)), cmp.Compare(a.Counter, b.Counter))
}

// read returns the records that a quorum of nodes has: one a node, none for a
// node without.
func read(ctx context.Context, o *Options) ([]*Record, error) {
	var found []*Record
	answered, damaged := 0, 0
	for _, r := range o.Nodes.GetLease(ctx, Name(&o.Key)) {
		if r.Err != nil {
			continue
		}
		if r.Value == nil {
			answered++
			continue
		}
		rec, err := Open(r.Value, &o.Key)
		if errors.Is(err, ErrTooNew) {
			return nil, err
		}
		if err != nil { // a lying or rotten node counts as one that is silent
			damaged++
			continue
		}
		answered++
		found = append(found, rec)
	}
	if answered < o.Quorum {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %d of the %d needed (%d damaged)", ErrNoQuorum, answered, o.Quorum, damaged)
	}
	return found, nil
}
