// Package lease keeps a volume to one writer.
//
// The lease is one small sealed record, the same on every node. 0-db has no
// compare-and-swap, so a writer looks, writes, waits and looks again:
//
//  1. It reads the record at a quorum of nodes. It may go on when there is none,
//     or the newest is its own, released, or has not changed for TTL by its own
//     clock; no clocks are compared.
//  2. It writes its record, of the next epoch, to all nodes.
//  3. It waits for Settle. When 1 and 2 took longer than that, it renews its record
//     for TTL instead, and then writes one of the next epoch.
//  4. It owns the volume when a quorum then shows its record, and no node a
//     record of this epoch or a later one by somebody else.
//
// Why the wait: two writers that start together may both find the volume free.
// The one that writes last has written before the wait of the other is over, so
// at most one of them finds its own record alone (Fischer's algorithm; Lamport,
// "A Fast Mutual Exclusion Algorithm", ACM TOCS 5(1), 1987). A slow one may have
// overwritten the record of an owner, who finds that out, or that its lease is
// stale, before TTL is over. It may be that both lose; neither writes again then.
//
// The owner renews by reading, and counting the record up. Whoever sees a later
// epoch, or its own with another writer, has lost the volume and must stop
// writing. Check vouches for TTL/2 from the last write of the record on; nobody
// who respects the lease takes the volume before TTL from then.
//
// The quorum is all nodes less the parity count. Two quorums share a node when
// data shards outnumber parity shards; with fewer, a partition of the network
// can give both sides a quorum. That, and a write that a network delivers later
// than TTL, is what the fencing epoch is for: it is in every object name and
// superblock slot and keeps writers of different epochs from damaging each other.
//
// # Stored value
//
// In an envelope (fs/envelope) under the lease key, label "qsfs/v1/lease", the
// record's name being the place: magic "QLEA", version 1 (2 bytes, little endian),
// JSON of Record, at most 4 KiB.
package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Errors that callers branch on.
var (
	// ErrHeld means another writer holds the volume; HeldError names it.
	ErrHeld = errors.New("lease: held by another writer")
	// ErrLost means this writer was fenced off: it must stop writing.
	ErrLost = errors.New("lease: lost to another writer")
	// ErrNoQuorum means too few nodes answered to decide.
	ErrNoQuorum = errors.New("lease: too few nodes answered")
	// ErrCorrupt means a stored record does not open.
	ErrCorrupt = errors.New("lease: corrupt record")
	// ErrTooNew means a later release wrote the record.
	ErrTooNew = errors.New("lease: written by a newer release")
)

// HeldError says who holds the volume. It matches ErrHeld.
type HeldError struct{ Holder string }

func (e *HeldError) Error() string { return "lease: held by " + e.Holder }

// Is makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// Reply is one node's answer. A node that lacks the record answers neither
// value nor error.
type Reply struct {
	Value []byte
	Err   error
}

// Nodes stores the record on all nodes of the pool.
type Nodes interface {
	// GetLease asks every node for the record.
	GetLease(ctx context.Context, key []byte) []Reply
	// SetLease writes it to every node and returns how many stored it.
	SetLease(ctx context.Context, key, value []byte) (int, error)
}

// Options says how to take a lease. All fields are needed but those with a
// stated default.
type Options struct {
	Nodes    Nodes
	Key      [32]byte
	WriterID []byte // 16 random bytes, kept by the writer between its runs
	Holder   string
	Quorum   int
	// TTL is for how long an unchanged record is respected; 0 means 30s.
	TTL time.Duration
	// Every is how often the holder renews; 0 means TTL/3.
	Every time.Duration
	// Settle is for how long a new record must stand alone; 0 means TTL/30,
	// negative none: for nodes that nobody else can reach. All writers of a
	// volume must have the same Settle and TTL.
	Settle time.Duration
	// Steal takes the volume from a live holder, who is fenced off.
	Steal bool
	// MinEpoch is a lower bound of the new epoch, from a superblock.
	MinEpoch uint32
	// Waiting is told once that a silent holder is being waited for.
	Waiting func(holder string, atMost time.Duration)
	Rand    io.Reader
	Log     *slog.Logger
}

// Lease is the right to write, as long as it is not lost.
type Lease struct {
	o Options
	// Epoch is the fencing epoch: greater than every earlier writer's.
	Epoch uint32

	// turn is taken by who talks to the nodes; it guards counter.
	turn    chan struct{}
	counter uint64

	mu        sync.Mutex
	renewedAt time.Time // when the last write of the record that reached a quorum began
	lost      error
}

// write stores the record with the present counter.
func (l *Lease) write(ctx context.Context, released bool) error {
	began := time.Now()
	value, err := Seal(&Record{Epoch: l.Epoch, WriterID: l.o.WriterID, Holder: l.o.Holder, Counter: l.counter, Released: released}, &l.o.Key, l.o.Rand)
	if err != nil {
		return err
	}
	acks, err := l.o.Nodes.SetLease(ctx, Name(&l.o.Key), value)
	if acks < l.o.Quorum {
		return fmt.Errorf("%w: %d of the %d needed stored it (%v)", ErrNoQuorum, acks, l.o.Quorum, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewedAt = began
	return nil
}

// Renew checks that the volume is still ours and counts the record up.
// ErrLost is final; ErrNoQuorum may pass.
func (l *Lease) Renew(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.leave()
	return l.renew(ctx, false)
}

// renew is Renew, or Release, with the turn taken.
func (l *Lease) renew(ctx context.Context, release bool) error {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost != nil {
		return lost
	}
	found, err := read(ctx, &l.o)
	switch r := l.rival(found); {
	case errors.Is(err, ErrTooNew): // this release wrote no such record
		return l.lose(fmt.Errorf("%w: %w", ErrLost, err))
	case err != nil:
		return err
	case r != nil:
		return l.lose(fmt.Errorf("%w: %s (epoch %d, ours is %d)", ErrLost, r.Holder, r.Epoch, l.Epoch))
	}
	l.counter++
	err = l.write(ctx, release)
	if release && err == nil {
		_ = l.lose(fmt.Errorf("%w: released", ErrLost))
	}
	return err
}

func (l *Lease) lose(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = err
	return err
}

func (l *Lease) enter(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Lease) leave() { <-l.turn }

// fresh reports whether nobody who respects the lease can have taken it.
func (l *Lease) fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost == nil && time.Since(l.renewedAt) < l.o.TTL/2
}

// Check returns nil when the lease was renewed less than TTL/2 ago, and renews it
// otherwise. It is called before anything is overwritten on the nodes, so that
// a process that slept past its TTL finds out first.
func (l *Lease) Check(ctx context.Context) error {
	if l.fresh() {
		return nil
	}
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.leave()
	if l.fresh() { // somebody renewed it meanwhile
		return nil
	}
	return l.renew(ctx, false)
}

// Run renews until ctx ends or the lease is lost, which it reports.
func (l *Lease) Run(ctx context.Context, lost func(error)) {
	tick := time.NewTicker(l.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := l.Renew(ctx); {
		case errors.Is(err, ErrLost):
			lost(err)
			return
		case err != nil && ctx.Err() == nil:
			l.o.Log.WarnContext(ctx, "lease not renewed", "err", err)
		}
	}
}

// Release gives the volume up so that the next writer need not wait. It is the
// last use of the lease: Renew and Check return ErrLost from then on.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return err
	}
	defer l.leave()
	return l.renew(ctx, true)
}
