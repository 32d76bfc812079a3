package meta

import "sync"

// attrCacheEntries is how many inodes are kept in memory, about 16 MiB.
const attrCacheEntries = 64 << 10

const attrShards = 16

// attrCache keeps inodes, least recently used out first. Writers put what they committed, under the store's mutex;
// readers fill what they read from pebble, without it. The shard's version, which every put and drop raises, keeps a reader
// that was overtaken by a writer from filling in an old inode.
type attrCache struct {
	shards [attrShards]attrShard
}

type attrShard struct {
	mu      sync.Mutex // a leaf: nothing is locked or waited for under it
	version uint64
	limit   int
	entries map[Ino]*attrEntry
	root    attrEntry // of the ring: next is the most recently used, prev the least
}

type attrEntry struct {
	attr       Attr
	next, prev *attrEntry
}

func newAttrCache(limit int) *attrCache {
	c := new(attrCache)
	for i := range c.shards {
		s := &c.shards[i]
		s.limit = max(1, limit/attrShards)
		s.entries = make(map[Ino]*attrEntry)
		s.root.next, s.root.prev = &s.root, &s.root
	}
	return c
}

func (c *attrCache) shard(ino Ino) *attrShard { return &c.shards[ino%attrShards] }

// get returns the inode if it is there, else the version to give to fill.
func (c *attrCache) get(ino Ino) (a Attr, ok bool, version uint64) {
	s := c.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[ino]
	if e == nil {
		return Attr{}, false, s.version
	}
	s.unlink(e)
	s.pushFront(e)
	return e.attr, true, s.version
}

// fill keeps what a reader read, unless a writer has been at the shard since version.
func (c *attrCache) fill(a *Attr, version uint64) {
	s := c.shard(a.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version == version {
		s.insert(a)
	}
}

// put keeps what a writer committed.
func (c *attrCache) put(a *Attr) {
	s := c.shard(a.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.insert(a)
}

// drop forgets an inode that a writer removed.
func (c *attrCache) drop(ino Ino) {
	s := c.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if e := s.entries[ino]; e != nil {
		s.unlink(e)
		delete(s.entries, ino)
	}
}

// insert puts an inode in front, reusing the entry of the least recently used one when full.
func (s *attrShard) insert(a *Attr) {
	e := s.entries[a.Ino]
	switch {
	case e != nil:
		s.unlink(e)
	case len(s.entries) >= s.limit:
		e = s.root.prev
		s.unlink(e)
		delete(s.entries, e.attr.Ino)
	default:
		e = new(attrEntry)
	}
	e.attr = *a
	s.entries[a.Ino] = e
	s.pushFront(e)
}

func (s *attrShard) unlink(e *attrEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (s *attrShard) pushFront(e *attrEntry) {
	e.prev, e.next = &s.root, s.root.next
	e.prev.next, e.next.prev = e, e
}
