package wal

import "sync"

// Scratch memory for one frame. Two sizes, so that a large transaction does not end up holding small frames.
var (
	smallScratch = sync.Pool{New: func() any { return newScratch(smallScratchBytes) }}
	blockScratch = sync.Pool{New: func() any { return newScratch(MaxBlockBytes + ownerBytes) }}
)

const smallScratchBytes = 8 << 10

func newScratch(n int) *[]byte {
	b := make([]byte, 0, n)
	return &b
}

// getScratch lends an empty slice with room for n bytes.
func getScratch(n int) *[]byte {
	switch {
	case n <= smallScratchBytes:
		return smallScratch.Get().(*[]byte)
	case n <= MaxBlockBytes+ownerBytes:
		return blockScratch.Get().(*[]byte)
	default:
		return newScratch(n)
	}
}

func putScratch(b *[]byte) {
	switch cap(*b) {
	case smallScratchBytes:
		smallScratch.Put(b)
	case MaxBlockBytes + ownerBytes:
		blockScratch.Put(b)
	}
}
