package fs

import (
	"net/url"
	"sync"
)

// sameDiskBytes: two nodes of one host that tell free space this close share a disk.
const sameDiskBytes = 256 << 20

// disks guesses which nodes share a disk, since the 0-db protocol does not
// tell: counted twice, the free space of one disk would be shown twice.
type disks struct {
	mu   sync.Mutex
	of   map[string]string // the disk of each node, named for the first node found on it
	free map[string]int64  // last told for each disk
}

// guess names the disk of a node from the free space it tells.
func (d *disks) guess(nodeURL string, freeBytes int64) string {
	u, err := url.Parse(nodeURL)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	prefix := u.Hostname() + " "
	if disk, ok := d.of[nodeURL]; ok && near(d.free[disk], freeBytes) {
		d.free[disk] = freeBytes
		return disk
	}
	for disk, free := range d.free {
		if len(disk) > len(prefix) && disk[:len(prefix)] == prefix && near(free, freeBytes) {
			d.of[nodeURL], d.free[disk] = disk, freeBytes
			return disk
		}
	}
	disk := prefix + nodeURL
	d.of[nodeURL], d.free[disk] = disk, freeBytes
	return disk
}

func near(a, b int64) bool { return max(a, b)-min(a, b) < sameDiskBytes }
