package shardcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
)

const (
	entryBytes = 64 << 10 // maxBytes is divided by this for the largest number of entries
	minEntries = 1024
	maxEntries = 4 << 20

	// After a put that found the disk full, firstPause puts are not tried, then twice as
	// many each time, up to maxPause.
	firstPause = 16
	maxPause   = 1024
	fullShare  = 16 // a full disk gets back one part in so many of the cache
)

// Stats says what the cache holds and how it did.
type Stats struct {
	UsedBytes, MaxBytes int64 // on disk, in whole blocks
	Entries             int
	Hits, Misses        uint64
	Skipped             uint64 // puts not tried or failed
}

// Cache is an open cache directory. Safe for concurrent use. It has no goroutines.
type Cache struct {
	dir        string
	maxBytes   int64
	maxEntries int

	// writeFile is a seam for tests.
	writeFile func(dir string, key Key, body []byte) error

	// mu guards what follows. Never held while a file is read, written or removed. A
	// file is renamed into place before its entry is added, and an entry is removed
	// before its file: so no file stays without an entry.
	mu      sync.Mutex
	index   *lru
	stats   Stats
	closed  bool
	pause   int // puts to leave out
	backoff int // the last pause
}

// Open makes dir when it is missing and scans what is in it: at most maxBytes of shards
// are kept, the newest first. A maxBytes of 0 or less caches nothing.
func Open(dir string, maxBytes int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open shard cache: %w", err)
	}
	c := &Cache{
		dir:        dir,
		maxBytes:   max(maxBytes, 0),
		maxEntries: int(min(maxEntries, minEntries+max(maxBytes, 0)/entryBytes)),
		writeFile:  writeFile,
		index:      newLRU(),
	}
	if err := c.scan(); err != nil {
		return nil, fmt.Errorf("open shard cache: %w", err)
	}
	return c, nil
}

// found is a file of an earlier process.
type found struct {
	key       Key
	bodyBytes uint32
	nanos     int64
}

// scan fills the index from the file names and sizes alone, oldest first. Its memory is
// bounded: while more files are found than the index may hold, the oldest are let go.
func (c *Cache) scan() error {
	folders, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var files []found
	for _, folder := range folders {
		if name := folder.Name(); !folder.IsDir() || len(name) != 2 || strings.Trim(name, "0123456789abcdef") != "" {
			continue
		}
		if err := c.scanFolder(folder.Name(), &files); err != nil {
			return err
		}
	}
	for _, f := range c.newest(files) {
		c.index.add(f.key, f.bodyBytes, false)
	}
	c.remove(c.overflow(0, 0))
	return nil
}

func (c *Cache) scanFolder(folder string, files *[]found) error {
	dir, err := os.Open(filepath.Join(c.dir, folder))
	if err != nil {
		return ignoreGone(err)
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			name := e.Name()
			if strings.HasPrefix(name, tmpPrefix) && strings.HasSuffix(name, tmpSuffix) {
				os.Remove(filepath.Join(c.dir, folder, name)) // of a put that was interrupted
				continue
			}
			key, ok := parseName(folder, name)
			if !ok {
				continue
			}
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			size := info.Size() - headerBytes
			if size < 0 || size > MaxBodyBytes {
				os.Remove(filepath.Join(c.dir, folder, name))
				continue
			}
			*files = append(*files, found{key: key, bodyBytes: uint32(size), nanos: info.ModTime().UnixNano()})
		}
		if len(*files) >= 2*c.maxEntries {
			*files = c.newest(*files)
		}
		if len(entries) == 0 {
			return nil // its end, or it was removed while we read it
		}
		if err != nil {
			return ignoreGone(err)
		}
	}
}

// newest gives at most maxEntries files, oldest first, and removes the others.
func (c *Cache) newest(files []found) []found {
	sort.Slice(files, func(i, j int) bool { return files[i].nanos < files[j].nanos })
	extra := max(0, len(files)-c.maxEntries)
	for _, f := range files[:extra] {
		os.Remove(filepath.Join(c.dir, f.key.name()))
	}
	return append([]found(nil), files[extra:]...)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ReadAt fills dst with the shard's bytes from off on and tells whether it could: the
// shard is cached and reaches that far.
func (c *Cache) ReadAt(key Key, dst []byte, off int64) bool {
	ok := c.readAt(key, dst, off)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.stats.Hits++
	} else {
		c.stats.Misses++
	}
	return ok
}

func (c *Cache) readAt(key Key, dst []byte, off int64) bool {
	c.mu.Lock()
	e := c.index.get(key)
	if e == nil || c.closed || off < 0 {
		c.mu.Unlock()
		return false
	}
	verified, bodyBytes := e.verified, e.bodyBytes
	c.mu.Unlock()
	if off > int64(bodyBytes) || int64(len(dst)) > int64(bodyBytes)-off {
		if !verified { // most likely cut short
			c.Drop(key)
		}
		return false
	}

	f, err := os.Open(filepath.Join(c.dir, key.name()))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // anything else, too many open files say, may pass
			c.Drop(key)
		}
		return false
	}
	defer f.Close()
	if !verified {
		if err := verify(f, headerBytes+int64(bodyBytes), key); err != nil {
			c.Drop(key)
			return false
		}
		c.mu.Lock()
		if e := c.index.get(key); e != nil && e.bodyBytes == bodyBytes {
			e.verified = true
		}
		c.mu.Unlock()
	}
	if _, err := f.ReadAt(dst, headerBytes+off); err != nil {
		c.Drop(key)
		return false
	}
	return true
}

// Put caches a shard. It may decide not to; body is not kept.
func (c *Cache) Put(key Key, body []byte) {
	if len(body) > MaxBodyBytes {
		return
	}
	size := diskBytes(uint32(len(body)))
	c.mu.Lock()
	if c.closed || size > c.maxBytes || c.pause > 0 {
		c.pause = max(0, c.pause-1)
		c.stats.Skipped++
		c.mu.Unlock()
		return
	}
	victims := c.overflow(size, 1)
	c.mu.Unlock()
	c.remove(victims)

	err := c.writeFile(c.dir, key, body)
	c.mu.Lock()
	if err == nil {
		c.backoff = 0
		c.index.add(key, uint32(len(body)), true)
		victims = c.overflow(0, 0) // several puts at once may each have made room for one
	} else {
		c.stats.Skipped++
		victims = c.failed(err)
	}
	c.mu.Unlock()
	c.remove(victims)
}

// failed learns from a put that failed. A full disk gets space back, because what else
// is written there, the volume's log above all, matters more. Called under mu.
func (c *Cache) failed(err error) (victims []Key) {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		victims = c.shrink(c.index.used - c.index.used/fullShare)
	}
	c.backoff = min(max(2*c.backoff, firstPause), maxPause)
	c.pause = c.backoff
	return victims
}

// overflow takes keys out of the index until there is room for the given bytes and entries. Called under mu.
func (c *Cache) overflow(bytes int64, entries int) (victims []Key) {
	victims = c.shrink(c.maxBytes - bytes)
	for len(c.index.places)+entries > c.maxEntries {
		key, _ := c.index.last()
		c.index.remove(key)
		victims = append(victims, key)
	}
	return victims
}

// shrink takes keys out of the index until it stands for at most the given bytes. Called under mu.
func (c *Cache) shrink(bytes int64) (victims []Key) {
	for c.index.used > bytes {
		key, ok := c.index.last()
		if !ok {
			break
		}
		c.index.remove(key)
		victims = append(victims, key)
	}
	return victims
}

// remove deletes the files of keys that are out of the index.
func (c *Cache) remove(keys []Key) {
	for _, key := range keys {
		os.Remove(filepath.Join(c.dir, key.name())) // it may be gone; if it cannot be removed the next Open finds it
	}
}

// Drop forgets a shard, because its bytes proved wrong or its object is deleted.
func (c *Cache) Drop(key Key) {
	c.mu.Lock()
	_, had := c.index.remove(key)
	c.mu.Unlock()
	if had {
		c.remove([]Key{key})
	}
}

// Stats tells the state of the cache.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.UsedBytes, s.MaxBytes, s.Entries = c.index.used, c.maxBytes, len(c.index.places)
	return s
}

// Close ends the use of the cache. The files stay for the next Open.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}
