package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/zdb"
)

const (
	findBatch   = 8  // shard names of one stripe that every member is asked at once
	findAtOnce  = 64 // requests of one Find in flight
	findStripes = 32 // stripes that are looked through for places not known yet
)

// Find makes the layout of an object from the shards on the nodes, whose headers say
// all but their place. Shards not known to be on their node are listed as missing;
// nodes that can tell with Exists are asked for each shard. The layout has no sums.
//
// ErrNotFound: so many members lack all shards of the first stripe that no object of
// at least PoolOptions.Geometry.Data data shards can have been put. ErrUnavailable:
// it may exist on nodes that did not answer.
func (p *Pool) Find(ctx context.Context, id ObjectID) (Layout, error) {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return Layout{}, err
	}
	defer leave()
	ctx, stop := p.limit(ctx)
	defer stop()
	f := &finder{pool: p, id: id, silent: make(map[NodeID]error)}
	layout, err := f.run(ctx)
	if err != nil {
		return Layout{}, fmt.Errorf("find object %s: %w", id, err)
	}
	return layout, nil
}

// finder is one search.
type finder struct {
	pool *Pool
	id   ObjectID

	mu     sync.Mutex
	found  []sighting
	silent map[NodeID]error // members that did not answer everything
	broken []sighting       // shards that do not verify: only the node and the ref are known

	seated map[NodeID]bool // members in the layout that were seen to have a shard there
}

// sighting is a shard seen on a node.
type sighting struct {
	node   NodeID
	header shard.Header
}

// question is a shard name that a member is asked for.
type question struct {
	node *node
	ref  ShardRef
}

func (f *finder) run(ctx context.Context) (Layout, error) {
	if err := f.firstStripe(ctx); err != nil {
		return Layout{}, err
	}
	if len(f.found) == 0 {
		return Layout{}, f.notFound()
	}
	l := f.geometry()
	if err := l.usable(); err != nil {
		return Layout{}, err // a genuine header of a geometry that we do not take
	}
	f.seat(&l)
	for stripe := 1; stripe < min(l.Stripes(), findStripes) && slices.Contains(l.Nodes, NoNode); stripe++ {
		if err := f.lookFurther(ctx, &l, stripe); err != nil {
			return Layout{}, err
		}
	}
	return l, f.account(ctx, &l)
}

// ask asks questions in parallel and notes the shards seen and the members silent.
func (f *finder) ask(ctx context.Context, questions []question) error {
	var group errgroup.Group
	group.SetLimit(findAtOnce)
	for _, q := range questions {
		group.Go(func() error {
			want := shard.Ref{Object: f.id, Stripe: q.ref.Stripe, Index: q.ref.Shard}
			name := f.pool.codec.Name(want)
			value, err := q.node.get(ctx, name[:])
			var h shard.Header
			if err == nil {
				if h, _, err = f.pool.codec.Open(want, value); err != nil {
					q.node.sawCorrupt(err)
				}
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case err == nil:
				f.found = append(f.found, sighting{q.node.ID, h})
			case isCorrupt(err):
				f.broken = append(f.broken, sighting{q.node.ID, shard.Header{Ref: want}})
			case !errors.Is(err, zdb.ErrNotFound):
				f.silent[q.node.ID] = err
			}
			return nil
		})
	}
	group.Wait() // its functions return no error, they note them
	return context.Cause(ctx)
}

// firstStripe asks every member for every shard that the first stripe can have: as
// many as there are members, fewer once the geometry is known.
func (f *finder) firstStripe(ctx context.Context) error {
	width := min(len(f.pool.nodes), shard.MaxShards)
	for index := 0; index < width; index += findBatch {
		var questions []question
		for i := index; i < min(index+findBatch, width); i++ {
			for _, n := range f.pool.nodes {
				questions = append(questions, question{n, ShardRef{0, uint8(i)}})
			}
		}
		if err := f.ask(ctx, questions); err != nil {
			return err
		}
		for _, s := range f.found {
			width = min(width, int(s.header.Data)+int(s.header.Parity))
		}
	}
	return nil
}

func (f *finder) notFound() error {
	for _, s := range f.broken {
		f.silent[s.node] = shard.ErrCorrupt // it has something of that name
	}
	silent := len(f.silent)
	if len(f.pool.nodes) > 0 && silent < f.pool.findData {
		return fmt.Errorf("%w: %d of %d nodes answered", ErrNotFound, len(f.pool.nodes)-silent, len(f.pool.nodes))
	}
	for _, err := range f.silent {
		return fmt.Errorf("%w: %d of %d nodes gave no good answer: %w", ErrUnavailable, silent, len(f.pool.nodes), err)
	}
	return fmt.Errorf("%w: the pool has no nodes", ErrUnavailable)
}

// geometry returns the layout, without nodes, that most sightings agree on. They
// differ only where an object was put anew in another geometry.
func (f *finder) geometry() Layout {
	shape := func(h shard.Header) shard.Header {
		h.Ref, h.Sum = shard.Ref{}, shard.Sum{}
		return h
	}
	votes := make(map[shard.Header]int)
	best := shape(f.found[0].header)
	for _, s := range f.found {
		h := shape(s.header)
		if votes[h]++; votes[h] > votes[best] {
			best = h
		}
	}
	f.found = slices.DeleteFunc(f.found, func(s sighting) bool { return shape(s.header) != best })
	l := Layout{
		Object:    f.id,
		SizeBytes: best.ObjectBytes,
		Geometry:  Geometry{Data: int(best.Data), Parity: int(best.Parity), ShardBytes: int(best.ShardBytes)},
	}
	l.Nodes = make([]NodeID, l.Shards())
	for i := range l.Nodes {
		l.Nodes[i] = NoNode
	}
	return l
}

// place returns where in Layout.Nodes the node of a shard stands.
func place(l *Layout, r ShardRef) int {
	return int((int64(r.Stripe) + int64(r.Shard)) % int64(l.Shards()))
}

// seat gives each place of the first stripe a node that has its shard: as many as
// can be, by augmenting paths, since after a Put that was cut short and repeated a
// node may hold two shards.
func (f *finder) seat(l *Layout) {
	at := make([][]NodeID, l.Shards())
	for _, s := range f.found {
		i := place(l, ShardRef{s.header.Stripe, s.header.Index})
		at[i] = append(at[i], s.node)
	}
	var take func(i int, tried map[NodeID]bool) bool
	take = func(i int, tried map[NodeID]bool) bool {
		for _, id := range at[i] {
			if tried[id] {
				continue
			}
			tried[id] = true
			holder := slices.Index(l.Nodes, id)
			if holder < 0 || take(holder, tried) {
				l.Nodes[i] = id
				return true
			}
		}
		return false
	}
	for i := range at {
		take(i, make(map[NodeID]bool))
	}
}

// lookFurther looks for the nodes of places not known yet by another stripe.
func (f *finder) lookFurther(ctx context.Context, l *Layout, stripe int) error {
	var questions []question
	for index := range l.Shards() {
		r := ShardRef{uint32(stripe), uint8(index)}
		if l.Nodes[place(l, r)] != NoNode {
			continue
		}
		for _, n := range f.pool.nodes {
			if f.silent[n.ID] == nil && !slices.Contains(l.Nodes, n.ID) {
				questions = append(questions, question{n, r})
			}
		}
	}
	f.found = nil
	if err := f.ask(ctx, questions); err != nil {
		return err
	}
	for _, s := range f.found {
		i := place(l, ShardRef{s.header.Stripe, s.header.Index})
		if l.Nodes[i] == NoNode && !slices.Contains(l.Nodes, s.node) {
			l.Nodes[i] = s.node
		}
	}
	return nil
}

// account lists the missing shards and gives the places that no good shard was seen
// of to members left over: first to one with a broken shard of that place, then to
// those that were silent, for one of them may be the one.
func (f *finder) account(ctx context.Context, l *Layout) error {
	var vacant []int
	f.seated = make(map[NodeID]bool)
	for i, id := range l.Nodes {
		if id == NoNode {
			vacant = append(vacant, i)
		} else {
			f.seated[id] = true
		}
	}
	for _, s := range f.broken {
		if i := place(l, ShardRef{s.header.Stripe, s.header.Index}); l.Nodes[i] == NoNode && !slices.Contains(l.Nodes, s.node) {
			l.Nodes[i] = s.node
			vacant = slices.DeleteFunc(vacant, func(v int) bool { return v == i })
		}
	}
	for _, silent := range []bool{true, false} {
		for _, n := range f.pool.nodes {
			if len(vacant) > 0 && (f.silent[n.ID] != nil) == silent && !slices.Contains(l.Nodes, n.ID) {
				l.Nodes[vacant[0]] = n.ID
				vacant = vacant[1:]
			}
		}
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(findAtOnce)
	for stripe := range l.Stripes() {
		for index := range l.Shards() {
			r := ShardRef{uint32(stripe), uint8(index)}
			group.Go(func() error {
				if f.present(ctx, l, r) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				l.Missing = append(l.Missing, r)
				return nil
			})
		}
	}
	group.Wait() // its functions return no error
	slices.SortFunc(l.Missing, ShardRef.compare)
	return context.Cause(ctx)
}

// present says whether the shard is taken to be on its node. A node that cannot tell
// is believed to have the shards of an object of which it has one.
func (f *finder) present(ctx context.Context, l *Layout, r ShardRef) bool {
	n := f.pool.byID[l.Node(r)]
	if n == nil || f.silent[n.ID] != nil || f.isBroken(n.ID, r) {
		return false
	}
	e, ok := n.Node.(Exister)
	if !ok {
		return f.seated[n.ID]
	}
	name := f.pool.codec.Name(shard.Ref{Object: f.id, Stripe: r.Stripe, Index: r.Shard})
	var exists bool
	err := n.call(ctx, n.reads, func(ctx context.Context) (err error) {
		exists, err = e.Exists(ctx, name[:])
		return err
	})
	if errors.Is(err, zdb.ErrNotSupported) {
		return f.seated[n.ID]
	}
	return err == nil && exists
}

func (f *finder) isBroken(id NodeID, r ShardRef) bool {
	return slices.ContainsFunc(f.broken, func(s sighting) bool {
		return s.node == id && s.header.Stripe == r.Stripe && s.header.Index == r.Shard
	})
}
