package resp

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes of requests and replies in flight, over all connections.
//
// What is given back is kept, up to half of the budget, and handed out again last in, first
// out: memory that was touched a moment ago is the fastest there is, and a garbage collector
// that empties a pool would have it touched anew.
type Budget struct {
	sem *semaphore.Weighted

	mu        sync.Mutex
	free      [maxClass + 1][][]byte
	freeBytes int64
	keepBytes int64
}

// NewBudget makes a budget; it is never less than what one request needs.
func NewBudget(totalBytes int64) *Budget {
	totalBytes = max(totalBytes, 2*classBytes(MaxRequestBytes))
	return &Budget{sem: semaphore.NewWeighted(totalBytes), keepBytes: totalBytes / 2}
}

// Buffer is memory from a budget; Release gives it back. The zero value holds nothing.
type Buffer struct {
	Bytes  []byte
	budget *Budget
	class  int
}

// A class is a power of two and room for a key and a record's header, because values tend to be
// powers of two.
const (
	minClass   = 12 // 4 KiB
	maxClass   = 24 // 16 MiB
	classExtra = 1 << 10
)

func classOf(n int) int         { return max(minClass, bits.Len(uint(max(n-classExtra, 1)-1))) }
func classSize(class int) int   { return 1<<class + classExtra }
func classBytes(n int) int64    { return int64(classSize(classOf(n))) }
func (b *Buffer) weight() int64 { return int64(classSize(b.class)) }

// Get gives a buffer of n bytes, at most 16 MiB, as soon as the budget has them.
// What is in it is arbitrary.
func (b *Budget) Get(ctx context.Context, n int) (Buffer, error) {
	class := classOf(n)
	weight := int64(classSize(class))
	if !b.sem.TryAcquire(weight) {
		if err := b.sem.Acquire(ctx, weight); err != nil {
			return Buffer{}, err
		}
	}
	return b.buffer(n, class), nil
}

// TryGet is Get when the budget has the memory now, and nobody waits for some.
func (b *Budget) TryGet(n int) (Buffer, bool) {
	class := classOf(n)
	if !b.sem.TryAcquire(int64(classSize(class))) {
		return Buffer{}, false
	}
	return b.buffer(n, class), true
}

func (b *Budget) buffer(n, class int) Buffer {
	b.mu.Lock()
	if have := b.free[class]; len(have) > 0 {
		p := have[len(have)-1]
		have[len(have)-1] = nil
		b.free[class] = have[:len(have)-1]
		b.freeBytes -= int64(classSize(class))
		b.mu.Unlock()
		return Buffer{Bytes: p[:n], budget: b, class: class}
	}
	b.mu.Unlock()
	return Buffer{Bytes: make([]byte, n, classSize(class)), budget: b, class: class}
}

// Release gives the memory back; nothing may refer to it any more.
func (b *Buffer) Release() {
	if b.budget == nil {
		return
	}
	b.budget.keep(b.Bytes[:0], b.class)
	b.budget.sem.Release(b.weight())
	*b = Buffer{}
}

func (b *Budget) keep(p []byte, class int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if weight := int64(classSize(class)); b.freeBytes+weight <= b.keepBytes {
		b.free[class] = append(b.free[class], p)
		b.freeBytes += weight
	}
}
