package store

import "github.com/cockroachdb/pebble/v2"

// Caches are what the indexes of several stores can share, so that who is used most has most
// of it: blocks of tables with the memtables in their number, and open tables. With many keys the
// filters that say which tables a key is not in should fit: 20 bits for each key.
type Caches struct {
	blocks *pebble.Cache
	tables *pebble.FileCache
}

// NewCaches makes caches of so many bytes; the memtables of an open store take up to
// 12 MiB of them. Close them behind the stores.
func NewCaches(sizeBytes int64, openTables int) *Caches {
	return &Caches{blocks: pebble.NewCache(sizeBytes), tables: pebble.NewFileCache(1, openTables)}
}

// Close gives the memory back once the stores are closed.
func (c *Caches) Close() {
	c.tables.Unref()
	c.blocks.Unref()
}
