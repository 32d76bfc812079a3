package report

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latencies is a histogram of durations that many goroutines add to. A bucket is at most
// 1/32 wide, relative to its lower bound, so that a percentile is told that closely.
type Latencies struct {
	buckets [64 * subBuckets]atomic.Int64
	max     atomic.Int64
}

const (
	subBits    = 5
	subBuckets = 1 << subBits
)

// bucketOf is the place of a number of nanoseconds: below subBuckets each has its own.
func bucketOf(ns uint64) int {
	if ns < subBuckets {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - subBits
	return (shift+1)<<subBits | int(ns>>shift)&(subBuckets-1)
}

// upperBound is the longest duration of a bucket.
func upperBound(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	return time.Duration(uint64(bucket&(subBuckets-1)|subBuckets)<<shift + 1<<shift - 1)
}

// Add takes one duration.
func (l *Latencies) Add(d time.Duration) {
	d = max(d, 0)
	l.buckets[bucketOf(uint64(d))].Add(1)
	for {
		old := l.max.Load()
		if int64(d) <= old || l.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// Latency is what is reported of one verb.
type Latency struct {
	Verb  string  `json:"verb"`
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Summary sums up what was taken, when nothing more comes.
func (l *Latencies) Summary(verb string) Latency {
	s := Latency{Verb: verb, Max: milliseconds(time.Duration(l.max.Load()))}
	for i := range l.buckets {
		s.Count += l.buckets[i].Load()
	}
	s.P50, s.P99, s.P999 = l.percentile(s.Count, 0.5), l.percentile(s.Count, 0.99), l.percentile(s.Count, 0.999)
	return s
}

// percentile is the shortest duration that this share of count does not exceed.
func (l *Latencies) percentile(count int64, share float64) float64 {
	seen := int64(0)
	for i := range l.buckets {
		seen += l.buckets[i].Load()
		if seen > 0 && float64(seen) >= share*float64(count) {
			return milliseconds(min(upperBound(i), time.Duration(l.max.Load())))
		}
	}
	return 0
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
