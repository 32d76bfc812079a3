package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/singleflight"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/shardcache"
	"github.com/qsfs/qsfs/fs/wal"
)

// ErrUnknown means no record of a segment exists: the metadata refer to what
// was never written, which is damage.
var ErrUnknown = errors.New("segment: unknown segment")

// Pool is what reading needs of the storage nodes.
type Pool interface {
	ReadShard(ctx context.Context, l *erasure.Layout, stripe, shard int) ([]byte, error)
}

// Held reads blocks that the log still has in memory.
type Held interface {
	ReadBlock(dst []byte, a wal.Addr) ([]byte, error)
}

// Options of a Reader. All are needed but Log.
type Options struct {
	Key      *[32]byte // volume data key
	Disk     vfs.FS    // of the folders below; nil means the machine's
	LogDir   string
	CacheDir string // of the volume
	// CacheBytes bounds the local copies of segments; half of it goes to whole
	// segments, half to single shards fetched from the nodes.
	CacheBytes int64
	Pool       Pool
	// Record finds a segment that Set was not called for.
	Record func(ordinal uint64) (Record, error)
	Log    *slog.Logger
}

// Reader reads blocks by address, from wherever they are. It is safe for
// concurrent use.
type Reader struct {
	o      Options
	files  *files
	shards *shardcache.Cache
	fetch  singleflight.Group

	mu      sync.RWMutex
	held    Held
	records map[uint64]Record
	ciphers map[uint64]*wal.Cipher
}

// maxTable bounds the records and ciphers kept in memory; the rest is found
// again through Options.Record.
const maxTable = 4096

// NewReader opens the local copies below o.CacheDir.
func NewReader(o Options) (*Reader, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Disk == nil {
		o.Disk = vfs.Default
	}
	fl, err := newFiles(o.Disk, o.LogDir, CacheDir(o.CacheDir), o.CacheBytes/2)
	if err != nil {
		return nil, err
	}
	shards, err := shardcache.Open(o.CacheDir+"/shards", o.CacheBytes/2)
	if err != nil {
		return nil, err
	}
	return &Reader{o: o, files: fl, shards: shards, records: map[uint64]Record{}, ciphers: map[uint64]*wal.Cipher{}}, nil
}

// SetHeld names the log whose memory is asked first.
func (r *Reader) SetHeld(h Held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = h
}

// Set remembers the record of a segment, which must be stored already unless its
// layout is nil: what is remembered may be forgotten then.
func (r *Reader) Set(ordinal uint64, rec Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(ordinal, rec)
}

// set is Set with mu held.
func (r *Reader) set(ordinal uint64, rec Record) {
	if len(r.records) >= maxTable {
		for o, old := range r.records {
			if old.Layout != nil { // the metadata store has these
				delete(r.records, o)
				break
			}
		}
	}
	r.records[ordinal] = rec
}

// Get returns the record of a segment.
func (r *Reader) Get(ordinal uint64) (Record, error) {
	r.mu.RLock()
	rec, ok := r.records[ordinal]
	r.mu.RUnlock()
	if ok {
		return rec, nil
	}
	rec, err := r.o.Record(ordinal)
	if err != nil {
		return Record{}, fmt.Errorf("segment %d: %w", ordinal, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if newer, ok := r.records[ordinal]; ok { // Set while the old one was read
		return newer, nil
	}
	r.set(ordinal, rec)
	return rec, nil
}

func (r *Reader) cipher(ordinal uint64) (*wal.Cipher, error) {
	r.mu.RLock()
	c := r.ciphers[ordinal]
	r.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	rec, err := r.Get(ordinal)
	if err != nil {
		return nil, err
	}
	c, err = wal.NewCipher(r.o.Key, rec.ID)
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", ordinal, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ciphers) >= maxTable {
		for o := range r.ciphers {
			delete(r.ciphers, o)
			break
		}
	}
	r.ciphers[ordinal] = c
	return c, nil
}

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 80<<10); return &b }}

// ReadBlock returns the plaintext of the block at a, verified, appended to dst.
func (r *Reader) ReadBlock(ctx context.Context, dst []byte, a wal.Addr) ([]byte, error) {
	r.mu.RLock()
	held := r.held
	r.mu.RUnlock()
	if held != nil {
		b, err := held.ReadBlock(dst, a)
		if !errors.Is(err, wal.ErrNotHeld) {
			return b, err
		}
	}
	c, err := r.cipher(a.Segment)
	if err != nil {
		return nil, err
	}
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	if cap(*buf) < int(a.FrameBytes) {
		*buf = make([]byte, 0, a.FrameBytes)
	}
	frame := (*buf)[:a.FrameBytes]

	localErr := r.files.readAt(a.Segment, frame, int64(a.Offset))
	if localErr == nil {
		b, err := c.OpenBlock(dst, a, frame)
		if err == nil {
			return b, nil
		}
		localErr = err
		r.files.drop(a.Segment)
	}
	if !errors.Is(localErr, fs.ErrNotExist) {
		r.o.Log.WarnContext(ctx, "local copy of a segment is bad, reading from the nodes", "segment", a.Segment, "err", localErr)
	}
	rec, err := r.Get(a.Segment)
	if err != nil {
		return nil, err
	}
	if rec.Layout == nil {
		return nil, fmt.Errorf("segment %d is not on the nodes and not readable here: %w", a.Segment, localErr)
	}
	return r.readRemote(ctx, dst, a, rec, c, frame)
}

// readRemote reads a block through the shard cache, and once more past it when
// what the cache gave does not open.
func (r *Reader) readRemote(ctx context.Context, dst []byte, a wal.Addr, rec Record, c *wal.Cipher, frame []byte) ([]byte, error) {
	if end := int64(a.Offset) + int64(a.FrameBytes); end > rec.Layout.SizeBytes {
		return nil, fmt.Errorf("segment %d at %d: a block ends at %d of %d bytes: %w", a.Segment, a.Offset, end, rec.Layout.SizeBytes, wal.ErrCorrupt)
	}
	for _, useCache := range []bool{true, false} {
		if err := r.readFrame(ctx, frame, int64(a.Offset), rec.Layout, useCache); err != nil {
			return nil, fmt.Errorf("segment %d at %d: %w", a.Segment, a.Offset, err)
		}
		b, err := c.OpenBlock(dst, a, frame)
		if err == nil {
			return b, nil
		}
		if !useCache {
			return nil, fmt.Errorf("segment %d at %d: %w", a.Segment, a.Offset, err)
		}
	}
	panic("unreachable")
}

// readFrame copies the frame's bytes out of the one or two shards that hold it.
func (r *Reader) readFrame(ctx context.Context, frame []byte, off int64, l *erasure.Layout, useCache bool) error {
	for len(frame) > 0 {
		stripe, shard, in, shardBytes := l.Locate(off)
		n := min(int64(len(frame)), int64(shardBytes)-in)
		if err := r.readShardAt(ctx, frame[:n], l, stripe, shard, in, useCache); err != nil {
			return err
		}
		frame, off = frame[n:], off+n
	}
	return nil
}

func (r *Reader) readShardAt(ctx context.Context, b []byte, l *erasure.Layout, stripe, shard int, in int64, useCache bool) error {
	key := shardcache.Key{Object: [16]byte(l.Object), Stripe: uint32(stripe), Shard: uint8(shard)}
	if useCache {
		if ok := r.shards.ReadAt(key, b, in); ok {
			return nil
		}
	} else {
		r.shards.Drop(key)
	}
	// Readers of neighbouring blocks ask for the same shard at the same time.
	name := string(l.Object[:]) + strconv.Itoa(stripe) + "/" + strconv.Itoa(shard)
	body, err, _ := r.fetch.Do(name, func() (any, error) {
		// The read of one caller must not end with the interrupt of another.
		body, err := r.o.Pool.ReadShard(context.WithoutCancel(ctx), l, stripe, shard)
		if err == nil {
			r.shards.Put(key, body)
		}
		return body, err
	})
	if err != nil {
		return err
	}
	got := body.([]byte)
	if in+int64(len(b)) > int64(len(got)) {
		return fmt.Errorf("shard of %d bytes read at %d for %d: %w", len(got), in, len(b), erasure.ErrCorrupt)
	}
	copy(b, got[in:])
	return nil
}

// Retire moves the local file of a segment, which the nodes have and replay no
// longer needs, from the log to the cache.
func (r *Reader) Retire(ordinal uint64) error { return r.files.retire(ordinal) }

// CachedBytes is how much the cached segments take on the disk.
func (r *Reader) CachedBytes() int64 {
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	return r.files.bytes
}

// Shrink gives n bytes of the cache back to the disk.
func (r *Reader) Shrink(n int64) { r.files.shrink(n) }

// Close closes the local copies.
func (r *Reader) Close() error {
	r.files.close()
	return r.shards.Close()
}
