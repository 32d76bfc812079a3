package erasure

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/qsfs/qsfs/erasure/shard"
)

// fillAtOnce is how many stripes Fill works on in parallel.
const fillAtOnce = 2

// Fill writes the missing shards whose nodes are up, made anew from k good ones. It
// returns the layout without those it wrote, and how many these are; what it
// achieved counts also when there is an error. Shards of nodes that are down stay
// missing, and are no error.
func (p *Pool) Fill(ctx context.Context, l *Layout) (Layout, int, error) {
	out := l.Clone()
	if err := out.Check(); err != nil {
		return out, 0, err
	}
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return out, 0, err
	}
	defer leave()

	var mu sync.Mutex // guards filled and errs
	filled := make(map[ShardRef]bool)
	var errs []error
	var group errgroup.Group
	group.SetLimit(fillAtOnce)
	for rest := l.Missing; len(rest) > 0 && ctx.Err() == nil; {
		n := 1
		for n < len(rest) && rest[n].Stripe == rest[0].Stripe {
			n++
		}
		missing := rest[:n]
		rest = rest[n:]
		group.Go(func() error {
			done, err := p.fillStripe(ctx, l, missing)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range done {
				filled[r] = true
			}
			if err != nil && len(errs) < 3 { // the first few say enough
				errs = append(errs, err)
			}
			return nil
		})
	}
	group.Wait() // its functions return no error, they note them
	out.Missing = nil
	for _, r := range l.Missing {
		if !filled[r] {
			out.Missing = append(out.Missing, r)
		}
	}
	if err := context.Cause(ctx); err != nil {
		errs = []error{err}
	}
	if len(errs) > 0 {
		return out, len(filled), fmt.Errorf("fill object %s: %w", l.Object, errors.Join(errs...))
	}
	return out, len(filled), nil
}

// fillStripe writes missing shards of one stripe and returns those written.
func (p *Pool) fillStripe(ctx context.Context, l *Layout, missing []ShardRef) (done []ShardRef, err error) {
	required := make([]bool, l.Shards())
	var targets []ShardRef
	for _, r := range missing {
		if n := p.byID[l.Node(r)]; n != nil && n.isUp() {
			targets = append(targets, r)
			required[r.Shard] = true
		}
	}
	if len(targets) == 0 {
		return nil, nil
	}
	stripe := int(missing[0].Stripe)
	release, err := p.reserve(ctx, l.Shards(), l.bodyBytes(l.SizeBytes, stripe))
	if err != nil {
		return nil, err
	}
	defer func() {
		for range l.Shards() {
			release()
		}
	}()
	bodies, sum, err := p.readForFill(ctx, l, stripe)
	if err != nil {
		return nil, err
	}
	coder, err := p.coders.get(l.Geometry)
	if err != nil {
		return nil, err
	}
	if err := coder.ReconstructSome(bodies, required); err != nil {
		return nil, fmt.Errorf("reconstruct stripe %d: %w", stripe, err)
	}
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, r := range targets {
		body := bodies[r.Shard]
		wg.Go(func() {
			value := p.buffer(shard.ValueBytes(len(body)))
			copy(value[shard.BodyOffset:], body)
			h := l.header(stripe, int(r.Shard))
			h.Sum = sum
			if errs[i] = p.codec.Seal(value, h, p.rand); errs[i] == nil {
				errs[i] = p.store(ctx, l, r, value)
			}
		})
	}
	wg.Wait()
	for i, r := range targets {
		switch {
		case errs[i] == nil:
			done = append(done, r)
		case errors.Is(errs[i], ErrNodeDown): // gone again: its shard stays missing
		default:
			err = fmt.Errorf("stripe %d shard %d: %w", r.Stripe, r.Shard, errs[i])
		}
	}
	return done, err
}

// readForFill returns all data bodies of a stripe.
func (p *Pool) readForFill(ctx context.Context, l *Layout, stripe int) ([][]byte, shard.Sum, error) {
	ctx, stop := p.limit(ctx)
	defer stop()
	want := make([]int, l.Data)
	for i := range want {
		want[i] = i
	}
	return p.readStripe(ctx, l, stripe, want)
}
