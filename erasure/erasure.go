// Package erasure keeps objects on storage nodes: cut into stripes, erasure coded,
// encrypted, spread, written at a quorum, read back verified, whatever m of the
// nodes do.
//
// # Object
//
// An object is a byte string under an [ObjectID]: a segment of the log, a file of
// the metadata store. It is cut into stripes of k times ShardBytes bytes. A stripe
// is k data shards and m parity shards (Reed-Solomon over GF(2^8), systematic, the
// default matrix of klauspost/reedsolomon). Data shard j of stripe i holds the
// object's bytes from (i*k+j)*ShardBytes on. The shards of the last stripe hold
// ceil(rest/k) bytes, rounded up to 256 and at least 256, zeros behind the end; an
// empty object has one such stripe. What a shard looks like on a node is specified
// in package erasure/shard.
//
// # Layout
//
// A [Layout] says where an object is: shard j of stripe i lies on
// Nodes[(i+j) % (k+m)], so that data and parity, and so reads and writes, spread
// evenly. Nodes are distinct. [Pool.Put] takes those with the highest rendezvous
// score (SHA-256 of object id and node id) among the members that are up and have
// space, spread over failure groups as evenly as they allow; this choice is not
// part of any format. Encoded, a layout is (integers little endian):
//
//	offset  size  field
//	     0     4  magic "QLAY"
//	     4     1  version, 1
//	     5     1  data shards, k
//	     6     1  parity shards, m
//	     7     1  flags; bit 0: sums are present
//	     8     4  ShardBytes
//	    12     8  bytes of the object
//	    20    16  object id
//	    36    2n  the n = k+m nodes; 65535 is none
//	     -   16s  sums of the s stripes, if flagged
//	     -     4  count of missing shards
//	     -    5c  missing shards: stripe (4), shard (1), strictly ascending
//
// # Invariants
//
//   - An object id names one byte string for ever. Putting it again, after a crash,
//     is putting the same bytes. Should a node have a shard of other bytes all the
//     same, the sum in its header keeps it from being mixed in.
//   - A read gives the bytes that were put, or an error. Each shard is verified by
//     itself; one that is wrong counts as missing.
//   - Put succeeds only when each stripe has k shards or more on distinct nodes. The
//     shards that could not be written are listed in Layout.Missing: debts, that
//     [Pool.Fill] pays when their nodes are back.
//   - A node that is down costs nothing: it is left out until a probe in the
//     background finds it up. A node that hangs costs a write at most RequestTimeout,
//     once; a read waits for it no longer than the hedge delay.
//   - Memory: writes (Put, Fill) hold MaxInflightBytes of encoded stripes; reads hold at
//     most 8 values a node, plus what their callers asked for. Nothing is retried
//     without a bound.
//
// Reads hedge as in Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): when a
// node is slower than its 95th percentile, the rest of the stripe is asked too.
package erasure

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

var (
	// ErrTooFewNodes means a stripe could not be stored on k nodes. Try again when
	// more nodes are up.
	ErrTooFewNodes = errors.New("erasure: too few nodes")
	// ErrNoSpace means a stripe could not be stored on k nodes because nodes are full.
	ErrNoSpace = errors.New("erasure: no space on the nodes")
	// ErrUnavailable means fewer than k shards of a stripe can be had now; the rest may
	// come back with their nodes.
	ErrUnavailable = errors.New("erasure: too few shards reachable")
	// ErrCorrupt means fewer than k good shards of a stripe are left, also when all
	// unreachable nodes were to come back with theirs.
	ErrCorrupt = errors.New("erasure: too few good shards left")
	// ErrNotFound means the nodes answered that they have no such object. Together
	// with ErrCorrupt: the shards of a stripe are absent rather than damaged.
	ErrNotFound = errors.New("erasure: object not found")
	// ErrInvalid means an argument, a geometry or an encoded layout that cannot be.
	ErrInvalid = errors.New("erasure: invalid")
	// ErrTooNew means a layout of a format newer than this program.
	ErrTooNew = errors.New("erasure: format newer than this program")
	// ErrNodeDown means a node was not asked, because it failed of late.
	ErrNodeDown = errors.New("erasure: node is down")
	// ErrClosed means the pool was closed.
	ErrClosed = errors.New("erasure: pool is closed")
)

// NodeID names a node in a volume. It is never given to another node.
type NodeID uint16

// NoNode stands in a layout for a node that is not known.
const NoNode NodeID = 0xffff

// ObjectID names the bytes of an object, for ever.
type ObjectID [16]byte

// String returns the id in hexadecimal.
func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// Node is what erasure needs of a storage node. Calls are safe for concurrent use
// and return soon after their context ends. Get and Del return an error that is
// zdb.ErrNotFound for a key that is not there. The bytes that Get returns belong to
// the caller; Set does not use value after it returned nil.
type Node interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Set(ctx context.Context, key, value []byte) error
	Del(ctx context.Context, key []byte) error
}

// Spacer is a Node that can say how full it is.
type Spacer interface {
	Space(ctx context.Context) (zdb.Space, error)
}

// Pinger is a Node that can be asked whether it is there. Other nodes are probed
// by a Get.
type Pinger interface {
	Ping(ctx context.Context) error
}

// Exister is a Node that can say whether a key is there without sending the value.
type Exister interface {
	Exists(ctx context.Context, key []byte) (bool, error)
}

// Keys are the secrets of a volume that shards are named and sealed with.
type Keys struct{ Name, Shard [32]byte }

// Member is a node of a pool.
type Member struct {
	ID    NodeID
	Name  string // for messages: the node's URL
	Group string // failure group; empty is a group of its own
	Node  Node
}

// PoolOptions says what a pool works with. Members and Keys are needed.
type PoolOptions struct {
	Members []Member
	Keys    Keys

	// Geometry is what the objects of this pool have at least of Data: Find needs it
	// to tell an object that does not exist while nodes are down. The zero value
	// makes Find wait for all nodes. Only Data is used.
	Geometry Geometry

	RequestTimeout   time.Duration // of one request to a node; 0 means 10s
	HedgeFloor       time.Duration // least wait before the rest of a stripe is asked; 0 means 50ms
	MaxInflightBytes int64         // of encoded stripes being written; 0 means 64 MiB

	Clock Clock        // nil means the machine's
	Rand  io.Reader    // of salts; nil means crypto/rand
	Log   *slog.Logger // nil means none

	// OnBadShard, if set, is told of every shard found corrupt or absent that the
	// layout does not list as missing, so that the owner can list it and have it
	// filled. It is called while the read runs; it must be quick, must not call the
	// pool and must not change the layout. err is shard.ErrCorrupt or zdb.ErrNotFound.
	OnBadShard func(l *Layout, ref ShardRef, err error)
}

// Clock is the time that a pool lives by.
type Clock interface {
	Now() time.Time
	// NewTimer returns a channel that receives once after d, and what stops it.
	NewTimer(d time.Duration) (fired <-chan time.Time, stop func() bool)
	// WithTimeout is context.WithTimeout by this clock.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// wallClock is package time; under testing/synctest that is the bubble's time.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) NewTimer(d time.Duration) (<-chan time.Time, func() bool) {
	t := time.NewTimer(d)
	return t.C, t.Stop
}

func (wallClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
