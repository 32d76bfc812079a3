package erasure

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// stripesAtOnce is how many stripes one ReadAt reads in parallel.
const stripesAtOnce = 4

// ReadAt fills buf with the object's bytes from off on. What it returns without an
// error is what was put. It takes RequestTimeout times three at most.
//
// ErrUnavailable: too few shards can be had now. ErrCorrupt: too few good ones are left.
func (p *Pool) ReadAt(ctx context.Context, l *Layout, buf []byte, off int64) error {
	ctx, leave, err := p.beginRead(ctx, l)
	if err != nil {
		return err
	}
	defer leave()
	end := off + int64(len(buf))
	if off < 0 || end < off || end > l.SizeBytes {
		return fmt.Errorf("%w: read of %d bytes at %d of object %s of %d bytes", ErrInvalid, len(buf), off, l.Object, l.SizeBytes)
	}
	if len(buf) == 0 {
		return nil
	}
	first, last := int(off/l.stripeBytes()), int((end-1)/l.stripeBytes())
	if first == last {
		if err := p.readPart(ctx, l, first, buf, off); err != nil {
			return fmt.Errorf("read object %s: %w", l.Object, err)
		}
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(stripesAtOnce)
	for stripe := first; stripe <= last; stripe++ {
		from := max(off, int64(stripe)*l.stripeBytes())
		to := min(end, int64(stripe+1)*l.stripeBytes())
		group.Go(func() error { return p.readPart(ctx, l, stripe, buf[from-off:to-off], from) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read object %s: %w", l.Object, err)
	}
	return nil
}

// beginRead begins an operation that ends with ErrUnavailable when its time is over.
func (p *Pool) beginRead(ctx context.Context, l *Layout) (context.Context, func(), error) {
	if err := l.usable(); err != nil {
		return nil, nil, err
	}
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := p.limit(ctx)
	return ctx, func() { stop(); leave() }, nil
}

// limit bounds an operation's time.
func (p *Pool) limit(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	timeout := operationTimeouts * p.timeout
	timed, stop := p.clock.WithTimeout(parent, timeout)
	unhook := context.AfterFunc(timed, func() {
		if parent.Err() != nil {
			cancel(context.Cause(parent))
			return
		}
		cancel(fmt.Errorf("%w: no answer within %v", ErrUnavailable, timeout))
	})
	return ctx, func() { unhook(); stop(); cancel(nil) }
}

// usable checks as much of the layout as a read relies on.
func (l *Layout) usable() error {
	if err := l.checkObject(l.SizeBytes); err != nil {
		return err
	}
	if len(l.Nodes) != l.Shards() || len(l.Sums) != 0 && len(l.Sums) != l.Stripes() {
		return fmt.Errorf("%w: layout of object %s", ErrInvalid, l.Object)
	}
	return nil
}

// readPart fills buf from off on; the range lies in one stripe.
func (p *Pool) readPart(ctx context.Context, l *Layout, stripe int, buf []byte, off int64) error {
	body := int64(l.bodyBytes(l.SizeBytes, stripe))
	start := int64(stripe) * l.stripeBytes()
	from, to := off-start, off-start+int64(len(buf))
	var want []int
	for i := from / body; i <= (to-1)/body; i++ {
		want = append(want, int(i))
	}
	bodies, _, err := p.readStripe(ctx, l, stripe, want)
	if err != nil {
		return err
	}
	for _, i := range want {
		base := int64(i) * body // of the shard's bytes in the stripe
		lo, hi := max(from, base), min(to, base+body)
		copy(buf[lo-from:hi-from], bodies[i][lo-base:hi-base])
	}
	return nil
}

// ReadShard returns the object's bytes in a data shard, verified or reconstructed.
// There are as many as Locate says.
func (p *Pool) ReadShard(ctx context.Context, l *Layout, stripe, index int) ([]byte, error) {
	ctx, leave, err := p.beginRead(ctx, l)
	if err != nil {
		return nil, err
	}
	defer leave()
	if stripe < 0 || stripe >= l.Stripes() || index < 0 || index >= l.Data {
		return nil, fmt.Errorf("%w: data shard %d of stripe %d of object %s", ErrInvalid, index, stripe, l.Object)
	}
	bodies, _, err := p.readStripe(ctx, l, stripe, []int{index})
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", l.Object, err)
	}
	n := l.dataBytes(stripe, index)
	return bodies[index][:n:n], nil
}
