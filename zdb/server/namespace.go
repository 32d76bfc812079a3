package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

// namespace is one namespace. Its settings are exchanged as a whole.
type namespace struct {
	name     string
	dir      string
	settings atomic.Pointer[descriptor]
	removed  atomic.Bool

	// The store is opened when first used and closed when others need the place.
	// namespaces.mu guards users and used; opening guards store.
	users   int
	used    uint64
	opening sync.Mutex
	store   *store.Store
}

// namespaces are those of one data directory.
type namespaces struct {
	dir  string
	opts *Options

	// change is held by what creates, removes or changes a namespace. Lock order:
	// change, then namespace.opening, then mu.
	change sync.Mutex

	mu     sync.Mutex
	idle   *sync.Cond // a namespace lost its last user
	byName map[string]*namespace
	clock  uint64
	closed bool
}

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

func openNamespaces(dir string, o *Options) (*namespaces, error) {
	n := &namespaces{dir: dir, opts: o, byName: make(map[string]*namespace)}
	n.idle = sync.NewCond(&n.mu)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		path := filepath.Join(dir, f.Name())
		switch {
		case strings.HasPrefix(f.Name(), "new-"), strings.HasPrefix(f.Name(), "gone-"):
			if err := os.RemoveAll(path); err != nil {
				return nil, err
			}
		case strings.HasPrefix(f.Name(), "n-"), strings.HasPrefix(f.Name(), "x-"):
			d, err := readDescriptor(path)
			if err == nil && dirName(d.Name) != f.Name() {
				err = fmt.Errorf("descriptor of %q: %w", d.Name, zdb.ErrCorrupt)
			}
			if errors.Is(err, zdb.ErrTooNew) {
				return nil, fmt.Errorf("namespace folder %s: %w", f.Name(), err)
			}
			if err != nil {
				// The others are served; this one's folder is left as it is.
				o.Log.Error("namespace not served", "folder", path, "err", err)
				continue
			}
			n.add(path, d)
		}
	}
	if _, ok := n.byName[zdb.DefaultNamespace]; !ok {
		if _, err := os.Lstat(filepath.Join(dir, dirName(zdb.DefaultNamespace))); err == nil {
			return nil, fmt.Errorf("namespace %s: %w", zdb.DefaultNamespace, zdb.ErrCorrupt)
		}
		if _, err := n.create(zdb.DefaultNamespace); err != nil {
			return nil, fmt.Errorf("namespace %s: %w", zdb.DefaultNamespace, err)
		}
	}
	// The flags of this run rule the default namespace, which NSSET can't change.
	def := n.byName[zdb.DefaultNamespace]
	d := *def.settings.Load()
	d.MaxBytes, d.Password, d.Public = o.MaxBytes, "", false
	if o.Protect {
		d.Password, d.Public = o.AdminPassword, true
	}
	def.settings.Store(&d)
	return n, nil
}

func (n *namespaces) add(dir string, d descriptor) *namespace {
	ns := &namespace{name: d.Name, dir: dir}
	ns.settings.Store(&d)
	n.byName[d.Name] = ns
	return ns
}

func (n *namespaces) get(name string) *namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byName[name]
}

func (n *namespaces) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make([]string, 0, len(n.byName))
	for name := range n.byName {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == zdb.DefaultNamespace) != (b == zdb.DefaultNamespace) {
			if a == zdb.DefaultNamespace {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

// create makes a namespace; zdb.ErrNamespaceExists when it is there.
func (n *namespaces) create(name string) (*namespace, error) {
	n.change.Lock()
	defer n.change.Unlock()
	if n.get(name) != nil {
		return nil, zdb.ErrNamespaceExists
	}
	path := filepath.Join(n.dir, dirName(name))
	if _, err := os.Lstat(path); err == nil { // one with a damaged descriptor
		return nil, fmt.Errorf("folder %s exists: %w", path, zdb.ErrCorrupt)
	}
	d := descriptor{Name: name, MaxBytes: n.opts.MaxBytes, CreatedUnix: time.Now().Unix()}
	tmp := filepath.Join(n.dir, "new-"+rand.Text())
	err := os.Mkdir(tmp, 0o700)
	if err == nil {
		if err = writeDescriptor(tmp, &d); err == nil {
			err = os.Rename(tmp, path)
		}
	}
	if err != nil {
		os.RemoveAll(tmp)
		return nil, err
	}
	if err := syncDir(n.dir); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.add(path, d), nil
}

// update changes the settings of a namespace, durably.
func (n *namespaces) update(ns *namespace, change func(*descriptor)) error {
	n.change.Lock()
	defer n.change.Unlock()
	if ns.removed.Load() {
		return zdb.ErrNamespaceNotFound
	}
	d := *ns.settings.Load()
	change(&d)
	stored := d
	if ns.name == zdb.DefaultNamespace { // its password is the administrator's, of this run only
		stored.Password, stored.Public, stored.MaxBytes = "", false, 0
	}
	if err := writeDescriptor(ns.dir, &stored); err != nil {
		return err
	}
	ns.settings.Store(&d)
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if ns.store != nil {
		ns.store.SetLimit(d.MaxBytes)
	}
	return nil
}

// remove deletes a namespace. Sessions in it learn of it at their next command; what
// they are at is finished first.
func (n *namespaces) remove(ns *namespace) error {
	n.change.Lock()
	defer n.change.Unlock()
	if !ns.removed.CompareAndSwap(false, true) {
		return zdb.ErrNamespaceNotFound
	}
	n.mu.Lock()
	delete(n.byName, ns.name)
	for ns.users > 0 {
		n.idle.Wait()
	}
	n.mu.Unlock()
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if ns.store != nil {
		if err := ns.store.Close(); err != nil {
			n.opts.Log.Warn("store of removed namespace not closed cleanly", "namespace", ns.name, "err", err)
		}
		ns.store = nil
	}
	gone := filepath.Join(n.dir, "gone-"+rand.Text())
	if err := os.Rename(ns.dir, gone); err != nil {
		return err
	}
	if err := syncDir(n.dir); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// acquire gives the open store of a namespace; release lets go of it.
// zdb.ErrNamespaceNotFound when the namespace was removed.
func (n *namespaces) acquire(ns *namespace) (*store.Store, error) {
	n.mu.Lock()
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
	if ns.store != nil {
		return ns.store, nil
	}
	n.closeLeastUsed(ns)
	d := ns.settings.Load()
	st, err := store.Open(filepath.Join(ns.dir, "store"), store.Options{
		Log: n.opts.Log.With("namespace", ns.name), NoSync: n.opts.Sync == SyncNone, SyncEach: n.opts.Sync == SyncAlways,
		MaxBytes: d.MaxBytes, CacheBytes: n.opts.CacheBytes,
	})
	if err != nil {
		n.opts.Log.Error("namespace not opened", "namespace", ns.name, "err", err)
		n.release(ns)
		return nil, err
	}
	ns.store = st
	return st, nil
}

func (n *namespaces) release(ns *namespace) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ns.users--; ns.users == 0 {
		n.idle.Broadcast()
	}
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
		if err := oldest.store.Close(); err != nil {
			n.opts.Log.Warn("store not closed cleanly", "namespace", oldest.name, "err", err)
		}
		oldest.store = nil
		oldest.opening.Unlock()
	}
}

// close waits for the users and closes all stores.
func (n *namespaces) close() error {
	n.mu.Lock()
	n.closed = true
	all := make([]*namespace, 0, len(n.byName))
	for _, ns := range n.byName {
		for ns.users > 0 {
			n.idle.Wait()
		}
		all = append(all, ns)
	}
	n.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, ns := range all {
		wg.Go(func() {
			ns.opening.Lock()
			defer ns.opening.Unlock()
			if ns.store == nil {
				return
			}
			if err := ns.store.Close(); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("namespace %s: %w", ns.name, err))
				mu.Unlock()
			}
			ns.store = nil
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
