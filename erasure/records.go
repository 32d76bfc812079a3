package erasure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/zdb"
)

// Reply is what one member did with a replicated record.
type Reply struct {
	Node  NodeID
	Value []byte // of GetAll
	Err   error  // zdb.ErrNotFound among others; ErrNodeDown: it was not asked
}

// SetAll stores a small record on every member, as it is: the caller has encrypted
// it. It waits for every member that is up, RequestTimeout at most, and returns one
// reply a member, in the order given to NewPool. The error is ErrTooFewNodes when no
// member stored it; whether some are enough is for the caller to say.
func (p *Pool) SetAll(ctx context.Context, key, value []byte) ([]Reply, error) {
	key, value = bytes.Clone(key), bytes.Clone(value) // a node that timed out may use them yet
	replies, err := p.all(ctx, func(ctx context.Context, n *node, _ *Reply) error {
		return n.set(ctx, key, value)
	})
	if err != nil {
		return nil, err
	}
	var first error
	for _, r := range replies {
		if r.Err == nil {
			return replies, nil
		}
		if first == nil {
			first = r.Err
		}
	}
	if err := ctx.Err(); err != nil {
		return replies, fmt.Errorf("set on all nodes: %w", err)
	}
	if first == nil {
		first = ErrNodeDown // there are no members
	}
	return replies, fmt.Errorf("set on all nodes: %w: %w", ErrTooFewNodes, first)
}

// GetAll asks every member for a small record and returns one reply a member, in the
// order given to NewPool. The values are as the nodes gave them: the caller verifies
// them. A closed pool gives no replies.
func (p *Pool) GetAll(ctx context.Context, key []byte) []Reply {
	replies, err := p.all(ctx, func(ctx context.Context, n *node, r *Reply) (err error) {
		r.Value, err = n.get(ctx, key)
		return err
	})
	if err != nil {
		return nil
	}
	return replies
}

// all does something with every member at once.
func (p *Pool) all(ctx context.Context, do func(context.Context, *node, *Reply) error) ([]Reply, error) {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	replies := make([]Reply, len(p.nodes))
	var wg sync.WaitGroup
	for i, n := range p.nodes {
		replies[i].Node = n.ID
		wg.Go(func() { replies[i].Err = do(ctx, n, &replies[i]) })
	}
	wg.Wait()
	return replies, nil
}

// deletesAtOnce is how many shards Delete removes in parallel.
const deletesAtOnce = 64

// Delete removes the object's shards, those listed as missing too, for they may have
// been stored all the same. Absent shards are fine. It returns an error that is
// ErrUnavailable as long as a shard may be left on a node; calling it again is fine.
func (p *Pool) Delete(ctx context.Context, l *Layout) error {
	if err := l.usable(); err != nil {
		return err
	}
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var mu sync.Mutex // guards left and first
	var left int
	var first error
	var group errgroup.Group
	group.SetLimit(deletesAtOnce)
	for stripe := range l.Stripes() {
		if ctx.Err() != nil {
			break
		}
		for index := range l.Shards() {
			r := ShardRef{uint32(stripe), uint8(index)}
			group.Go(func() error {
				err := p.deleteShard(ctx, l.Object, r, p.byID[l.Node(r)])
				if err == nil || errors.Is(err, zdb.ErrNotFound) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				if left++; first == nil {
					first = err
				}
				return nil
			})
		}
	}
	group.Wait() // its functions return no error, they count them
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("delete object %s: %w", l.Object, err)
	}
	if left > 0 {
		return fmt.Errorf("delete object %s: %w: %d shards may be left: %w", l.Object, ErrUnavailable, left, first)
	}
	return nil
}

func (p *Pool) deleteShard(ctx context.Context, object ObjectID, r ShardRef, n *node) error {
	if n == nil {
		return fmt.Errorf("%w: not a member", ErrNodeDown)
	}
	name := p.codec.Name(shard.Ref{Object: object, Stripe: r.Stripe, Index: r.Shard})
	return n.del(ctx, name[:])
}
