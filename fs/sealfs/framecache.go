package sealfs

import (
	"encoding/binary"
	"sync"
)

// frameBuf carries one frame through read, open and cache without allocation.
type frameBuf struct {
	nonce nonce
	plain int // bytes of plaintext at the start of b
	b     [fullSealed]byte
}

// framePool holds the buffers that no cache slot holds.
var framePool = sync.Pool{New: func() any { return new(frameBuf) }}

const (
	cacheWays          = 4
	defaultCacheFrames = 64 // 2 MiB
)

// frameKey names a frame for ever, because a file's bytes never change under its id.
type frameKey struct {
	id     FileID
	sealed int64
}

type cacheSlot struct {
	key  frameKey
	buf  *frameBuf
	used uint64
}

type cacheSet struct {
	mu    sync.Mutex
	clock uint64
	slots [cacheWays]cacheSlot
}

// frameCache keeps the plaintext of the frames read last, over all files of an FS: a
// block of pebble is mostly smaller than a frame, and its neighbours are read next.
// Bounded by its number of frames. Only authenticated plaintext enters.
type frameCache struct {
	sets []cacheSet
}

func newFrameCache(frames int) *frameCache {
	if frames <= 0 {
		frames = defaultCacheFrames
	}
	return &frameCache{sets: make([]cacheSet, max(1, frames/cacheWays))}
}

func (c *frameCache) set(k frameKey) *cacheSet {
	h := binary.LittleEndian.Uint64(k.id[:8]) + uint64(k.sealed)/fullSealed // neighbours go to different sets
	return &c.sets[h%uint64(len(c.sets))]
}

// read copies plaintext of frame k from inFrame on to dst, which it fills, and tells whether it had it.
func (c *frameCache) read(k frameKey, dst []byte, inFrame int) bool {
	s := c.set(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.slots {
		slot := &s.slots[i]
		if slot.buf != nil && slot.key == k && inFrame+len(dst) <= slot.buf.plain {
			s.clock++
			slot.used = s.clock
			copy(dst, slot.buf.b[inFrame:])
			return true
		}
	}
	return false
}

// put takes over buf.
func (c *frameCache) put(k frameKey, buf *frameBuf) {
	s := c.set(k)
	s.mu.Lock()
	s.clock++
	victim := &s.slots[0]
	for i := range s.slots {
		slot := &s.slots[i]
		if slot.buf != nil && slot.key == k {
			victim = slot
			break
		}
		if slot.used < victim.used {
			victim = slot
		}
	}
	old := victim.buf
	*victim = cacheSlot{key: k, buf: buf, used: s.clock}
	s.mu.Unlock()
	if old != nil {
		framePool.Put(old)
	}
}

// wipe zeroes the plaintext that is kept.
func (c *frameCache) wipe() {
	for i := range c.sets {
		s := &c.sets[i]
		s.mu.Lock()
		for j := range s.slots {
			if b := s.slots[j].buf; b != nil {
				clear(b.b[:])
			}
			s.slots[j] = cacheSlot{}
		}
		s.mu.Unlock()
	}
}
