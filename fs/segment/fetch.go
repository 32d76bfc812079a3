package segment

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/wal"
)

// fetchStepBytes is how much of a segment is asked for at a time.
const fetchStepBytes = 4 << 20

// Objects reads whole objects from the nodes.
type Objects interface {
	ReadAt(ctx context.Context, l *erasure.Layout, b []byte, off int64) error
}

// Fetch brings a whole segment into the cache. It does nothing, and says so,
// when the cache has no room for it.
func (r *Reader) Fetch(ctx context.Context, ordinal uint64, from Objects) (sizeBytes int64, room bool, err error) {
	rec, err := r.Get(ordinal)
	if err != nil {
		return 0, false, err
	}
	if of, err := r.files.acquire(ordinal); err == nil {
		r.files.release(of)
		return rec.SizeBytes, true, nil
	}
	if rec.Layout == nil {
		return 0, false, fmt.Errorf("segment %d is not on the nodes", ordinal)
	}
	if !r.files.fits(rec.SizeBytes) {
		return 0, false, nil
	}
	path := wal.Path(r.files.cacheDir, ordinal)
	tmp := path + tmpSuffix
	disk := r.files.disk
	f, err := disk.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, false, err
	}
	defer disk.Remove(tmp) // gone already when all went well
	b := make([]byte, min(rec.SizeBytes, fetchStepBytes))
	for off := int64(0); off < rec.SizeBytes && err == nil; off += int64(len(b)) {
		b = b[:min(int64(len(b)), rec.SizeBytes-off)]
		if err = from.ReadAt(ctx, rec.Layout, b, off); err == nil {
			_, err = f.Write(b)
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = disk.Rename(tmp, path)
	}
	if err != nil {
		return 0, false, err
	}
	r.files.addCached(ordinal, rec.SizeBytes)
	return rec.SizeBytes, true, nil
}
