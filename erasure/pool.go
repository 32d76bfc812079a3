package erasure

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/qsfs/qsfs/erasure/shard"
	"github.com/qsfs/qsfs/zdb"
)

const (
	defaultRequestTimeout   = 10 * time.Second
	defaultHedgeFloor       = 50 * time.Millisecond
	defaultMaxInflightBytes = 64 << 20

	// operationTimeouts bounds a read, in request timeouts: one for the shards asked
	// first, one for the rest, one for a probe of nodes that were down.
	operationTimeouts = 3
)

// Pool stores objects on its members. It is safe for concurrent use.
type Pool struct {
	codec      *shard.Codec
	clock      Clock
	rand       io.Reader
	log        *slog.Logger
	timeout    time.Duration
	hedgeFloor time.Duration
	findData   int // least k of the objects that Find looks for
	onBad      func(*Layout, ShardRef, error)
	probeKey   []byte

	nodes []*node // in the order given
	byID  map[NodeID]*node

	coders      coders
	buffers     sync.Pool           // *[]byte, of values being written
	inflight    *semaphore.Weighted // bytes of values being written
	maxInflight int64
	encoding    chan struct{} // a slot for each stripe being encoded

	ctx    context.Context // ends when the pool is closed
	cancel context.CancelFunc

	mu     sync.Mutex // guards closed, and wg.Add against wg.Wait
	closed bool
	wg     sync.WaitGroup // operations, their requests and the monitors
}

// NewPool returns a pool. It takes its members to be up, and looks into that in the
// background.
func NewPool(o PoolOptions) (*Pool, error) {
	p := &Pool{
		codec:       shard.NewCodec(&o.Keys.Name, &o.Keys.Shard),
		clock:       o.Clock,
		rand:        rand.Reader,
		log:         o.Log,
		timeout:     o.RequestTimeout,
		hedgeFloor:  o.HedgeFloor,
		findData:    max(1, o.Geometry.Data),
		onBad:       o.OnBadShard,
		byID:        make(map[NodeID]*node, len(o.Members)),
		maxInflight: o.MaxInflightBytes,
		encoding:    make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	if p.clock == nil {
		p.clock = wallClock{}
	}
	if o.Rand != nil {
		p.rand = &lockedReader{r: o.Rand}
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.timeout <= 0 {
		p.timeout = defaultRequestTimeout
	}
	if p.hedgeFloor <= 0 {
		p.hedgeFloor = defaultHedgeFloor
	}
	if p.maxInflight <= 0 {
		p.maxInflight = defaultMaxInflightBytes
	}
	p.inflight = semaphore.NewWeighted(p.maxInflight)
	probe := p.codec.Name(shard.Ref{Index: 0xff}) // no shard has this index
	p.probeKey = probe[:]
	for _, m := range o.Members {
		switch {
		case m.Node == nil:
			return nil, fmt.Errorf("%w: member %d has no node", ErrInvalid, m.ID)
		case m.ID == NoNode:
			return nil, fmt.Errorf("%w: member id %d is reserved", ErrInvalid, m.ID)
		case p.byID[m.ID] != nil:
			return nil, fmt.Errorf("%w: member id %d twice", ErrInvalid, m.ID)
		}
		n := newNode(p, m)
		p.nodes = append(p.nodes, n)
		p.byID[m.ID] = n
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for _, n := range p.nodes {
		p.wg.Go(func() { n.monitor(p.ctx) })
	}
	return p, nil
}

// Close ends what is under way, waits for it and wipes the keys. The members' nodes
// stay open.
func (p *Pool) Close() error {
	p.mu.Lock()
	wasClosed := p.closed
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	if !wasClosed {
		p.codec.Wipe()
	}
	return nil
}

// enter begins an operation: its context ends with ctx and with the pool. The
// operation calls leave at its end.
func (p *Pool) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	p.wg.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		p.wg.Done()
	}, nil
}

// buffer returns a value buffer of size bytes, of any content.
func (p *Pool) buffer(size int) []byte {
	if b, ok := p.buffers.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:size]
	}
	return make([]byte, size)
}

// recycle takes back a buffer that nobody uses any more.
func (p *Pool) recycle(b []byte) { p.buffers.Put(&b) }

// lockedReader lets goroutines share a reader.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return io.ReadFull(l.r, b) // whole, so that salts do not interleave
}

// NodeStatus is what the pool knows of a node.
type NodeStatus struct {
	ID            NodeID
	Name, Group   string
	Up            bool
	Refusing      bool // it refused a write of late: full or read-only
	LastError     string
	LastErrorAt   time.Time
	LatencyP95    time.Duration // of reads; 0 means not known
	Space         zdb.Space
	SpaceKnown    bool
	ReadBytes     int64
	WrittenBytes  int64
	CorruptShards uint64 // shards read that did not verify
}

// Status returns what is known of every member, in the order given to NewPool. It
// asks no node.
func (p *Pool) Status() []NodeStatus {
	out := make([]NodeStatus, len(p.nodes))
	for i, n := range p.nodes {
		out[i] = n.status()
	}
	return out
}

func (n *node) status() NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := NodeStatus{
		ID: n.ID, Name: n.Name, Group: n.Group,
		Up:            n.up,
		Refusing:      n.pool.clock.Now().Before(n.refusedUntil),
		LastErrorAt:   n.lastErrAt,
		LatencyP95:    n.latency.p95,
		Space:         n.space,
		SpaceKnown:    n.spaceKnown,
		ReadBytes:     n.readBytes,
		WrittenBytes:  n.writeBytes,
		CorruptShards: n.corrupt,
	}
	if n.lastErr != nil {
		s.LastError = n.lastErr.Error()
	}
	return s
}
