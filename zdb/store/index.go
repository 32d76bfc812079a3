package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
)

// errIndexDamaged means the index can't be trusted; it is then built anew.
var errIndexDamaged = errors.New("zdb: index damaged")

const (
	prefixKey       = 'k'
	prefixOrder     = 's'
	prefixStale     = 'o'
	prefixLive      = 'f'
	prefixCondemned = 'x'
	keyMeta         = "m"
)

// index is the derived map from key to the place of its record.
type index struct {
	db *pebble.DB
	fs *indexFS
}

func openIndex(base vfs.FS, dir string, caches *Caches, log *slog.Logger, onFail func(error), onDamage func(error)) (*index, error) {
	ifs := newIndexFS(base, log, onFail)
	opts := &pebble.Options{
		FS:                          ifs,
		Cache:                       caches.blocks,
		FileCache:                   caches.tables,
		DisableWAL:                  true,
		DisableTableStats:           true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       4,
		MaxManifestFileSize:         1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		Logger:                      indexLog{log},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				if !errors.Is(err, errEnding) {
					onDamage(err)
				}
			},
			DataCorruption: func(info pebble.DataCorruptionInfo) { onDamage(info.Details) },
		},
	}
	opts.TargetFileSizes[0] = tableBytes // and twice that for each level below
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Places and checksums do not get shorter, and the work would be on the way of each write.
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	return &index{db: db, fs: ifs}, nil
}

// isDiskTrouble tells errors of the disk or the process from a damaged index,
// which is to be built anew.
func isDiskTrouble(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, syscall.EPERM, syscall.EROFS,
		syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (ix *index) close() error {
	ix.fs.stopWaiting()
	ix.fs.endCompactions()
	return ix.db.Close()
}

// asDamage marks what pebble calls corruption, and a table that is gone, as ours.
func asDamage(err error) error {
	if err == nil || errors.Is(err, errIndexDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", errIndexDamaged, err)
}

type reader interface {
	Get(key []byte) ([]byte, io.Closer, error)
}

func indexKey(dst, key []byte) []byte { return append(append(dst, prefixKey), key...) }

func orderKey(dst []byte, order uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefixOrder), order)
}

// stalePrefix is what the entries of a key's stale records have in common. The length keeps
// the keys that begin with this one apart.
func stalePrefix(dst, key []byte) []byte {
	return append(append(dst, prefixStale, byte(len(key))), key...)
}

func staleKey(dst, key []byte, sequence uint64, file fileID) []byte {
	dst = binary.BigEndian.AppendUint64(stalePrefix(dst, key), sequence)
	return binary.BigEndian.AppendUint32(dst, uint32(file))
}

const staleKeyBytes = 2 + 255 + 12

func fileKey(dst []byte, prefix byte, file fileID) []byte {
	return binary.BigEndian.AppendUint32(append(dst, prefix), uint32(file))
}

func prefixRange(prefix byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}}
}

// find looks a key up in the index or in a batch over it; what it finds may be a delete marker.
func find(r reader, key []byte) (e entry, ok bool, err error) {
	var buf [1 + 255]byte
	v, closer, err := r.Get(indexKey(buf[:0], key))
	if errors.Is(err, pebble.ErrNotFound) {
		return entry{}, false, nil
	}
	if err != nil {
		return entry{}, false, asDamage(err)
	}
	e, err = decodeEntry(v)
	closer.Close()
	return e, err == nil, err
}

// finder looks many keys up that are likely not there. Unlike pebble's Get it asks the filters of
// the last level too, where nearly all keys are: with more keys than the cache holds, each key that
// is new would read a block of it. To make one costs as much as some lookups.
type finder struct {
	it  *pebble.Iterator
	err error
	key []byte
}

// finderWrites is the size of a batch from which a finder pays.
const finderWrites = 8

func (ix *index) newFinder() *finder {
	o := prefixRange(prefixKey)
	o.UseL6Filters = true
	it, err := ix.db.NewIter(o)
	return &finder{it: it, err: err}
}

func (f *finder) find(key []byte) (e entry, ok bool, err error) {
	if f.err != nil {
		return entry{}, false, asDamage(f.err)
	}
	f.key = indexKey(f.key[:0], key)
	if !f.it.SeekPrefixGE(f.key) {
		return entry{}, false, asDamage(f.it.Error())
	}
	e, err = decodeEntry(f.it.Value())
	return e, err == nil, err
}

func (f *finder) close() {
	if f.it != nil {
		f.it.Close()
	}
}

func (ix *index) meta() (m meta, ok bool, err error) {
	v, closer, err := ix.db.Get([]byte(keyMeta))
	if errors.Is(err, pebble.ErrNotFound) {
		return meta{}, false, nil
	}
	if err != nil {
		return meta{}, false, asDamage(err)
	}
	m, err = decodeMeta(v)
	closer.Close()
	return m, err == nil, err
}

func (ix *index) sizeBytes() int64 { return int64(ix.db.Metrics().DiskSpaceUsage()) }

// indexLog hands pebble's own messages to our log. Fatalf is met only on a bug:
// indexFS keeps write errors from pebble, and corruption has its event.
type indexLog struct{ log *slog.Logger }

func (l indexLog) Infof(string, ...any) {}

func (l indexLog) Errorf(format string, args ...any) {
	l.log.Warn("index", "err", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l indexLog) Fatalf(format string, args ...any) {
	panic("zdb store index: " + fmt.Sprintf(format, args...))
}

// scanHeadBytes is what is ahead of the key in an entry of the order: all that a scan tells of it,
// so that it need not look each key up.
const scanHeadBytes = 12

func appendScanItem(dst, key []byte, e *entry) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, e.ValueBytes)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.UnixTime))
	return append(dst, key...)
}

// decodeScanItem gives a part of b as the key.
func decodeScanItem(b []byte) (key []byte, info Info, err error) {
	if len(b) <= scanHeadBytes || len(b) > scanHeadBytes+zdb.MaxKeyBytes || binary.LittleEndian.Uint32(b) > zdb.MaxValueBytes {
		return nil, Info{}, fmt.Errorf("order entry: %w", errIndexDamaged)
	}
	info = Info{ValueBytes: int(binary.LittleEndian.Uint32(b)), UnixTime: int64(binary.LittleEndian.Uint64(b[4:]))}
	return b[scanHeadBytes:], info, nil
}

func parseOrderKey(k []byte) (uint64, error) {
	if len(k) != 9 || k[0] != prefixOrder {
		return 0, fmt.Errorf("order key: %w", errIndexDamaged)
	}
	return binary.BigEndian.Uint64(k[1:]), nil
}
