package fs

import (
	"context"
	"sync"
	"time"

	"github.com/qsfs/qsfs/fs/meta"
)

// orphans counts how often the kernel knows each inode, so that one without a
// name is kept until nothing refers to it: an open file has a name in the
// kernel's sense as long as it is open. The table is as large as the kernel's
// own cache of inodes.
type orphans struct {
	mu       sync.Mutex
	lookups  map[meta.Ino]uint64
	nameless map[meta.Ino]struct{}
	ready    chan struct{} // something may be reclaimed
	free     []meta.Ino
}

func (o *orphans) init() {
	o.lookups = map[meta.Ino]uint64{}
	o.nameless = map[meta.Ino]struct{}{}
	o.ready = make(chan struct{}, 1)
}

// looked takes note that the kernel was told of an inode once more.
func (o *orphans) looked(ino meta.Ino) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lookups[ino]++
}

// forget takes n of them back.
func (o *orphans) forget(ino meta.Ino, n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if left := o.lookups[ino]; left > n {
		o.lookups[ino] = left - n
		return
	}
	delete(o.lookups, ino)
	if _, ok := o.nameless[ino]; ok {
		o.release(ino)
	}
}

// add takes in an inode that has no name any more.
func (o *orphans) add(ino meta.Ino) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nameless[ino] = struct{}{}
	if o.lookups[ino] == 0 {
		o.release(ino)
	}
}

// named takes back an inode that got a name again.
func (o *orphans) named(ino meta.Ino) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.nameless, ino)
}

// release queues an inode to be reclaimed. mu is held.
func (o *orphans) release(ino meta.Ino) {
	delete(o.nameless, ino)
	o.free = append(o.free, ino)
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *orphans) take() []meta.Ino {
	o.mu.Lock()
	defer o.mu.Unlock()
	free := o.free
	o.free = nil
	return free
}

// putBack queues again what could not be reclaimed.
func (o *orphans) putBack(ino meta.Ino) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.free = append(o.free, ino)
}

// reclaimRetry is how often it is tried again.
const reclaimRetry = 10 * time.Second

// reclaimLoop removes the data of inodes that nothing refers to.
func (v *Volume) reclaimLoop(ctx context.Context) {
	retry := time.NewTicker(reclaimRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.orphans.ready:
		case <-retry.C:
		}
		for _, ino := range v.orphans.take() {
			if ctx.Err() != nil || v.writable() != nil {
				return // the next mount goes on
			}
			if n := v.inodes.find(ino); n != nil {
				n.mu.Lock()
				v.discard(n)
				n.mu.Unlock()
				v.inodes.put(n)
			}
			if err := v.store.Reclaim(ino); err != nil {
				v.o.Log.WarnContext(ctx, "unlinked inode not reclaimed yet", "inode", ino, "err", err)
				v.orphans.putBack(ino)
			}
		}
	}
}
