package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
	"golang.org/x/sys/unix"
)

// SyncMode says when a write is answered.
type SyncMode int

const (
	// SyncGroup answers after an fdatasync that all waiting writes share.
	SyncGroup SyncMode = iota
	// SyncAlways answers each write after an fdatasync of its own.
	SyncAlways
	// SyncNone answers at once; a power cut may lose the last writes.
	SyncNone
)

// Options of a server. Only DataDir is needed.
type Options struct {
	DataDir       string
	AdminPassword string // empty: every connection is an administrator
	Protect       bool   // the default namespace is written with the admin password only
	Sync          SyncMode
	Mode          Mode
	MaxBytes      int64 // limit of the default namespace and of new ones; 0 means none

	MaxConnections int           // 0 means 1024
	MaxOpenStores  int           // 0 means 16
	MemoryBytes    int64         // requests and replies in flight; 0 means 128 MiB
	CacheBytes     int64         // what the indexes of the stores share, see store.Caches; 0 means 64 MiB
	FileBytes      int64         // a data file is ended at this size; 0 means what package store does
	Timeout        time.Duration // without progress inside of a request or a reply; 0 means 30s
	Version        string        // server_revision of INFO
	Log            *slog.Logger

	// Limits, of one client where it says so: see the type peer. 0 means none.
	MaxConnectionsPerClient int
	RequestsPerSecond       float64       // of a client; who sends more waits
	BytesPerSecond          float64       // of a client, both ways together
	MaxRequestBytes         int64         // arguments of one request together; 0 means resp.MaxRequestBytes
	IdleTimeout             time.Duration // without a request
	HandshakeTimeout        time.Duration // TLS; 0 means 10s

	Metrics bool // measure for Monitor

	SealKey []byte // 32 bytes that seal the namespaces' passwords; nil means the key that the data directory keeps

	Hook        string        // program that is told what happens; empty means none
	InstanceID  string        // what hooks know this server by: tcp://HOST:PORT or unix://PATH
	HookTimeout time.Duration // a hook is killed after this; 0 means 10 minutes. "ready" and "close" are waited for a minute at most

	fs  vfs.FS           // of the stores, for tests
	now func() time.Time // of the stores, for tests
}

// Server serves the namespaces of one data directory.
type Server struct {
	opts   Options
	lock   *os.File
	spaces *namespaces
	budget *resp.Budget
	hooks  *hooks
	waits  waits
	stats  stats
	boot   time.Time

	caches   *store.Caches
	peers    *peers
	measures *measures // nil without Options.Metrics

	readyOnce sync.Once
	readyErr  error

	ctx    context.Context // ends when open connections are to be cut
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	closing   bool
	wg        sync.WaitGroup
}

type stats struct {
	clients, executed, failed, unauthorized atomic.Int64
	rxBytes, txBytes                        atomic.Int64
	readBytes, writeBytes                   atomic.Int64
	readFailed, writeFailed                 atomic.Int64
}

// Open opens the data directory, creating it when needed. It is zdb.ErrLocked when
// another server has it.
func Open(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1024
	}
	if o.MaxOpenStores <= 0 {
		o.MaxOpenStores = 16
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = 128 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 10 * time.Second
	}
	if o.Protect && o.AdminPassword == "" {
		return nil, errors.New("protected mode needs an admin password")
	}
	if len(o.AdminPassword) > zdb.MaxPasswordBytes {
		return nil, fmt.Errorf("admin password is longer than %d bytes", zdb.MaxPasswordBytes)
	}
	lock, err := lockDir(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", o.DataDir, err)
	}
	s := &Server{
		opts: o, lock: lock, budget: resp.NewBudget(o.MemoryBytes), boot: time.Now(),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}),
	}
	s.peers = newPeers(&s.opts)
	if o.Metrics {
		s.measures = newMeasures()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", o.DataDir, errors.Join(err, s.unlock()))
	}
	return s, nil
}

func (s *Server) open() error {
	key := s.opts.SealKey
	if key == nil {
		var err error
		if key, err = keptSealKey(s.opts.DataDir); err != nil {
			return err
		}
	}
	sealer, err := newSealer(key)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.opts.DataDir, namespacesDir)
	s.hooks = newHooks(&s.opts)
	s.hooks.start("namespaces-init", dir, dir)
	s.caches = store.NewCaches(s.opts.CacheBytes, openTables)
	if s.spaces, err = openNamespaces(dir, &s.opts, s.caches, sealer, s.hooks); err != nil {
		s.caches.Close()
		s.hooks.end(context.Background())
	}
	return err
}

// openTables is how many tables of indexes are open at a time.
const openTables = 256

func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, zdb.ErrLocked
		}
		return nil, err
	}
	return f, nil
}

// unlock does not leave it to the close: a program being started at this moment has a
// copy of the file for as long as it takes, which would keep the lock.
func (s *Server) unlock() error {
	return errors.Join(unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
}

// Serve accepts connections until the listener or the server is closed. It closes
// the listener and returns nil after Close, else the error; that of Ready too.
func (s *Server) Serve(l net.Listener) error {
	if err := s.Ready(s.ctx); err != nil {
		l.Close()
		if s.isClosing() {
			return nil
		}
		return err
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		l.Close()
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		if err != nil {
			if s.isClosing() {
				return nil
			}
			if !isTemporary(err) {
				return fmt.Errorf("accept: %w", err)
			}
			// Out of file descriptors or memory: others still have to be served.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.opts.Log.Warn("accept failed, trying again", "err", err, "delay", delay)
			select {
			case <-time.After(delay):
			case <-s.ctx.Done():
			}
			continue
		}
		delay = 0
		s.start(nc)
	}
}

func isTemporary(err error) bool {
	for _, e := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

const textTooManyClients = "Too many clients"

// start serves a connection, or says why not.
func (s *Server) start(nc net.Conn) {
	s.stats.clients.Add(1)
	id := peerOf(nc)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		rawConn(nc).Close()
		return
	}
	var owner *peer
	full := len(s.conns) >= s.opts.MaxConnections
	if !full {
		owner = s.peers.admit(id)
	}
	if owner == nil {
		s.mu.Unlock()
		s.measures.refusedConnection(full)
		refuse(nc, resp.AppendError(nil, textTooManyClients))
		return
	}
	c := newConn(s, nc, owner)
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		if err := c.handshake(); err == nil {
			c.serve(s.ctx)
		} else {
			s.measures.refusedHandshake()
			s.opts.Log.Debug("TLS handshake", "from", nc.RemoteAddr().String(), "err", err)
			rawConn(nc).Close()
		}
		c.endPauses()
		s.peers.leave(owner)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// Close takes no more connections, answers the requests that have been received
// wholly, until ctx ends, and closes the stores.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.mu.Lock()
		for c := range s.conns {
			rawConn(c.nc).Close() // TLS would first say good-bye, and wait for that
		}
		s.mu.Unlock()
		s.cancel()
		<-done
	}
	s.cancel()
	s.hooks.wait(ctx, "close")
	s.spaces.closing()
	err := s.spaces.close()
	s.caches.Close()
	s.hooks.end(ctx)
	return errors.Join(err, s.unlock())
}
