// Package blockcache keeps decrypted blocks in memory, least recently used
// first out, bounded by bytes.
package blockcache

import (
	"container/list"
	"sync"

	"github.com/qsfs/qsfs/fs/wal"
)

// key is where a block is; blocks never change in place.
type key struct {
	segment uint64
	offset  uint32
}

type entry struct {
	key   key
	block []byte
}

// Cache is safe for concurrent use.
type Cache struct {
	mu       sync.Mutex
	maxBytes int64
	bytes    int64
	entries  map[key]*list.Element
	used     *list.List // of entry, most recently used first
}

// New returns a cache of at most maxBytes of blocks.
func New(maxBytes int64) *Cache {
	return &Cache{maxBytes: maxBytes, entries: map[key]*list.Element{}, used: list.New()}
}

// Get returns a block, which must not be changed, or nil.
func (c *Cache) Get(a wal.Addr) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key{a.Segment, a.Offset}]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(entry).block
}

// Put keeps a block, which its caller no longer changes.
func (c *Cache) Put(a wal.Addr, block []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{a.Segment, a.Offset}
	if c.entries[k] != nil || int64(len(block)) > c.maxBytes {
		return
	}
	c.entries[k] = c.used.PushFront(entry{k, block})
	c.bytes += int64(len(block))
	for c.bytes > c.maxBytes {
		oldest := c.used.Back()
		old := oldest.Value.(entry)
		c.used.Remove(oldest)
		delete(c.entries, old.key)
		c.bytes -= int64(len(old.block))
	}
}
