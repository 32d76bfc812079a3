package shardcache

// entry is one cached file in the index. Entries live in one slice and are linked by
// their places in it, so that a large cache is few objects for the collector.
type entry struct {
	key        Key
	verified   bool // its checksum was right, or we wrote it ourselves
	bodyBytes  uint32
	prev, next int32 // towards more and less recently used; in a free entry next is the next free one
}

// lru is the index. The entry at 0 is the list's end stone: its next is the most recently
// used entry and its prev the least recently used.
type lru struct {
	places  map[Key]int32
	entries []entry
	free    int32 // first free entry, 0 when there is none
	used    int64 // bytes on disk
}

func newLRU() *lru {
	return &lru{places: map[Key]int32{}, entries: make([]entry, 1, 64)}
}

// diskBytes is what a body takes on disk, in whole blocks.
func diskBytes(bodyBytes uint32) int64 {
	return (headerBytes + int64(bodyBytes) + blockBytes - 1) / blockBytes * blockBytes
}

func (l *lru) unlink(i int32) {
	e := &l.entries[i]
	l.entries[e.prev].next = e.next
	l.entries[e.next].prev = e.prev
}

func (l *lru) linkFirst(i int32) {
	e := &l.entries[i]
	e.prev, e.next = 0, l.entries[0].next
	l.entries[e.next].prev = i
	l.entries[0].next = i
}

// get gives the entry of a key and makes it the most recently used. Valid until the next add.
func (l *lru) get(k Key) *entry {
	i, ok := l.places[k]
	if !ok {
		return nil
	}
	l.unlink(i)
	l.linkFirst(i)
	return &l.entries[i]
}

// add puts a key first, in place of an entry that it may have.
func (l *lru) add(k Key, bodyBytes uint32, verified bool) {
	l.remove(k)
	i := l.free
	if i != 0 {
		l.free = l.entries[i].next
	} else {
		i = int32(len(l.entries))
		l.entries = append(l.entries, entry{})
	}
	l.entries[i] = entry{key: k, verified: verified, bodyBytes: bodyBytes}
	l.linkFirst(i)
	l.places[k] = i
	l.used += diskBytes(bodyBytes)
}

// remove takes a key out and tells the bytes on disk that it stood for.
func (l *lru) remove(k Key) (bytes int64, ok bool) {
	i, ok := l.places[k]
	if !ok {
		return 0, false
	}
	l.unlink(i)
	delete(l.places, k)
	bytes = diskBytes(l.entries[i].bodyBytes)
	l.used -= bytes
	l.entries[i] = entry{next: l.free}
	l.free = i
	return bytes, true
}

// last is the least recently used key.
func (l *lru) last() (Key, bool) {
	i := l.entries[0].prev
	return l.entries[i].key, i != 0
}
