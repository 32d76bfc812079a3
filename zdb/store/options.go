package store

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of a store. The zero value is good.
type Options struct {
	FS  vfs.FS       // the disk; nil means the operating system's
	Log *slog.Logger // nil means no log

	NoSync   bool // acknowledge before the data is durable; a power cut may lose the last writes
	SyncEach bool // an fdatasync of its own for each write instead of one for all that wait

	// Sequential: the store gives the keys, ids of 8 bytes, little endian, that count up from 0.
	// Open is zdb.ErrWrongMode where the directory has data of the other mode.
	Sequential bool

	// OnJump is told when a data file was ended and the next one begun. It must not block.
	OnJump func(closed, opened uint32)

	MaxBytes     int64 // most live payload bytes; 0 means no limit. SetLimit changes it
	ReserveBytes int64 // disk left free for deletes and the index; 0 means 16 MiB or 1/64 of the disk, whichever is less

	FileBytes  int64 // a data file is ended at this size, or before where the store is small; 0 means 256 MiB
	CacheBytes int64 // block cache of the index beside its memtables; 0 means 4 MiB

	Caches *Caches // shared with other stores, in place of CacheBytes; nil means caches of its own

	Now func() time.Time // nil means time.Now
}

const (
	defaultFileBytes    = 256 << 20
	minFileBytes        = 16 << 20
	unsyncedFileBytes   = 64 << 20 // minFileBytes without syncs
	defaultCacheBytes   = 4 << 20
	defaultReserveBytes = 16 << 20
	memTableBytes       = 4 << 20
	memTables           = 3
	tableBytes          = 4 << 20
	openTables          = 64

	// A batch is what one fdatasync covers, and what one pwritev takes (IOV_MAX is 1024).
	maxBatchWrites = 480
	maxBatchBytes  = 16 << 20
	// More writes than this wait outside of the queue.
	maxQueuedWrites = 4096

	// The index is flushed after this many data bytes or writes, which bounds the replay.
	indexFlushBytes  = 256 << 20
	indexFlushWrites = 100_000

	// Without syncs the disk is told to write after this many bytes.
	writeBehindBytes = 8 << 20

	maxOpenFiles = 48
)

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FileBytes <= 0 {
		o.FileBytes = defaultFileBytes
	}
	o.FileBytes = min(o.FileBytes, maxFileBytes)
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
