package simnode

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Node wraps a Backend and applies faults.
type Node struct {
	backend Backend

	mu     sync.Mutex
	rng    *rand.Rand
	faults []Fault
	first  map[string][]byte // the first value of every key, for Stale
	recent [2]string         // two keys written last, for Swap
	counts Counts
}

// New returns a node in memory.
func New(seed uint64) *Node { return Wrap(&Memory{}, seed) }

// Wrap returns a node that passes to backend what no fault meets.
func Wrap(backend Backend, seed uint64) *Node {
	return &Node{backend: backend, rng: rand.New(rand.NewPCG(seed, 0)), first: make(map[string][]byte)}
}

// Backend returns what the node wraps.
func (n *Node) Backend() Backend { return n.backend }

// Inject adds faults. When several meet a request, each acts, in the order given.
func (n *Node) Inject(faults ...Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, faults...)
}

// Heal removes all faults.
func (n *Node) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = nil
}

// Counts returns what the node has seen.
func (n *Node) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}

// ResetCounts sets all counts but InFlight to zero.
func (n *Node) ResetCounts() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts = Counts{InFlight: n.counts.InFlight}
}

// begin counts a request and returns the faults that it meets.
func (n *Node) begin(op Op, key []byte, sizeBytes int) (met []Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch op {
	case Get:
		n.counts.Gets++
	case Set:
		n.counts.Sets++
		n.counts.SetBytes += int64(sizeBytes)
	case Del:
		n.counts.Dels++
	case Exists:
		n.counts.Exists++
	case Space:
		n.counts.Spaces++
	case Ping:
		n.counts.Pings++
	}
	n.counts.InFlight++
	kept := n.faults[:0:0]
	for _, f := range n.faults {
		meets := (f.Op == 0 || f.Op&op != 0) &&
			(f.Key == nil || key == nil || f.Key(key)) &&
			(f.Probability == 0 || n.rng.Float64() < f.Probability)
		if meets {
			met = append(met, f)
			if f.Times > 0 {
				if f.Times--; f.Times == 0 {
					continue
				}
			}
		}
		kept = append(kept, f)
	}
	n.faults = kept
	if len(met) > 0 {
		n.counts.Faults++
	}
	return met
}

func (n *Node) end() {
	n.mu.Lock()
	n.counts.InFlight--
	n.mu.Unlock()
}

// stop applies the faults that stop or delay any request.
func stop(ctx context.Context, met []Fault) error {
	for _, f := range met {
		switch f.Kind {
		case Down:
			return fmt.Errorf("simulated: %w", zdb.ErrUnavailable)
		case Hang:
			<-ctx.Done()
			return ctx.Err()
		case Delay:
			timer := time.NewTimer(f.Delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		case Error:
			return f.Err
		}
	}
	return nil
}

func has(met []Fault, kind Kind) bool {
	for _, f := range met {
		if f.Kind == kind {
			return true
		}
	}
	return false
}

// Get returns the value under key, or what the faults make of it.
func (n *Node) Get(ctx context.Context, key []byte) ([]byte, error) {
	met := n.begin(Get, key, 0)
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return nil, err
	}
	value, err := n.backend.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, f := range met {
		if f.Kind == Vanish {
			return nil, zdb.ErrNotFound
		}
		value = n.lie(ctx, f.Kind, key, value)
	}
	n.mu.Lock()
	n.counts.GetBytes += int64(len(value))
	n.mu.Unlock()
	return value, nil
}

// lie returns the wrong value that the kind gives for value.
func (n *Node) lie(ctx context.Context, kind Kind, key, value []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch kind {
	case FlipBit:
		if len(value) > 0 {
			bit := n.rng.IntN(len(value) * 8)
			value[bit/8] ^= 1 << (bit % 8)
		}
	case Truncate:
		if len(value) > 0 {
			value = value[:n.rng.IntN(len(value))]
		}
	case Extend:
		value = append(value, n.noise(1+n.rng.IntN(64))...)
	case Forge:
		value = n.noise(len(value))
	case Stale:
		if old, ok := n.first[string(key)]; ok {
			value = bytes.Clone(old)
		}
	case Swap:
		for _, other := range n.recent {
			if other == "" || other == string(key) {
				continue
			}
			if v, err := n.backend.Get(ctx, []byte(other)); err == nil {
				return v
			}
		}
		value = n.noise(len(value)) // the node holds no other value to give
	}
	return value
}

// noise returns random bytes. The caller holds mu.
func (n *Node) noise(sizeBytes int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(n.rng.Uint32())
	}
	b := make([]byte, sizeBytes)
	if _, err := io.ReadFull(rand.NewChaCha8(seed), b); err != nil {
		panic(err) // ChaCha8 does not fail
	}
	return b
}

// Set stores value under key, unless the faults prevent it.
func (n *Node) Set(ctx context.Context, key, value []byte) error {
	met := n.begin(Set, key, len(value))
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return err
	}
	switch {
	case has(met, Full):
		return zdb.ErrNoSpace
	case has(met, LostWrite):
		return nil
	}
	if err := n.backend.Set(ctx, key, value); err != nil {
		return err
	}
	n.mu.Lock()
	if _, ok := n.first[string(key)]; !ok {
		n.first[string(key)] = bytes.Clone(value)
	}
	if n.recent[1] != string(key) {
		n.recent[0], n.recent[1] = n.recent[1], string(key)
	}
	n.mu.Unlock()
	if has(met, LostAck) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Del removes key, unless the faults prevent it.
func (n *Node) Del(ctx context.Context, key []byte) error {
	met := n.begin(Del, key, 0)
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return err
	}
	if err := n.backend.Del(ctx, key); err != nil {
		return err
	}
	if has(met, LostAck) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Exists says whether key is there. zdb.ErrNotSupported when the backend cannot tell.
func (n *Node) Exists(ctx context.Context, key []byte) (bool, error) {
	met := n.begin(Exists, key, 0)
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return false, err
	}
	if has(met, Vanish) {
		return false, nil
	}
	b, ok := n.backend.(interface {
		Exists(ctx context.Context, key []byte) (bool, error)
	})
	if !ok {
		return false, zdb.ErrNotSupported
	}
	return b.Exists(ctx, key)
}

// Space reports the backend's space; zdb.ErrNotSupported when it has none.
func (n *Node) Space(ctx context.Context) (zdb.Space, error) {
	met := n.begin(Space, nil, 0)
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return zdb.Space{}, err
	}
	b, ok := n.backend.(interface {
		Space(ctx context.Context) (zdb.Space, error)
	})
	if !ok {
		return zdb.Space{}, zdb.ErrNotSupported
	}
	return b.Space(ctx)
}

// Ping passes the question on, when the backend can be asked.
func (n *Node) Ping(ctx context.Context) error {
	met := n.begin(Ping, nil, 0)
	defer n.end()
	if err := stop(ctx, met); err != nil {
		return err
	}
	if b, ok := n.backend.(interface {
		Ping(ctx context.Context) error
	}); ok {
		return b.Ping(ctx)
	}
	return ctx.Err()
}
