package store

import (
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// room is what the disk has left for values: what is free but a reserve for deletes, the
// index and compaction. The disk is asked seldom, because that costs as much as a small write:
// again after roomAge, after a part of what was free has been written, and always before
// a write is refused.
type room struct {
	fs           vfs.FS
	dir          string
	reserveBytes int64 // 0: defaultReserveBytes or 1/64 of the disk, whichever is less
	now          func() time.Time

	mu    sync.Mutex
	free  int64 // as far as known; negative: the reserve is used
	asked time.Time
	until int64 // ask again when free is less
}

const (
	roomAge   = time.Second
	roomPart  = 16
	roomBytes = 64 << 20
)

// fits says whether values may take so many bytes more.
func (r *room) fits(sizeBytes int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if since := now.Sub(r.asked); r.free-sizeBytes < r.until || since < 0 || since > roomAge {
		r.ask(now)
	}
	return sizeBytes <= r.free
}

// ask is called with mu held.
func (r *room) ask(now time.Time) {
	r.free, _ = r.measure()
	r.until = r.free - min(roomBytes, max(0, r.free)/roomPart)
	r.asked = now
}

// measure asks the disk; it gives the reserve too.
func (r *room) measure() (free, reserve int64) {
	usage, err := r.fs.GetDiskUsage(r.dir)
	if err != nil { // not known, so the write itself has to tell
		return math.MaxInt64 / 2, 0
	}
	if reserve = r.reserveBytes; reserve <= 0 {
		reserve = min(defaultReserveBytes, int64(usage.TotalBytes/64))
	}
	return int64(usage.AvailBytes) - reserve, reserve
}

// took notes what was written.
func (r *room) took(sizeBytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free -= sizeBytes
}

// isShort says whether so little is left that it is time to make more.
func (r *room) isShort() bool {
	free, _ := r.measure()
	return free < shortBytes
}

// fitsMove says whether compaction may take so many bytes: half of the reserve is for it.
func (r *room) fitsMove(sizeBytes int64) bool {
	free, reserve := r.measure()
	return sizeBytes <= free+reserve/2
}
