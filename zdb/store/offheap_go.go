//go:build !cgo

package store

// CachesOffHeap says whether the memory of Caches is outside of Go's heap, where Go's memory
// limit does not see it.
const CachesOffHeap = false
