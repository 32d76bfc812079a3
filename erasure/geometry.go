package erasure

import (
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"

	"github.com/qsfs/qsfs/erasure/shard"
)

const (
	// DefaultShardBytes is the largest body of a shard unless a geometry says otherwise:
	// one GET of a healthy block transfers no more than this.
	DefaultShardBytes = 512 << 10
	// ShardGrain is what the sizes of shard bodies are multiples of.
	ShardGrain = 256
	// MaxStripes is the most stripes that an object has.
	MaxStripes = 1 << 20
)

// Geometry is how objects are cut.
type Geometry struct {
	Data, Parity int // shards of a stripe: k and m
	ShardBytes   int // largest body of a shard, a multiple of ShardGrain
}

// Shards returns the shards of a stripe, k+m.
func (g Geometry) Shards() int { return g.Data + g.Parity }

// Check returns an error that is ErrInvalid unless objects can be cut so.
func (g Geometry) Check() error {
	switch {
	case g.Data < 1 || g.Parity < 0 || g.Data > shard.MaxShards || g.Parity > shard.MaxShards || g.Shards() > shard.MaxShards:
		return fmt.Errorf("%w: geometry of %d data and %d parity shards", ErrInvalid, g.Data, g.Parity)
	case g.ShardBytes < ShardGrain || g.ShardBytes > shard.MaxBody || g.ShardBytes%ShardGrain != 0:
		return fmt.Errorf("%w: shard of %d bytes", ErrInvalid, g.ShardBytes)
	}
	return nil
}

// checkObject is Check for an object of sizeBytes.
func (g Geometry) checkObject(sizeBytes int64) error {
	if err := g.Check(); err != nil {
		return err
	}
	if sizeBytes < 0 || sizeBytes > MaxStripes*g.stripeBytes() {
		return fmt.Errorf("%w: object of %d bytes in stripes of %d", ErrInvalid, sizeBytes, g.stripeBytes())
	}
	return nil
}

// stripeBytes returns the object bytes in every stripe but the last.
func (g Geometry) stripeBytes() int64 { return int64(g.Data) * int64(g.ShardBytes) }

// stripes returns how many stripes an object of sizeBytes has.
func (g Geometry) stripes(sizeBytes int64) int {
	return int(max(1, (sizeBytes+g.stripeBytes()-1)/g.stripeBytes()))
}

// bodyBytes returns the body of each shard of the stripe.
func (g Geometry) bodyBytes(sizeBytes int64, stripe int) int {
	rest := sizeBytes - int64(stripe)*g.stripeBytes()
	if rest >= g.stripeBytes() {
		return g.ShardBytes
	}
	k := int64(g.Data)
	body := (rest + k - 1) / k
	return int(max(ShardGrain, (body+ShardGrain-1)/ShardGrain*ShardGrain))
}

// coders makes one Reed-Solomon coder for each pair of k and m.
type coders struct {
	mu   sync.Mutex
	made map[[2]int]reedsolomon.Encoder
}

func (c *coders) get(g Geometry) (reedsolomon.Encoder, error) {
	key := [2]int{g.Data, g.Parity}
	c.mu.Lock()
	defer c.mu.Unlock()
	if coder, ok := c.made[key]; ok {
		return coder, nil
	}
	// Stripes are coded in parallel, so one goroutine each. The library remembers a
	// matrix for every set of lost shards: few for small stripes, no end for wide ones.
	coder, err := reedsolomon.New(g.Data, g.Parity,
		reedsolomon.WithMaxGoroutines(1),
		reedsolomon.WithInversionCache(g.Shards() <= 20))
	if err != nil {
		return nil, fmt.Errorf("%w: %d+%d: %w", ErrInvalid, g.Data, g.Parity, err)
	}
	if c.made == nil {
		c.made = make(map[[2]int]reedsolomon.Encoder)
	}
	c.made[key] = coder
	return coder, nil
}
