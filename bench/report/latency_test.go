package report

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Each duration is in a bucket that is at most 1/32 wide, and buckets are in order.
func TestBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 100000 {
		ns := rng.Uint64N(math.MaxInt64) >> (i % 63)
		b := bucketOf(ns)
		upper, below := uint64(upperBound(b)), uint64(0)
		if b > 0 {
			below = uint64(upperBound(b - 1))
		}
		if ns > upper || (b > 0 && ns <= below) || upper-below > 1+upper/subBuckets {
			t.Fatalf("%d is in bucket %d of %d to %d", ns, b, below, upper)
		}
	}
	var l Latencies
	for i := range 1000 {
		l.Add(time.Duration(i+1) * time.Millisecond)
	}
	s := l.Summary("x")
	if s.Count != 1000 || s.Max != 1000 || s.P50 < 500 || s.P50 > 520 || s.P99 < 990 || s.P99 > 1000 || s.P999 < 999 || s.P999 > 1000 {
		t.Errorf("%+v", s)
	}
}
