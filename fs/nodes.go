package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/lease"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/zdb"
)

const (
	redialEvery = 3 * time.Second // at most one dial a node in this time
	dialTimeout = 5 * time.Second
)

// redialer is a node whose connection is made when first needed, so that a
// volume opens while some of its nodes are down.
type redialer struct {
	cfg   NodeConfig
	dial  Dialer
	log   *slog.Logger
	disks *disks

	mu      sync.Mutex
	node    erasure.Node
	lastTry time.Time
	lastErr error
	closed  bool
}

func (r *redialer) get(ctx context.Context) (erasure.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.node != nil {
		return r.node, nil
	}
	if r.closed {
		return nil, fmt.Errorf("node %s: %w: closed", r.cfg.URL, zdb.ErrUnavailable)
	}
	if r.lastErr != nil && time.Since(r.lastTry) < redialEvery {
		return nil, r.lastErr
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	node, err := r.dial(dialCtx, r.cfg)
	if ctx.Err() != nil && err != nil {
		return nil, err // the caller gave up: says nothing about the node
	}
	r.lastTry = time.Now()
	if err != nil {
		r.lastErr = fmt.Errorf("node %s: %w", r.cfg.URL, errors.Join(zdb.ErrUnavailable, err))
		return nil, r.lastErr
	}
	r.node, r.lastErr = node, nil
	return node, nil
}

func (r *redialer) Get(ctx context.Context, key []byte) ([]byte, error) {
	n, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	return n.Get(ctx, key)
}

func (r *redialer) Set(ctx context.Context, key, value []byte) error {
	n, err := r.get(ctx)
	if err != nil {
		return err
	}
	return n.Set(ctx, key, value)
}

func (r *redialer) Del(ctx context.Context, key []byte) error {
	n, err := r.get(ctx)
	if err != nil {
		return err
	}
	return n.Del(ctx, key)
}

func (r *redialer) Ping(ctx context.Context) error {
	n, err := r.get(ctx)
	if err != nil {
		return err
	}
	if p, ok := n.(erasure.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

func (r *redialer) Space(ctx context.Context) (zdb.Space, error) {
	n, err := r.get(ctx)
	if err != nil {
		return zdb.Space{}, err
	}
	s, ok := n.(erasure.Spacer)
	if !ok {
		return zdb.Space{}, errors.ErrUnsupported
	}
	sp, err := s.Space(ctx)
	if err == nil && sp.Device == "" {
		sp.Device = r.disks.guess(r.cfg.URL, sp.DiskFreeBytes)
	}
	return sp, err
}

func (r *redialer) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	c, ok := r.node.(io.Closer)
	r.node = nil
	if !ok {
		return nil
	}
	return c.Close()
}

// cluster is the nodes of a volume: the pool of shards, and the records that
// every node has a copy of.
type cluster struct {
	*erasure.Pool
	nodes  []NodeConfig
	conns  []*redialer
	quorum int
	keys   *keys.Volume
	log    *slog.Logger
}

// openCluster makes the pool. Every node is dialled once, at the same time;
// those that fail are tried again when needed.
func openCluster(ctx context.Context, nodes []NodeConfig, g erasure.Geometry, o Options, bad func(*erasure.Layout, erasure.ShardRef, error)) (*cluster, error) {
	c := &cluster{nodes: nodes, quorum: max(len(nodes)-g.Parity, 1), keys: o.Keys, log: o.Log}
	members := make([]erasure.Member, len(nodes))
	var wg sync.WaitGroup
	shared := &disks{free: map[string]int64{}, of: map[string]string{}}
	for i, n := range nodes {
		r := &redialer{cfg: n, dial: o.Dial, log: o.Log, disks: shared}
		c.conns = append(c.conns, r)
		members[i] = erasure.Member{ID: n.ID, Name: n.URL, Group: n.Group, Node: r}
		wg.Go(func() {
			if _, err := r.get(ctx); err != nil {
				o.Log.DebugContext(ctx, "node not reachable", "node", n.URL, "err", err) // the pool warns
			}
		})
	}
	wg.Wait()
	pool, err := erasure.NewPool(erasure.PoolOptions{
		Members: members, Keys: erasure.Keys{Name: o.Keys.ShardName, Shard: o.Keys.Shard}, Geometry: g, Rand: entropy, Log: o.Log, OnBadShard: bad,
	})
	if err != nil {
		c.closeConns()
		return nil, err
	}
	c.Pool = pool
	return c, nil
}

// downError is why a node is not connected. Its text is short; what it wraps
// tells all.
type downError struct {
	url string
	err error
}

func (e *downError) Error() string { return fmt.Sprintf("%s: %v", e.url, cause(e.err)) }
func (e *downError) Unwrap() error { return e.err }

// dialErrors says for each node that is not connected why.
func (c *cluster) dialErrors() []error {
	var errs []error
	for _, r := range c.conns {
		r.mu.Lock()
		if r.node == nil && r.lastErr != nil {
			errs = append(errs, &downError{r.cfg.URL, r.lastErr})
		}
		r.mu.Unlock()
	}
	return errs
}

// tooFew is ErrTooFewNodes with what is known of the missing nodes, in one line.
// Nodes that another process has locked, or that are no nodes, are worse than
// down and said instead.
func (c *cluster) tooFew(needed int) error {
	down := c.dialErrors()
	text := make([]string, len(down))
	for i, d := range down {
		switch {
		case errors.Is(d, zdb.ErrLocked):
			return withHint(fmt.Errorf("%w: %w", ErrLocked, d), "another process has this node's folder open: unmount the volume there first")
		case errors.Is(d, zdb.ErrNotZDB):
			return withHint(fmt.Errorf("%w: %w", ErrNotNode, d), "check host and port: something else answers there")
		case errors.Is(d, zdb.ErrAccessDenied):
			return withHint(fmt.Errorf("%w: %w", ErrNotPermitted, d), "give the namespace's password with ?password-file=")
		}
		text[i] = d.Error()
	}
	reachable := len(c.nodes) - len(down)
	if reachable >= needed { // connected, and then no answer
		reachable = min(reachable, c.upCount())
	}
	err := fmt.Errorf("%w: %d of %d reachable, %d needed", ErrTooFewNodes, reachable, len(c.nodes), needed)
	if len(text) > 0 {
		err = fmt.Errorf("%w (%s)", err, strings.Join(text, "; "))
	}
	return withHint(err, "start the missing nodes, or correct their addresses, and try again")
}

func (c *cluster) Close() error {
	var err error
	if c.Pool != nil {
		err = c.Pool.Close()
	}
	return errors.Join(err, c.closeConns())
}

func (c *cluster) closeConns() error {
	var errs []error
	for _, r := range c.conns {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// exclusive reports whether holding the nodes' own locks makes this process the
// only writer, so that the lease needs no heartbeat.
func (c *cluster) exclusive() bool {
	for _, n := range c.nodes {
		if !n.embedded() {
			return false
		}
	}
	return true
}

// GetLease and SetLease make the cluster a lease.Nodes.
func (c *cluster) GetLease(ctx context.Context, key []byte) []lease.Reply {
	var out []lease.Reply
	for _, r := range c.GetAll(ctx, key) {
		if errors.Is(r.Err, zdb.ErrNotFound) {
			r.Value, r.Err = nil, nil
		}
		out = append(out, lease.Reply{Value: r.Value, Err: r.Err})
	}
	return out
}

// SetLease stores the lease record on every node.
func (c *cluster) SetLease(ctx context.Context, key, value []byte) (int, error) {
	return c.setAll(ctx, key, value)
}

func (c *cluster) setAll(ctx context.Context, key, value []byte) (acks int, err error) {
	replies, err := c.SetAll(ctx, key, value)
	for _, r := range replies {
		if r.Err == nil {
			acks++
		} else if err == nil {
			err = r.Err
		}
	}
	return acks, err
}

// found is what asking the nodes for superblocks gave.
type found struct {
	newest   *superblock.Superblock
	value    []byte // of the newest, as stored
	answered int    // nodes that answered for every slot
	foreign  int    // values that do not open with this key
	tooNew   error
}

// findSuperblock asks every node for every slot and returns the newest that
// opens. It does not judge whether enough nodes answered.
func (c *cluster) findSuperblock(ctx context.Context) found {
	var f found
	failed := map[erasure.NodeID]bool{}
	type slotReplies struct {
		slot    int
		replies []erasure.Reply
	}
	results := make(chan slotReplies, superblock.Slots)
	for slot := range superblock.Slots {
		go func() {
			results <- slotReplies{slot, c.GetAll(ctx, superblock.Name(&c.keys.Superblock, slot))}
		}()
	}
	for range superblock.Slots {
		sr := <-results
		for _, r := range sr.replies {
			switch {
			case errors.Is(r.Err, zdb.ErrNotFound):
			case r.Err != nil:
				failed[r.Node] = true
			default:
				s, err := superblock.Open(r.Value, sr.slot, c.keys)
				switch {
				case errors.Is(err, superblock.ErrTooNew):
					f.tooNew = err
				case err != nil:
					f.foreign++
					c.log.WarnContext(ctx, "a node's superblock does not open", "node", r.Node, "slot", sr.slot, "err", err)
				case s.Newer(f.newest):
					f.newest, f.value = s, r.Value
				}
			}
		}
	}
	f.answered = len(c.nodes) - len(failed)
	return f
}

// upCount is how many nodes answer at present.
func (c *cluster) upCount() int {
	n := 0
	for _, s := range c.Status() {
		if s.Up {
			n++
		}
	}
	return n
}

// up reports whether a node answers at present.
func (c *cluster) up(id erasure.NodeID) bool {
	for _, s := range c.Status() {
		if s.ID == id {
			return s.Up
		}
	}
	return false
}

// setOne stores a value on one node.
func (c *cluster) setOne(ctx context.Context, id erasure.NodeID, key, value []byte) error {
	for _, r := range c.conns {
		if r.cfg.ID == id {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return r.Set(ctx, key, value)
		}
	}
	return fmt.Errorf("no node %d", id)
}

// canFill reports whether a node that lacks shards of the object is up.
func (c *cluster) canFill(l *erasure.Layout) bool {
	if len(l.Missing) == 0 {
		return false
	}
	for _, s := range c.Status() {
		if !s.Up {
			continue
		}
		for _, ref := range l.Missing {
			if n := l.Node(ref); n == s.ID || n == erasure.NoNode {
				return true
			}
		}
	}
	return false
}

// deleteSuperblock removes what a failed init has written, as far as the nodes
// answer soon.
func (c *cluster) deleteSuperblock(ctx context.Context, slot int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, r := range c.conns {
		wg.Go(func() {
			err := r.Del(ctx, superblock.Name(&c.keys.Superblock, slot))
			if err != nil && !errors.Is(err, zdb.ErrNotFound) {
				c.log.WarnContext(ctx, "superblock of a failed init stays on a node", "node", r.cfg.URL, "err", err)
			}
		})
	}
	wg.Wait()
}
