package resp

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes of requests and replies in flight, over all connections.
type Budget struct {
	sem   *semaphore.Weighted
	total int64
}

// NewBudget makes a budget; it is never less than what one request needs.
func NewBudget(totalBytes int64) *Budget {
	totalBytes = max(totalBytes, 2*classBytes(MaxRequestBytes))
	return &Budget{sem: semaphore.NewWeighted(totalBytes), total: totalBytes}
}

// Buffer is memory from a budget; Release gives it back. The zero value holds nothing.
type Buffer struct {
	Bytes  []byte
	budget *Budget
	class  int
}

const (
	minClass = 12 // 4 KiB
	maxClass = 24 // 16 MiB
)

var pools [maxClass + 1]sync.Pool

func classOf(n int) int         { return max(minClass, bits.Len(uint(max(n, 1)-1))) }
func classBytes(n int) int64    { return 1 << classOf(n) }
func (b *Buffer) weight() int64 { return 1 << b.class }

// Get gives a buffer of n bytes, at most 16 MiB, as soon as the budget has them.
// What is in it is arbitrary.
func (b *Budget) Get(ctx context.Context, n int) (Buffer, error) {
	class := classOf(n)
	if err := b.sem.Acquire(ctx, 1<<class); err != nil {
		return Buffer{}, err
	}
	return b.buffer(n, class), nil
}

// TryGet is Get when the budget has the memory now, and nobody waits for some.
func (b *Budget) TryGet(n int) (Buffer, bool) {
	class := classOf(n)
	if !b.sem.TryAcquire(1 << class) {
		return Buffer{}, false
	}
	return b.buffer(n, class), true
}

func (b *Budget) buffer(n, class int) Buffer {
	if p, _ := pools[class].Get().(*[]byte); p != nil {
		return Buffer{Bytes: (*p)[:n], budget: b, class: class}
	}
	return Buffer{Bytes: make([]byte, n, 1<<class), budget: b, class: class}
}

// Release gives the memory back; nothing may refer to it any more.
func (b *Buffer) Release() {
	if b.budget == nil {
		return
	}
	p := b.Bytes[:0]
	pools[b.class].Put(&p)
	b.budget.sem.Release(b.weight())
	*b = Buffer{}
}
