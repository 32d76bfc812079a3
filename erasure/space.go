package erasure

import (
	"math"
	"sort"

	"github.com/qsfs/qsfs/erasure/shard"
)

// Space is how full a pool is, in bytes of objects.
type Space struct {
	Known                 bool // enough nodes have told
	UsedBytes, FreeBytes  int64
	TotalBytes            int64
	NodesKnown, NodesFull int // members that told their space; of those, without room for one more shard
}

// Space returns what fits on the members yet in objects of the geometry, each
// stripe on k+m distinct nodes: with c shards free on each node, the most stripes t
// with sum(min(c, t)) >= (k+m)*t. Members that never told their space are taken to
// have none; where fewer than k+m told, the rest of a stripe is taken to stay owed.
// It asks no node.
func (p *Pool) Space(g Geometry) Space {
	if g.Check() != nil {
		return Space{}
	}
	free := p.freeBytes()
	var s Space
	var used int64
	value := int64(shard.ValueBytes(g.ShardBytes))
	shards := make([]int64, 0, len(free))
	for _, n := range p.nodes {
		st := n.status()
		if st.SpaceKnown {
			used += st.Space.UsedBytes
			s.NodesKnown++
		}
		if f, known := free[n.ID]; known {
			shards = append(shards, f/value)
			if f < value {
				s.NodesFull++
			}
		}
	}
	width := min(g.Shards(), len(shards))
	if width < g.Data {
		return s
	}
	s.Known = true
	s.FreeBytes = mul(maxStripes(shards, width), g.stripeBytes())
	s.UsedBytes = int64(float64(used) * float64(g.Data) / float64(g.Shards()))
	s.TotalBytes = s.UsedBytes + min(s.FreeBytes, math.MaxInt64-s.UsedBytes)
	return s
}

// maxStripes returns the most stripes of width shards, each on distinct nodes, that
// fit on nodes with so many shards free.
func maxStripes(free []int64, width int) int64 {
	fits := func(t int64) bool {
		var sum int64
		for _, c := range free {
			sum += min(c, t)
		}
		return sum >= t*int64(width)
	}
	var total int64
	for _, c := range free {
		total += c
	}
	// fits is monotonic: what holds t stripes holds fewer.
	return int64(sort.Search(int(total/int64(width)), func(t int) bool { return !fits(int64(t) + 1) }))
}

func mul(a, b int64) int64 {
	if a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

// freeBytes returns the bytes free on each member that told. Members that report the
// same device share its free bytes evenly.
func (p *Pool) freeBytes() map[NodeID]int64 {
	status := p.Status()
	sharing := make(map[string]int64)
	for _, st := range status {
		if st.SpaceKnown {
			sharing[st.Space.Device]++
		}
	}
	const noLimit = int64(1) << 50 // keeps sums of them in range
	free := make(map[NodeID]int64)
	for _, st := range status {
		if !st.SpaceKnown {
			continue
		}
		f := noLimit
		if st.Space.LimitBytes > 0 {
			f = min(f, st.Space.LimitBytes-st.Space.UsedBytes)
		}
		switch disk := st.Space.DiskFreeBytes; {
		case st.Space.Device != "":
			f = min(f, disk/sharing[st.Space.Device])
		case disk > 0:
			f = min(f, disk)
		case st.Space.LimitBytes <= 0:
			continue // it told nothing of use
		}
		free[st.ID] = max(0, f)
	}
	return free
}

// bytesPerNode returns what an object takes on each of its nodes.
func (p *Pool) bytesPerNode(g Geometry, sizeBytes int64) int64 {
	stripes := g.stripes(sizeBytes)
	last := int64(shard.ValueBytes(g.bodyBytes(sizeBytes, stripes-1)))
	return int64(stripes-1)*int64(shard.ValueBytes(g.ShardBytes)) + last
}
