package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/lease"
	"github.com/qsfs/qsfs/fs/segment"
	"github.com/qsfs/qsfs/fs/wal"
)

const (
	uploadWorkers  = 2
	uploadRetryMin = 500 * time.Millisecond
	uploadRetryMax = 30 * time.Second
)

// SyncProgress is how far a Sync is.
type SyncProgress struct {
	DoneBytes  int64 `json:"done_bytes"`
	TotalBytes int64 `json:"total_bytes"`
}

// job is a closed segment on its way to the nodes.
type job struct {
	wal.Closed
	running bool
	notTill time.Time // of the next try after a failure
	fails   int
	err     error
}

// uploads is the queue of closed segments. Segments go up in the order of
// their ordinals, a few at a time, once they are due: old enough, wanted by a
// sync, or when much is staged.
type uploads struct {
	mu       sync.Mutex
	cond     *sync.Cond
	jobs     []*job // by ordinal; the finished ones are gone
	bytes    int64
	urgentTo uint64 // segments up to this ordinal are wanted now
	delay    time.Duration
	softMax  int64 // staged bytes from which on segments go up at once
	stopped  bool
}

func newUploads(delay time.Duration, softMax int64) *uploads {
	u := &uploads{delay: delay, softMax: softMax}
	u.cond = sync.NewCond(&u.mu)
	return u
}

// add queues a segment that is complete on the local disk.
func (u *uploads) add(c wal.Closed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = append(u.jobs, &job{Closed: c})
	u.bytes += c.SizeBytes
	u.cond.Broadcast()
}

func (u *uploads) wake() { u.cond.Broadcast() }

func (u *uploads) wakeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	u.cond.Broadcast()
}

func (u *uploads) stagedBytes() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes
}

// oldest is when the oldest staged segment was begun; zero when none is staged.
func (u *uploads) oldest() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.jobs) == 0 {
		return time.Time{}
	}
	return u.jobs[0].CreatedAt
}

// firstOrdinal is that of the oldest staged segment, or none when none is staged.
func (u *uploads) firstOrdinal(none uint64) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.jobs) == 0 {
		return none
	}
	return min(u.jobs[0].Ordinal, none)
}

// next waits for a segment that is due; nil when stopped.
func (u *uploads) next() *job {
	u.mu.Lock()
	defer u.mu.Unlock()
	for !u.stopped {
		now := time.Now()
		for _, j := range u.jobs {
			if j.running || now.Before(j.notTill) {
				continue
			}
			if j.Ordinal > u.urgentTo && u.bytes < u.softMax && now.Sub(j.CreatedAt) < u.delay/2 {
				continue
			}
			j.running = true
			return j
		}
		u.cond.Wait()
	}
	return nil
}

// done takes a job out of the queue.
func (u *uploads) done(j *job) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = slices.DeleteFunc(u.jobs, func(o *job) bool { return o == j })
	u.bytes -= j.SizeBytes
	u.cond.Broadcast()
}

// failed puts a job back, to be tried again later.
func (u *uploads) failed(j *job, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	j.running, j.err = false, err
	j.notTill = time.Now().Add(min(uploadRetryMin<<min(j.fails, 10), uploadRetryMax))
	j.fails++
	u.cond.Broadcast()
}

// blocked returns the error that keeps the oldest segment here, if any.
func (u *uploads) blocked() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.blockedLocked()
}

func (u *uploads) blockedLocked() error {
	if len(u.jobs) == 0 {
		return nil
	}
	return u.jobs[0].err
}

// admit waits while too much is staged. It gives up after stall with what
// keeps the uploads from going on.
func (u *uploads) admit(ctx context.Context, maxBytes int64, stall time.Duration) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bytes < maxBytes {
		return nil
	}
	end := time.Now().Add(stall)
	defer u.wakeOn(ctx)()
	timer := time.AfterFunc(stall, u.cond.Broadcast)
	defer timer.Stop()
	for u.bytes >= maxBytes && !u.stopped {
		err := u.blockedLocked()
		if errors.Is(err, erasure.ErrNoSpace) {
			return fmt.Errorf("%w on the nodes: %w", ErrNoSpace, err)
		}
		if hopeless(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("staged data does not reach the nodes: %w", errors.Join(err, context.DeadlineExceeded))
		}
		u.cond.Wait()
	}
	return nil
}

// wait waits until everything queued now is on the nodes; when urgent, it goes
// up at once.
func (u *uploads) wait(ctx context.Context, urgent bool, progress func(SyncProgress)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.jobs) == 0 {
		return nil
	}
	upTo := u.jobs[len(u.jobs)-1].Ordinal
	if urgent {
		u.urgentTo = max(u.urgentTo, upTo)
		for _, j := range u.jobs {
			j.notTill, j.err = time.Time{}, nil
		}
		u.cond.Broadcast()
	}
	defer u.wakeOn(ctx)()
	total := u.bytes
	for {
		var left int64
		for _, j := range u.jobs {
			if j.Ordinal <= upTo {
				left += j.SizeBytes
			}
		}
		if progress != nil {
			u.mu.Unlock()
			progress(SyncProgress{DoneBytes: max(total-left, 0), TotalBytes: total})
			u.mu.Lock()
		}
		if left == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), u.blockedLocked())
		}
		if err := u.blockedLocked(); hopeless(err) {
			return err
		}
		if u.stopped {
			return errors.New("volume is closing")
		}
		u.cond.Wait()
	}
}

// hopeless reports whether waiting for an upload that failed so is of no use.
func hopeless(err error) bool {
	return errors.Is(err, erasure.ErrNoSpace) || errors.Is(err, ErrReadOnly) || errors.Is(err, lease.ErrLost)
}

// wakeOn wakes all waiters when ctx ends; the returned function ends that.
func (u *uploads) wakeOn(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.cond.Broadcast()
	})
	return func() { stop() }
}

// segmentClosed is told by the log that a segment is complete on the disk.
func (v *Volume) segmentClosed(c wal.Closed) {
	v.segments.Set(c.Ordinal, segment.Record{Epoch: c.Epoch, ID: c.ID, SizeBytes: c.SizeBytes})
	v.appended.Add(c.SizeBytes)
	v.uploads.add(c)
	if v.appended.Load()-v.checkpointed.Load() > checkpointBytes {
		v.askCheckpoint()
	}
}

func (v *Volume) uploadLoop(ctx context.Context) {
	for {
		j := v.uploads.next()
		if j == nil || ctx.Err() != nil {
			return
		}
		if err := v.upload(ctx, j); err != nil {
			if ctx.Err() == nil {
				v.o.Log.WarnContext(ctx, "segment not on the nodes yet", "segment", j.Ordinal, "err", err)
			}
			v.uploads.failed(j, err)
			continue
		}
		v.uploads.done(j)
	}
}

// upload stores one segment on the nodes and records where.
func (v *Volume) upload(ctx context.Context, j *job) error {
	if err := v.writable(); err != nil {
		return err
	}
	if err := v.lease.Check(ctx); err != nil {
		return err
	}
	f, err := v.o.Disk.Open(j.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	layout, err := v.cluster.Put(ctx, segment.ObjectID(j.Epoch, j.Ordinal), f, j.SizeBytes, v.geometry)
	if fd := f.Fd(); fd != vfs.InvalidFd {
		// What users read of it they find as plaintext in the cache of the mount. A hint.
		_ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED)
	}
	if err != nil {
		return err
	}
	return v.recordSegment(j.Ordinal, segment.Record{Epoch: j.Epoch, ID: j.ID, SizeBytes: j.SizeBytes, Layout: &layout}, true)
}

// recordSegment remembers where a segment is, in memory and in the log.
func (v *Volume) recordSegment(ordinal uint64, rec segment.Record, isNew bool) error {
	if err := v.store.PutSegment(ordinal, rec.AppendTo(nil), true); err != nil {
		return fmt.Errorf("segment %d: %w", ordinal, err)
	}
	v.segments.Set(ordinal, rec)
	v.debts.note(ordinal, rec.Layout, isNew)
	return nil
}
