package erasure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/reedsolomon"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/zdb"
)

// maxStripesAtOnce bounds the stripes being written, however small they are.
const maxStripesAtOnce = 256

// put is one object on its way to the nodes.
type put struct {
	pool   *Pool
	coder  reedsolomon.Encoder
	src    io.ReaderAt
	layout *Layout

	mu sync.Mutex // guards layout.Missing; Sums has one writer an element
}

// Put stores the sizeBytes of src under id. It returns when every node that is up
// has answered for its shards or run out of time, and each stripe is on k nodes at
// least; the shards that are not are in the layout's Missing.
//
// On an error, ErrTooFewNodes or ErrNoSpace among others, the object is not stored;
// the layout returned says where shards of it may lie, for Delete or another Put.
func (p *Pool) Put(ctx context.Context, id ObjectID, src io.ReaderAt, sizeBytes int64, g Geometry) (Layout, error) {
	layout := Layout{Object: id, SizeBytes: sizeBytes, Geometry: g}
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return layout, err
	}
	defer leave()
	if err := g.checkObject(sizeBytes); err != nil {
		return layout, fmt.Errorf("put object %s: %w", id, err)
	}
	coder, err := p.coders.get(g)
	if err != nil {
		return layout, fmt.Errorf("put object %s: %w", id, err)
	}
	if layout.Nodes, err = p.place(ctx, id, g, sizeBytes); err != nil {
		return layout, fmt.Errorf("put object %s: %w", id, err)
	}
	layout.Sums = make([]shard.Sum, layout.Stripes())
	j := &put{pool: p, coder: coder, src: src, layout: &layout}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stripes sync.WaitGroup
	for stripe := range layout.Stripes() {
		hold, err := p.reserve(ctx, g.Shards(), layout.bodyBytes(sizeBytes, stripe))
		if err != nil {
			break // ctx ended, its cause says why
		}
		stripes.Go(func() {
			if err := j.stripe(ctx, stripe, hold); err != nil {
				cancel(fmt.Errorf("stripe %d: %w", stripe, err))
			}
		})
	}
	stripes.Wait()
	slices.SortFunc(layout.Missing, ShardRef.compare)
	if err := context.Cause(ctx); err != nil {
		return layout, fmt.Errorf("put object %s: %w", id, err)
	}
	return layout, nil
}

// reserve waits until n values may be held in memory besides those under way, and
// returns what gives back the room of one of them.
func (p *Pool) reserve(ctx context.Context, n, bodyBytes int) (release func(), err error) {
	most := p.maxInflight / int64(n) // a stripe above the bound goes alone
	each := min(max(int64(shard.ValueBytes(bodyBytes)), most/maxStripesAtOnce), most)
	if err := p.inflight.Acquire(ctx, each*int64(n)); err != nil {
		return nil, err
	}
	return func() { p.inflight.Release(each) }, nil
}

// stripe encodes a stripe and stores its shards. It calls release for each shard.
func (j *put) stripe(ctx context.Context, stripe int, release func()) error {
	g := j.layout.Geometry
	values, err := j.encode(ctx, stripe)
	if err != nil {
		for range g.Shards() {
			release()
		}
		return err
	}
	errs := make([]error, g.Shards())
	var wg sync.WaitGroup
	for i, value := range values {
		wg.Go(func() {
			defer release()
			errs[i] = j.pool.store(ctx, j.layout, ShardRef{uint32(stripe), uint8(i)}, value)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return j.settle(stripe, errs)
}

// encode reads a stripe and returns the values of its shards, sealed in place in
// buffers of the pool; nil for the shards whose node is down.
func (j *put) encode(ctx context.Context, stripe int) ([][]byte, error) {
	p, l := j.pool, j.layout
	select {
	case p.encoding <- struct{}{}:
		defer func() { <-p.encoding }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	body := l.bodyBytes(l.SizeBytes, stripe)
	values := make([][]byte, l.Shards())
	bodies := make([][]byte, l.Shards())
	for i := range values {
		values[i] = p.buffer(shard.ValueBytes(body))
		bodies[i] = values[i][shard.BodyOffset:][:body]
	}
	for i := range l.Data {
		n := l.dataBytes(stripe, i)
		from := int64(stripe)*l.stripeBytes() + int64(i)*int64(body)
		if n > 0 {
			if _, err := io.ReadFull(io.NewSectionReader(j.src, from, int64(n)), bodies[i][:n]); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return nil, fmt.Errorf("read source: %w", err)
			}
		}
		clear(bodies[i][n:])
	}
	sum, err := p.codec.Sum(l.Object, uint32(stripe), bodies[:l.Data])
	if err != nil {
		return nil, err
	}
	l.Sums[stripe] = sum
	if err := j.coder.Encode(bodies); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	for i := range values {
		if n := p.byID[l.Node(ShardRef{uint32(stripe), uint8(i)})]; n == nil || !n.isUp() {
			p.recycle(values[i])
			values[i] = nil
			continue
		}
		h := l.header(stripe, i)
		h.Sum = sum
		if err := p.codec.Seal(values[i], h, p.rand); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// store writes a sealed shard to its node, and takes back its buffer.
func (p *Pool) store(ctx context.Context, l *Layout, r ShardRef, value []byte) error {
	n := p.byID[l.Node(r)]
	if n == nil {
		return fmt.Errorf("node %d: %w", l.Node(r), ErrNodeDown)
	}
	if value == nil {
		return n.downErr()
	}
	name := p.codec.Name(shard.Ref{Object: l.Object, Stripe: r.Stripe, Index: r.Shard})
	if err := n.set(ctx, name[:], value); err != nil {
		return err // the node may use the buffer yet: left to the garbage collector
	}
	p.recycle(value)
	return nil
}

// settle notes the shards of a stripe that were not stored, and whether the others
// are enough.
func (j *put) settle(stripe int, errs []error) error {
	stored, full := 0, 0
	var first, firstFull error
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, err := range errs {
		if err == nil {
			stored++
			continue
		}
		if first == nil {
			first = err
		}
		if errors.Is(err, zdb.ErrNoSpace) {
			if full++; firstFull == nil {
				firstFull = err
			}
		}
		j.layout.Missing = append(j.layout.Missing, ShardRef{uint32(stripe), uint8(i)})
	}
	k := j.layout.Data
	switch {
	case stored >= k:
		return nil
	case stored+full >= k:
		return fmt.Errorf("%w: %d of %d shards stored, %d needed: %w", ErrNoSpace, stored, len(errs), k, firstFull)
	default:
		return fmt.Errorf("%w: %d of %d shards stored, %d needed: %w", ErrTooFewNodes, stored, len(errs), k, first)
	}
}
