package server

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A peer is one client: all connections from one place: one IPv4 address, one /64 network of
// IPv6 (what one customer is given), or one user of the unix socket.
type peer struct {
	conns int // guarded by peers.mu

	requests bucket
	bytes    bucket // received and sent
}

type peerID struct {
	network netip.Addr
	user    int64 // see socketUser
}

// peers are those with a connection, and those that have not yet worked off what they
// took: who connects anew begins where he left off.
type peers struct {
	opts *Options

	mu   sync.Mutex
	byID map[peerID]*peer
	tidy int // the number of clients at which those that are done with are forgotten
}

const minTidyPeers = 64

func newPeers(o *Options) *peers {
	return &peers{opts: o, byID: make(map[peerID]*peer), tidy: minTidyPeers}
}

// admit counts one more connection of a client; nil when it has as many as it may have.
func (cs *peers) admit(id peerID) *peer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.byID[id]
	if c == nil {
		cs.forget()
		c = &peer{requests: newBucket(cs.opts.RequestsPerSecond), bytes: newBucket(cs.opts.BytesPerSecond)}
		cs.byID[id] = c
	}
	if most := cs.opts.MaxConnectionsPerClient; most > 0 && c.conns >= most {
		return nil
	}
	c.conns++
	return c
}

func (cs *peers) leave(c *peer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.conns--
}

// forget drops the clients that are done with; its cost is shared by those that came
// since the last time.
func (cs *peers) forget() {
	if len(cs.byID) < cs.tidy {
		return
	}
	now := time.Now()
	for id, c := range cs.byID {
		if c.conns == 0 && c.requests.full(now) && c.bytes.full(now) {
			delete(cs.byID, id)
		}
	}
	cs.tidy = max(minTidyPeers, 2*len(cs.byID))
}

// peerOf says whose a connection is. What it can't tell apart is one client.
func peerOf(nc net.Conn) peerID {
	if outer, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = outer.NetConn()
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		addr := a.AddrPort().Addr().Unmap().WithZone("")
		if addr.Is6() && !addr.IsLoopback() {
			if p, err := addr.Prefix(64); err == nil {
				addr = p.Addr()
			}
		}
		return peerID{network: addr}
	}
	if local, ok := nc.(*net.UnixConn); ok {
		if raw, err := local.SyscallConn(); err == nil {
			return peerID{user: socketUser(raw)}
		}
	}
	return peerID{}
}

// socketUser is who is at the other end of a unix socket, plus 1; 0 when that can't be told.
func socketUser(raw syscall.RawConn) (user int64) {
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			user = int64(cred.Uid) + 1
		}
	})
	return user
}

// bucket is a token bucket that may go into debt: what a request takes is known only when
// it is there. One second's worth may be taken at once. The zero value has no limit.
type bucket struct {
	perSecond float64

	mu    sync.Mutex
	level float64
	at    time.Time // when level was right
}

func newBucket(perSecond float64) bucket {
	return bucket{perSecond: perSecond, level: max(perSecond, 1)}
}

// take takes n, and says how long it takes until nothing is owed.
func (b *bucket) take(n float64) time.Duration {
	if b.perSecond <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(time.Now())
	b.level -= n
	if b.level >= 0 {
		return 0
	}
	const longest = 24 * time.Hour // a Duration ends at 292 years
	if seconds := -b.level / b.perSecond; seconds < longest.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return longest
}

func (b *bucket) refill(now time.Time) {
	if !b.at.IsZero() {
		b.level = min(b.level+now.Sub(b.at).Seconds()*b.perSecond, max(b.perSecond, 1))
	}
	b.at = now
}

func (b *bucket) full(now time.Time) bool {
	if b.perSecond <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.level >= max(b.perSecond, 1)
}

// pace charges the client for a request that has been executed and makes this connection
// wait until nothing is owed. It holds no memory of the budget meanwhile, so the others
// have it.
func (c *conn) pace(receivedBytes int64) {
	wait := max(c.peer.requests.take(1), c.peer.bytes.take(float64(receivedBytes)))
	if wait <= 0 {
		return
	}
	c.srv.measures.paced()
	c.out.flush()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.untilDrain.Done():
	}
}
