package erasure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/zdb"
)

// stripeRead gathers shards of one stripe until those wanted are there, by
// themselves or by way of k others. One goroutine drives it; each request runs in
// its own and sends one answer. Requests are not cancelled when the read is over:
// that would cost connections, and a node that hangs would never be found out.
type stripeRead struct {
	pool   *Pool
	layout *Layout
	stripe int
	want   []int // data shards, ascending

	shards  []shardRead
	answers chan answer // has room for all

	// Good shards by the sum they carry: encodings of other bytes do not mix.
	sums     map[shard.Sum]sumCount
	best     int // shards of the sum that has most
	pending  int // asked, not answered, not overtaken
	overdue  int // asked, not answered, overtaken by the hedge
	rounds   int // how often more shards had to be asked
	firstErr error
}

type sumCount struct{ good, wanted int }

type state uint8

const (
	unasked state = iota
	asked
	overtaken   // asked, but no longer waited for
	unreachable // the node could not be asked or failed
	absent      // the node says it has no such shard
	corrupt
	good
)

type shardRead struct {
	state   state
	hedgeAt time.Time // when asked; zero means never
	body    []byte
	sum     shard.Sum
}

type answer struct {
	index int
	sum   shard.Sum
	body  []byte
	err   error
}

// readStripe returns the bodies of the stripe's shards, of those wanted at least,
// and the sum they have.
func (p *Pool) readStripe(ctx context.Context, l *Layout, stripe int, want []int) ([][]byte, shard.Sum, error) {
	r := &stripeRead{
		pool: p, layout: l, stripe: stripe, want: want,
		shards:  make([]shardRead, l.Shards()),
		answers: make(chan answer, l.Shards()),
		sums:    make(map[shard.Sum]sumCount, 1),
	}
	for _, i := range want {
		if n := r.node(i); n != nil && n.isUp() && !n.jammed() && !l.IsMissing(r.ref(i)) {
			r.ask(i, n, true)
		}
	}
	if r.pending < len(want) {
		r.askMore()
	}
	for {
		if sum, done := r.done(); done {
			bodies, err := r.finish(sum)
			return bodies, sum, err
		}
		if r.hopeless() {
			if p.ctx.Err() != nil {
				return nil, shard.Sum{}, ErrClosed // it is Close that ended the requests
			}
			return nil, shard.Sum{}, r.err()
		}
		if err := r.wait(ctx); err != nil {
			return nil, shard.Sum{}, err
		}
	}
}

func (r *stripeRead) ref(index int) ShardRef { return ShardRef{uint32(r.stripe), uint8(index)} }

// node returns the node of the shard, nil when it is no member.
func (r *stripeRead) node(index int) *node { return r.pool.byID[r.layout.Node(r.ref(index))] }

// ask sends for a shard. A node that is down is waited for as long as a probe takes.
func (r *stripeRead) ask(index int, n *node, up bool) {
	p := r.pool
	r.shards[index].state = asked
	r.pending++
	var patience time.Duration
	if up {
		patience = p.hedgeDelay(n)
		r.shards[index].hedgeAt = p.clock.Now().Add(patience)
		if n.suspect() {
			r.shards[index].hedgeAt = p.clock.Now()
		}
	}
	// The request may outlive the read: it must not look at the layout.
	want, checkSum := r.layout.header(r.stripe, index), len(r.layout.Sums) > 0
	if checkSum {
		want.Sum = r.layout.Sums[r.stripe]
	}
	answers := r.answers
	p.wg.Go(func() { // the operation under way keeps wg above zero
		a := answer{index: index}
		a.sum, a.body, a.err = p.fetch(n, want, checkSum, patience)
		answers <- a
	})
}

// fetch gets a shard from its node and verifies it.
func (p *Pool) fetch(n *node, want shard.Header, checkSum bool, patience time.Duration) (shard.Sum, []byte, error) {
	if patience == 0 && !n.await(p.ctx) {
		return shard.Sum{}, nil, n.downErr()
	}
	name := p.codec.Name(want.Ref)
	start := p.clock.Now()
	value, err := n.get(p.ctx, name[:])
	if err != nil {
		return shard.Sum{}, nil, err
	}
	inTime := patience == 0 || p.clock.Now().Sub(start) <= patience
	got, body, err := p.codec.Open(want.Ref, value)
	if err == nil {
		sum := got.Sum
		if !checkSum {
			got.Sum = want.Sum
		}
		if got == want {
			if inTime {
				n.good()
			}
			return sum, body, nil
		}
		err = fmt.Errorf("%w: of another encoding of the object", shard.ErrCorrupt)
	}
	err = fmt.Errorf("node %d: object %s stripe %d shard %d: %w", n.ID, ObjectID(want.Object), want.Stripe, want.Index, err)
	n.sawCorrupt(err)
	return shard.Sum{}, nil, err
}

// hedgeDelay returns how long a shard of the node is waited for alone: as long as
// 95 of 100 of its reads take, but not much longer than other nodes take.
func (p *Pool) hedgeDelay(n *node) time.Duration {
	others := make([]time.Duration, 0, 16)
	for _, o := range p.nodes {
		if d := o.p95.Load(); d > 0 && o != n {
			others = append(others, time.Duration(d))
		}
	}
	own := time.Duration(n.p95.Load())
	if len(others) > 0 {
		slices.Sort(others)
		own = min(own, 4*others[len(others)/2])
	}
	return max(own, p.hedgeFloor)
}

// wait takes in the next answer, or asks more when a node is slow.
func (r *stripeRead) wait(ctx context.Context) error {
	var next time.Time
	for i := range r.shards {
		if s := &r.shards[i]; s.state == asked && !s.hedgeAt.IsZero() && (next.IsZero() || s.hedgeAt.Before(next)) {
			next = s.hedgeAt
		}
	}
	var fired <-chan time.Time
	if !next.IsZero() {
		var stop func() bool
		fired, stop = r.pool.clock.NewTimer(next.Sub(r.pool.clock.Now()))
		defer stop()
	}
	select {
	case a := <-r.answers:
		r.take(a)
	case <-fired:
		r.overtake()
	case <-ctx.Done():
		return fmt.Errorf("stripe %d: %w", r.stripe, context.Cause(ctx))
	}
	return nil
}

// overtake stops waiting for the nodes that are late.
func (r *stripeRead) overtake() {
	now := r.pool.clock.Now()
	late := false
	for i := range r.shards {
		if s := &r.shards[i]; s.state == asked && !s.hedgeAt.IsZero() && !s.hedgeAt.After(now) {
			s.state = overtaken
			r.pending--
			r.overdue++
			r.node(i).strike()
			late = true
		}
	}
	if late {
		r.askMore()
	}
}

// take notes an answer.
func (r *stripeRead) take(a answer) {
	s := &r.shards[a.index]
	if s.state == overtaken {
		r.overdue--
	} else {
		r.pending--
	}
	switch {
	case a.err == nil:
		s.state, s.body, s.sum = good, a.body, a.sum
		c := r.sums[a.sum]
		c.good++
		if slices.Contains(r.want, a.index) {
			c.wanted++
		}
		r.sums[a.sum] = c
		r.best = max(r.best, c.good)
		if len(r.sums) > 1 {
			r.askMore()
		}
		return
	case errors.Is(a.err, zdb.ErrNotFound):
		s.state = absent
	case isCorrupt(a.err):
		s.state = corrupt
	default:
		s.state = unreachable
	}
	if r.firstErr == nil {
		r.firstErr = a.err
	}
	if s.state != unreachable && r.pool.onBad != nil && !r.layout.IsMissing(r.ref(a.index)) {
		r.pool.onBad(r.layout, r.ref(a.index), a.err)
	}
	r.askMore()
}

// askMore asks for so many more shards that k can be had from the nodes waited for;
// for all that there are, when that was not enough the first time. Nodes that are
// down are asked only when there is no other way.
func (r *stripeRead) askMore() {
	if _, done := r.done(); done {
		return
	}
	short := func() int { return r.layout.Data - r.best - r.pending }
	if short() <= 0 {
		return
	}
	r.rounds++
	var rest []option
	for i := range r.shards {
		if r.shards[i].state == unasked {
			rest = append(rest, r.option(i))
		}
	}
	slices.SortFunc(rest, func(a, b option) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.p95, b.p95), cmp.Compare(a.index, b.index))
	})
	for _, o := range rest {
		all := r.rounds > 1 && o.class < classLast
		if short() <= 0 && !all {
			return
		}
		if o.node == nil {
			r.shards[o.index].state = unreachable
			continue
		}
		r.ask(o.index, o.node, o.class < classLast)
	}
}

// option is a shard that may be asked next; lower classes first.
type option struct {
	index int
	node  *node
	class int
	p95   int64
}

const (
	classFine = iota
	classSuspect
	classMissing // listed as missing; it may have been written since
	classLast    // down or jammed
)

func (r *stripeRead) option(index int) option {
	n := r.node(index)
	o := option{index: index, node: n, class: classFine}
	switch {
	case n == nil || !n.isUp() || n.jammed():
		o.class = classLast
	case r.layout.IsMissing(r.ref(index)):
		o.class = classMissing
	case n.suspect():
		o.class = classSuspect
	}
	if n != nil {
		o.p95 = n.p95.Load()
	}
	return o
}

// done returns the sum under which the wanted shards can be had.
func (r *stripeRead) done() (shard.Sum, bool) {
	for sum, c := range r.sums {
		if c.wanted == len(r.want) || c.good >= r.layout.Data {
			return sum, true
		}
	}
	return shard.Sum{}, false
}

// hopeless says whether no answer to come can make the read succeed.
func (r *stripeRead) hopeless() bool {
	left := 0
	for i := range r.shards {
		if r.shards[i].state == unasked {
			left++
		}
	}
	return r.pending+r.overdue == 0 || r.best+r.pending+r.overdue+left < r.layout.Data && !r.wantedMayCome()
}

// wantedMayCome says whether all wanted shards may yet be had directly.
func (r *stripeRead) wantedMayCome() bool {
	for _, i := range r.want {
		if s := r.shards[i].state; s == unreachable || s == absent || s == corrupt {
			return false
		}
	}
	return true
}

// err says why the read failed.
func (r *stripeRead) err() error {
	var nUnreachable, nAbsent, nCorrupt int
	for i := range r.shards {
		switch r.shards[i].state {
		case absent:
			nAbsent++
		case corrupt:
			nCorrupt++
		case good:
		default:
			nUnreachable++
		}
	}
	what := fmt.Sprintf("stripe %d: %d of %d shards good, %d needed, %d unreachable, %d absent, %d corrupt",
		r.stripe, r.best, len(r.shards), r.layout.Data, nUnreachable, nAbsent, nCorrupt)
	first := r.firstErr
	if first == nil {
		first = ErrNodeDown
	}
	switch {
	case r.best+nUnreachable >= r.layout.Data:
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, first)
	case nCorrupt == 0:
		return fmt.Errorf("%w: %w: %s", ErrCorrupt, ErrNotFound, what)
	default:
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, what, first)
	}
}

// finish returns the bodies that carry sum, and makes the wanted ones among them
// that are not there from k others.
func (r *stripeRead) finish(sum shard.Sum) ([][]byte, error) {
	bodies := make([][]byte, len(r.shards))
	for i := range r.shards {
		if r.shards[i].state == good && r.shards[i].sum == sum {
			bodies[i] = r.shards[i].body
		}
	}
	required := make([]bool, len(r.shards))
	missing := false
	for _, i := range r.want {
		if bodies[i] == nil {
			required[i], missing = true, true
		}
	}
	if !missing {
		return bodies, nil
	}
	coder, err := r.pool.coders.get(r.layout.Geometry)
	if err != nil {
		return nil, err
	}
	if err := coder.ReconstructSome(bodies, required); err != nil {
		return nil, fmt.Errorf("reconstruct stripe %d: %w", r.stripe, err)
	}
	return bodies, nil
}

// isCorrupt says whether err means that a node has a shard, but not a good one.
func isCorrupt(err error) bool {
	return errors.Is(err, shard.ErrCorrupt) || errors.Is(err, shard.ErrTooNew) || errors.Is(err, zdb.ErrCorrupt)
}
