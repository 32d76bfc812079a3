package fs

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/identity/keys"
)

// NodeConfig is one storage node of a volume.
type NodeConfig struct {
	ID    erasure.NodeID
	URL   string
	Group string
	// Password of the namespace; secret, kept in the superblock only.
	Password string
}

// embedded reports whether the node is a store inside this process, which locks
// its folder, so that no second writer can reach it.
func (n NodeConfig) embedded() bool { return strings.HasPrefix(n.URL, "dir:") }

// Config is what a volume is made of.
type Config struct {
	Name         string
	Data, Parity int
	Nodes        []NodeConfig
}

func (c Config) validate() error {
	switch {
	case c.Data < 1 || c.Parity < 0 || c.Data+c.Parity > 255:
		return fmt.Errorf("%d data and %d parity shards: at least 1 and 0, at most 255 together", c.Data, c.Parity)
	case len(c.Nodes) < c.Data+c.Parity:
		return withHint(fmt.Errorf("%w: %d nodes, %d needed for %d+%d", ErrTooFewNodes, len(c.Nodes), c.Data+c.Parity, c.Data, c.Parity),
			"name more nodes, or choose smaller --data and --parity")
	}
	seen := map[string]bool{}
	for _, n := range c.Nodes {
		if seen[n.URL] {
			return withHint(fmt.Errorf("node %s is named twice", n.URL), "each shard of a stripe needs a node of its own")
		}
		seen[n.URL] = true
	}
	return nil
}

// Dialer connects to a node. The connection may implement io.Closer,
// erasure.Pinger and erasure.Spacer.
type Dialer func(ctx context.Context, n NodeConfig) (erasure.Node, error)

// Durability is what fsync waits for.
type Durability string

// Levels of durability.
const (
	Local Durability = "local" // the log is on the local disk
	Grid  Durability = "grid"  // the stripes are on the nodes at write quorum
)

// Options says how a volume is opened. StateDir, CacheDir, Keys and Dial are
// needed; the rest has defaults.
type Options struct {
	StateDir string // of this volume
	CacheDir string // of this volume
	Keys     *keys.Volume
	Dial     Dialer

	// Disk is the local disk; nil means the machine's.
	Disk vfs.FS

	CacheBytes     int64         // local copies of what the nodes have; 0 means a tenth of the free disk, at most 20 GiB
	MemoryBytes    int64         // dirty data, block cache, metadata cache; 0 means 512 MiB
	MaxStagedBytes int64         // log not yet on the nodes, beyond which writers wait; 0 means a quarter of the free disk, at most 16 GiB
	UploadDelay    time.Duration // a write is on its way to the nodes at the latest after this; 0 means 10s
	Durability     Durability    // "" means Local
	HolderName     string        // shown to a second writer; "" means host and process
	Steal          bool          // take the volume from a live writer
	StallTimeout   time.Duration // how long a write waits for room or nodes before EIO or ENOSPC; 0 means 60s
	LeaseTTL       time.Duration // 0 means 30s
	Log            *slog.Logger
	// Waiting is told that a silent writer's lease is being waited for.
	Waiting func(holder string, atMost time.Duration)
}

func (o Options) disk() disk { return disk{o.Disk} }

func (o Options) withDefaults() Options {
	if o.Disk == nil {
		o.Disk = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 512 << 20
	}
	if o.UploadDelay == 0 {
		o.UploadDelay = 10 * time.Second
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = time.Minute
	}
	if o.Durability == "" {
		o.Durability = Local
	}
	if o.HolderName == "" {
		host, _ := os.Hostname()
		o.HolderName = fmt.Sprintf("%s (process %d)", host, os.Getpid())
	}
	free := o.disk().freeBytes(o.disk().existingParent(o.StateDir))
	if o.CacheBytes == 0 {
		o.CacheBytes = min(free/10, 20<<30)
	}
	if o.MaxStagedBytes == 0 {
		o.MaxStagedBytes = max(min(free/4, 16<<30), 64<<20)
	}
	return o
}

// entropy is the source of all random bytes of a volume.
var entropy = rand.Reader

// existingParent is the nearest folder at or above dir that exists.
func (d disk) existingParent(dir string) string {
	for {
		if d.exists(dir) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
