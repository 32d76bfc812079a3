package erasure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/qsfs/qsfs/zdb"
)

func testCandidates(n, groups int) []candidate {
	out := make([]candidate, n)
	for i := range out {
		out[i].id = NodeID(i)
		if groups > 0 {
			out[i].group = fmt.Sprint("group ", i%groups)
		}
	}
	return out
}

func randomObject() (id ObjectID) {
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return id
}

// Objects spread over members evenly, on distinct ones.
func TestChooseSpreads(t *testing.T) {
	members := testCandidates(12, 0)
	count := make(map[NodeID]int)
	const objects = 3000
	for range objects {
		chosen := choose(randomObject(), 6, members)
		for i, id := range chosen {
			if slices.Contains(chosen[:i], id) {
				t.Fatalf("%v has a node twice", chosen)
			}
			count[id]++
		}
	}
	for id, n := range count {
		if n < objects*6/12*85/100 || n > objects*6/12*115/100 {
			t.Errorf("node %d has %d of %d objects", id, n, objects)
		}
	}
}

// A member that is not fit is replaced, and nobody else moves.
func TestChooseStable(t *testing.T) {
	members := testCandidates(9, 0)
	for range 200 {
		id := randomObject()
		before := choose(id, 6, members)
		changed := slices.Clone(members)
		out := before[rand.IntN(6)]
		changed[out].standing = standing(1 + rand.IntN(2))
		after := choose(id, 6, changed)
		for i := range before {
			if before[i] != out && before[i] != after[i] || after[i] == out {
				t.Fatalf("without %d: %v became %v", out, before, after)
			}
		}
	}
}

// Groups are used as evenly as they can be; fitness comes before groups, and the
// unfit fill the places that are left, refusing ones before those that are down.
func TestChooseGroupsAndFitness(t *testing.T) {
	for _, groups := range []int{2, 3, 4, 6} {
		chosen := choose(randomObject(), 6, testCandidates(12, groups))
		used := make(map[int]int)
		for _, id := range chosen {
			used[int(id)%groups]++
		}
		for group, n := range used {
			if n > (6+groups-1)/groups {
				t.Errorf("%d groups: group %d has %d of %v", groups, group, n, chosen)
			}
		}
	}
	members := testCandidates(8, 2)
	for i := range members {
		members[i].standing = []standing{fit, down, fit, refusing, fit, refusing, fit, down}[i]
	}
	chosen := choose(randomObject(), 6, members)
	slices.Sort(chosen)
	if !slices.Equal(chosen, []NodeID{0, 2, 3, 4, 5, 6}) {
		t.Errorf("chose %v", chosen)
	}
}

// The most stripes that fit, against counting them out one by one.
func TestMaxStripes(t *testing.T) {
	naive := func(free []int64, width int) (stripes int64) {
		free = slices.Clone(free)
		for {
			slices.SortFunc(free, func(a, b int64) int { return int(b - a) })
			if free[width-1] == 0 {
				return stripes
			}
			for i := range width {
				free[i]--
			}
			stripes++
		}
	}
	for range 500 {
		free := make([]int64, 1+rand.IntN(9))
		for i := range free {
			free[i] = rand.Int64N(20)
		}
		width := 1 + rand.IntN(len(free))
		if got, want := maxStripes(free, width), naive(free, width); got != want {
			t.Fatalf("%v, width %d: %d, want %d", free, width, got, want)
		}
	}
}

// told is a node that reports a given space.
type told struct {
	sink
	space zdb.Space
}

func (n told) Space(context.Context) (zdb.Space, error) { return n.space, nil }

// Limits, disks, shared disks and nodes that tell nothing, in logical bytes free.
func TestSpace(t *testing.T) {
	const value = 256 + 144
	limit := func(shards int64) zdb.Space { return zdb.Space{LimitBytes: shards * value} }
	shared := zdb.Space{DiskFreeBytes: 30 * value, Device: "disk"}
	for name, tc := range map[string]struct {
		nodes []zdb.Space
		known bool
		free  int64 // stripes
	}{
		"even":                    {[]zdb.Space{limit(7), limit(7), limit(7)}, true, 7},
		"smallest counts":         {[]zdb.Space{limit(7), limit(2), limit(9)}, true, 2},
		"spare node":              {[]zdb.Space{limit(6), limit(6), limit(6), limit(6)}, true, 8},
		"one disk for all":        {[]zdb.Space{shared, shared, shared}, true, 10},
		"disk below limit":        {[]zdb.Space{{LimitBytes: 9 * value, DiskFreeBytes: 4 * value}, limit(9), limit(9)}, true, 4},
		"over the limit":          {[]zdb.Space{{LimitBytes: 1, UsedBytes: 2}, limit(9), limit(9)}, true, 0},
		"disk full":               {[]zdb.Space{{Device: "d"}, limit(9), limit(9)}, true, 0},
		"one silent: is owed":     {[]zdb.Space{{}, limit(3), limit(9)}, true, 3},
		"fewer than k told":       {[]zdb.Space{{}, {}, limit(9)}, false, 0},
		"a node without any room": {[]zdb.Space{limit(0), {LimitBytes: 1}, limit(9)}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			timed(t, func(t *testing.T) {
				var o PoolOptions
				for i, s := range tc.nodes {
					o.Members = append(o.Members, Member{ID: NodeID(i), Node: told{space: s}})
				}
				p, err := NewPool(o)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				synctest.Wait() // every node has told
				got := p.Space(Geometry{2, 1, 256})
				want := tc.free * 2 * 256
				if got.Known != tc.known || got.FreeBytes != want {
					t.Fatalf("got %+v, want %d bytes free", got, want)
				}
			})
		})
	}
}
