package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

// namespaces are those of one data directory.
type namespaces struct {
	dir    string
	opts   *Options
	caches *store.Caches // of all stores
	sealer *sealer
	hooks  *hooks

	// mu guards what follows and the marked fields of each namespace. It is held for
	// moments only, never while something is done to a disk.
	mu     sync.Mutex
	idle   *sync.Cond // a namespace lost its last user, or is nobody's alone any more
	byName map[string]*namespace
	making map[string]struct{} // names of namespaces that are being made
	clock  uint64
	closed bool
}

func openNamespaces(dir string, o *Options, caches *store.Caches, s *sealer, h *hooks) (*namespaces, error) {
	n := &namespaces{dir: dir, opts: o, caches: caches, sealer: s, hooks: h, byName: make(map[string]*namespace), making: make(map[string]struct{})}
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
			if err := n.find(path); err != nil {
				return nil, err
			}
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
	// The flags of this run rule the default namespace, of which NSSET can't change these.
	def := n.byName[zdb.DefaultNamespace]
	d := *def.settings.Load()
	d.MaxBytes, d.SealedPassword, d.password, d.Public = o.MaxBytes, nil, "", true
	if o.Protect {
		d.password = o.AdminPassword
	}
	def.settings.Store(&d)
	return n, nil
}

// find takes in the namespace of a folder.
func (n *namespaces) find(path string) error {
	// What a crash left of a replacement; it may have the password of a version 1 descriptor.
	if err := os.RemoveAll(filepath.Join(path, descriptorName+".new")); err != nil {
		return err
	}
	d, version, password, err := readDescriptor(path)
	if err == nil && dirName(d.Name) != filepath.Base(path) {
		err = fmt.Errorf("descriptor of %q: %w", d.Name, zdb.ErrCorrupt)
	}
	switch {
	case errors.Is(err, zdb.ErrTooNew):
		return fmt.Errorf("namespace folder %s: %w", filepath.Base(path), err)
	case err != nil:
		// The others are served; this one's folder is left as it is.
		n.opts.Log.Error("namespace not served", "folder", path, "err", err)
		return nil
	}
	if err := n.opts.Mode.allows(&d); err != nil {
		return err
	}
	s := settings{descriptor: d, password: password}
	switch {
	case version < descriptorVersion:
		if password != "" {
			s.SealedPassword = n.sealer.seal(d.Name, password)
		}
		if err := replaceDescriptor(path, &s.descriptor); err != nil { // a full disk is no reason not to serve it
			n.opts.Log.Error("descriptor of an older version not replaced, a password in it stays in clear", "namespace", d.Name, "err", err)
		}
	case len(d.SealedPassword) > 0:
		if s.password, err = n.sealer.open(d.Name, d.SealedPassword); err != nil {
			n.opts.Log.Error("nobody can select this namespace until an administrator sets its password anew", "namespace", d.Name, "err", err)
		}
	}
	n.add(path, s)
	return nil
}

func (n *namespaces) add(dir string, s settings) *namespace {
	ns := &namespace{name: s.Name, dir: dir}
	ns.settings.Store(&s)
	n.byName[s.Name] = ns
	return ns
}

// get finds a namespace by name; nil when there is none, or it is being removed.
func (n *namespaces) get(name string) *namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ns := n.byName[name]; ns != nil && !ns.removed.Load() {
		return ns
	}
	return nil
}

func (n *namespaces) all() []*namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*namespace, 0, len(n.byName))
	for _, ns := range n.byName {
		if !ns.removed.Load() {
			all = append(all, ns)
		}
	}
	slices.SortFunc(all, func(a, b *namespace) int {
		if (a.name == zdb.DefaultNamespace) != (b.name == zdb.DefaultNamespace) {
			if a.name == zdb.DefaultNamespace {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}

// create makes a namespace; zdb.ErrNamespaceExists when it is there.
func (n *namespaces) create(name string) (*namespace, error) {
	n.mu.Lock()
	_, making := n.making[name]
	if making || n.byName[name] != nil {
		n.mu.Unlock()
		return nil, zdb.ErrNamespaceExists
	}
	n.making[name] = struct{}{}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.making, name)
		n.mu.Unlock()
	}()
	path := filepath.Join(n.dir, dirName(name))
	if _, err := os.Lstat(path); err == nil { // one with a damaged descriptor
		return nil, fmt.Errorf("folder %s exists: %w", path, zdb.ErrCorrupt)
	}
	d := descriptor{Name: name, MaxBytes: n.opts.MaxBytes, Public: true, Mode: n.opts.Mode.ofNew(), CreatedUnix: time.Now().Unix()}
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
	if name != zdb.DefaultNamespace {
		n.hooks.start("namespace-created", name) // ahead of what others may do to it
	}
	n.mu.Lock()
	ns := n.add(path, settings{descriptor: d})
	n.mu.Unlock()
	return ns, nil
}

// update changes the settings of a namespace, durably.
func (n *namespaces) update(ns *namespace, change func(*settings)) error {
	ns.changing.Lock()
	defer ns.changing.Unlock()
	if ns.removed.Load() {
		return zdb.ErrNamespaceNotFound
	}
	if err := n.rewrite(ns, change); err != nil {
		return err
	}
	n.hooks.start("namespace-updated", ns.name)
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if ns.store != nil {
		ns.store.SetLimit(ns.settings.Load().MaxBytes)
	}
	return nil
}

// rewrite changes the settings in the descriptor and in memory. The caller holds changing.
func (n *namespaces) rewrite(ns *namespace, change func(*settings)) error {
	s := *ns.settings.Load()
	change(&s)
	stored := s.descriptor
	if ns.name == zdb.DefaultNamespace { // its limit and password are of this run only
		stored.MaxBytes, stored.SealedPassword, stored.Public = 0, nil, true
	}
	if err := writeDescriptor(ns.dir, &stored); err != nil {
		return err
	}
	ns.settings.Store(&s)
	return nil
}

// reload closes the store of a namespace and opens it again from disk.
func (n *namespaces) reload(ns *namespace) error {
	err := n.alone(ns, func() error {
		if err := ns.closeStore(); err != nil {
			return err
		}
		_, err := n.open(ns)
		return err
	})
	if err == nil {
		n.hooks.start("namespace-reloaded", ns.name)
	}
	return err
}

// remove deletes a namespace. Sessions in it learn of it at their next command; what
// they are at is finished first.
func (n *namespaces) remove(ns *namespace) error {
	ns.changing.Lock()
	defer ns.changing.Unlock()
	if !ns.removed.CompareAndSwap(false, true) {
		return zdb.ErrNamespaceNotFound
	}
	n.mu.Lock()
	n.idle.Broadcast()
	for ns.users > 0 {
		n.idle.Wait()
	}
	n.mu.Unlock()
	// The name is free when the folder is gone, not before.
	defer func() {
		n.mu.Lock()
		delete(n.byName, ns.name)
		n.mu.Unlock()
	}()
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if err := ns.closeStore(); err != nil {
		n.opts.Log.Warn("store of removed namespace not closed cleanly", "namespace", ns.name, "err", err)
	}
	gone := filepath.Join(n.dir, "gone-"+rand.Text())
	if err := os.Rename(ns.dir, gone); err != nil {
		return err
	}
	if err := syncDir(n.dir); err != nil {
		return err
	}
	n.hooks.start("namespace-deleted", ns.name)
	return os.RemoveAll(gone)
}

// close waits for the users and closes all stores.
func (n *namespaces) close() error {
	n.mu.Lock()
	n.closed = true
	n.idle.Broadcast()
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
			if err := ns.closeStore(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
