package erasure

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
)

// standing is how fit a member is for a new object; lower is fitter.
type standing int

const (
	fit      standing = iota
	refusing          // up, but full or taking no writes
	down
)

type candidate struct {
	id       NodeID
	group    string
	standing standing
}

// score is the rendezvous score of a node for an object (Thaler and Ravishankar,
// "Using name-based mappings to increase hit rates", 1998).
func score(object ObjectID, id NodeID) uint64 {
	var in [18]byte
	copy(in[:], object[:])
	binary.LittleEndian.PutUint16(in[16:], uint16(id))
	sum := sha256.Sum256(in[:])
	return binary.LittleEndian.Uint64(sum[:])
}

// choose returns the n members that an object goes to. The fitter come first; among
// those, members of the group used least so far; among those, the highest score.
// A member keeps the place that it would have were all members fit, so that
// putting an object again finds its shards where they were.
func choose(object ObjectID, n int, members []candidate) []NodeID {
	all := slices.Clone(members)
	for i := range all {
		all[i].standing = fit
	}
	ideal, actual := pick(object, n, all), pick(object, n, members)
	chosen := slices.Clone(ideal)
	var spare []NodeID
	for _, id := range actual {
		if !slices.Contains(ideal, id) {
			spare = append(spare, id)
		}
	}
	for i, id := range chosen {
		if !slices.Contains(actual, id) {
			chosen[i], spare = spare[0], spare[1:]
		}
	}
	return chosen
}

func pick(object ObjectID, n int, members []candidate) []NodeID {
	type ranked struct {
		candidate
		score uint64
	}
	left := make([]ranked, len(members))
	for i, m := range members {
		left[i] = ranked{m, score(object, m.id)}
		if m.group == "" {
			left[i].group = fmt.Sprintf("\x00%d", m.id) // a group of its own
		}
	}
	used := make(map[string]int)
	better := func(a, b ranked) bool {
		if a.standing != b.standing {
			return a.standing < b.standing
		}
		if used[a.group] != used[b.group] {
			return used[a.group] < used[b.group]
		}
		if a.score != b.score {
			return a.score > b.score
		}
		return a.id < b.id
	}
	var out []NodeID
	for range n {
		best := 0
		for i := range left {
			if better(left[i], left[best]) {
				best = i
			}
		}
		out = append(out, left[best].id)
		used[left[best].group]++
		left = slices.Delete(left, best, best+1)
	}
	return out
}

// place chooses the nodes of a new object. When fewer than k members are up, those
// that are down are probed before giving up.
func (p *Pool) place(ctx context.Context, object ObjectID, g Geometry, sizeBytes int64) ([]NodeID, error) {
	n := g.Shards()
	if len(p.nodes) < n {
		return nil, fmt.Errorf("%w: %d members, %d+%d needed", ErrTooFewNodes, len(p.nodes), g.Data, g.Parity)
	}
	if p.countUp() < g.Data {
		p.awaitAll(ctx)
		if up := p.countUp(); up < g.Data {
			return nil, fmt.Errorf("%w: %d of %d reachable, %d needed", ErrTooFewNodes, up, len(p.nodes), g.Data)
		}
	}
	need := p.bytesPerNode(g, sizeBytes)
	free := p.freeBytes()
	members := make([]candidate, len(p.nodes))
	for i, node := range p.nodes {
		members[i] = candidate{id: node.ID, group: node.Group, standing: node.standing()}
		if f, known := free[node.ID]; known && f < need && members[i].standing == fit {
			members[i].standing = refusing
		}
	}
	return choose(object, n, members), nil
}

func (n *node) standing() standing {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.up:
		return down
	case n.pool.clock.Now().Before(n.refusedUntil):
		return refusing
	}
	return fit
}

func (p *Pool) countUp() int {
	up := 0
	for _, n := range p.nodes {
		if n.isUp() {
			up++
		}
	}
	return up
}

// awaitAll has every node that is down probed once.
func (p *Pool) awaitAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, n := range p.nodes {
		wg.Go(func() { n.await(ctx) })
	}
	wg.Wait()
}
