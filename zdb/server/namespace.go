package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

// namespace is one namespace. Its settings are exchanged as a whole.
type namespace struct {
	name     string
	dir      string
	settings atomic.Pointer[settings]
	removed  atomic.Bool

	// changing is held by what changes, reloads or removes it. Lock order: changing,
	// then opening, then namespaces.mu.
	changing sync.Mutex

	// namespaces.mu guards users, used and alone.
	users int    // who is at the store now
	used  uint64 // when it was last used, by namespaces.clock
	alone bool   // somebody has it to himself, others wait

	// The store is opened when first used and closed when others need the place.
	// opening guards store and what is known of stores that were closed since.
	opening sync.Mutex
	store   *store.Store
	opened  bool
	dirty   map[uint32]struct{}
}

// settings are the descriptor and what it means in this run.
type settings struct {
	descriptor
	password string // in clear, in memory only; empty when there is none or it can't be opened
}

// protected says whether there is a password.
func (s *settings) protected() bool { return s.password != "" || len(s.SealedPassword) > 0 }

// shut says that the password can't be opened: nobody is let in until it is set anew.
func (s *settings) shut() bool { return s.password == "" && len(s.SealedPassword) > 0 }

func (ns *namespace) storeDir() string { return filepath.Join(ns.dir, "store") }

// dirName is the folder of a namespace. Two names never share one.
func dirName(name string) string {
	plain := len(name) <= 100
	for _, c := range []byte(name) {
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if plain {
		return "n-" + name
	}
	sum := sha256.Sum256([]byte(name))
	return "x-" + hex.EncodeToString(sum[:])
}

// acquire gives the open store of a namespace; release lets go of it. Between the two
// nothing waits for a client. zdb.ErrNamespaceNotFound when the namespace was removed.
func (n *namespaces) acquire(ns *namespace) (*store.Store, error) {
	n.mu.Lock()
	for ns.alone && !n.closed && !ns.removed.Load() {
		n.idle.Wait()
	}
	if n.closed {
		n.mu.Unlock()
		return nil, zdb.ErrClosed
	}
	if ns.removed.Load() {
		n.mu.Unlock()
		return nil, zdb.ErrNamespaceNotFound
	}
	ns.users++
	n.clock++
	ns.used = n.clock
	n.mu.Unlock()

	ns.opening.Lock()
	defer ns.opening.Unlock()
	st, err := n.open(ns)
	if err != nil {
		n.release(ns)
	}
	return st, err
}

func (n *namespaces) release(ns *namespace) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ns.users--; ns.users == 0 {
		n.idle.Broadcast()
	}
}

// alone runs do when nobody is at the store of a namespace; who comes meanwhile waits.
// Writes that were handed to the store may still be on their way. do holds opening.
func (n *namespaces) alone(ns *namespace, do func() error) error {
	ns.changing.Lock()
	defer ns.changing.Unlock()
	if ns.removed.Load() {
		return zdb.ErrNamespaceNotFound
	}
	n.mu.Lock()
	ns.alone = true
	for ns.users > 0 {
		n.idle.Wait()
	}
	closed := n.closed
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		ns.alone = false
		n.idle.Broadcast()
		n.mu.Unlock()
	}()
	if closed {
		return zdb.ErrClosed
	}
	ns.opening.Lock()
	defer ns.opening.Unlock()
	return do()
}

// open gives the store and opens it when needed. The caller holds opening.
func (n *namespaces) open(ns *namespace) (*store.Store, error) {
	if ns.store != nil {
		return ns.store, nil
	}
	n.closeLeastUsed(ns)
	s := ns.settings.Load()
	st, err := store.Open(ns.storeDir(), store.Options{
		FS: n.opts.fs, Now: n.opts.now, Log: n.opts.Log.With("namespace", ns.name), NoSync: n.opts.Sync == SyncNone, SyncEach: n.opts.Sync == SyncAlways,
		MaxBytes: s.MaxBytes, Caches: n.caches, FileBytes: n.opts.FileBytes,
		Sequential: s.Mode == sequentialKeys,
		OnJump:     func(closed, opened uint32) { n.jumped(ns, closed, opened) },
	})
	if err != nil {
		n.opts.Log.Error("namespace not opened", "namespace", ns.name, "err", err)
		return nil, err
	}
	ns.store, ns.opened = st, true
	return st, nil
}

// closeStore closes the store, if it is open: what was handed to it is done first. The
// caller holds opening, and nobody is at the store.
func (ns *namespace) closeStore() error {
	st := ns.store
	if st == nil {
		return nil
	}
	ns.noteDirty(st.Dirty())
	ns.store = nil
	if err := st.Close(); err != nil {
		return fmt.Errorf("namespace %s: %w", ns.name, err)
	}
	return nil
}

// closeLeastUsed closes stores that nobody uses until there is a place for one more.
// The caller holds opening of want.
func (n *namespaces) closeLeastUsed(want *namespace) {
	for {
		var oldest *namespace
		open := 0
		n.mu.Lock()
		for _, ns := range n.byName {
			if ns == want || !ns.opening.TryLock() {
				continue
			}
			if ns.store != nil {
				open++
				if ns.users == 0 && (oldest == nil || ns.used < oldest.used) {
					if oldest != nil {
						oldest.opening.Unlock()
					}
					oldest = ns
					continue
				}
			}
			ns.opening.Unlock()
		}
		n.mu.Unlock()
		if oldest == nil {
			return
		}
		if open < n.opts.MaxOpenStores {
			oldest.opening.Unlock()
			return
		}
		// Who acquires it now waits for its opening lock and opens it again.
		if err := oldest.closeStore(); err != nil {
			n.opts.Log.Warn("store not closed cleanly", "namespace", oldest.name, "err", err)
		}
		oldest.opening.Unlock()
	}
}
