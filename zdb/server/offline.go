package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Offline is a data directory that no server serves now, and none can while it is held.
type Offline struct {
	Namespaces []OfflineNamespace // sorted by name

	dir  string // of the namespaces
	lock *os.File
}

// OfflineNamespace is where a namespace keeps its data.
type OfflineNamespace struct {
	Name       string // empty when Err is not nil
	Folder     string
	StoreDir   string // not there before the first use
	Sequential bool
	MaxBytes   int64 // limit of live payload, 0 none
	Err        error // the descriptor can't be read: zdb.ErrCorrupt, zdb.ErrTooNew or the disk's
}

// OpenOffline takes hold of a data directory and reads what namespaces it has; it changes
// nothing. fs.ErrNotExist when it is none, zdb.ErrLocked while a server has it. With create a
// missing one is made.
func OpenOffline(dir string, create bool) (*Offline, error) {
	o := &Offline{dir: filepath.Join(dir, namespacesDir)}
	if _, err := os.Stat(o.dir); err != nil {
		if !create || !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
		if err := os.MkdirAll(o.dir, 0o700); err != nil {
			return nil, fmt.Errorf("data directory %s: %w", dir, err)
		}
	}
	var err error
	if o.lock, err = lockDir(dir); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := o.read(); err != nil {
		o.Close()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return o, nil
}

func (o *Offline) read() error {
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "n-") && !strings.HasPrefix(e.Name(), "x-") {
			continue // being made or removed when the server was killed
		}
		o.Namespaces = append(o.Namespaces, readOffline(filepath.Join(o.dir, e.Name())))
	}
	slices.SortFunc(o.Namespaces, func(a, b OfflineNamespace) int {
		return strings.Compare(a.Name+"\x00"+a.Folder, b.Name+"\x00"+b.Folder)
	})
	return nil
}

func readOffline(folder string) OfflineNamespace {
	b, err := os.ReadFile(filepath.Join(folder, descriptorName))
	var d descriptor
	if err == nil {
		d, _, _, err = decodeDescriptor(b)
	}
	if err == nil && dirName(d.Name) != filepath.Base(folder) {
		err = fmt.Errorf("descriptor of namespace %q is in the wrong folder: %w", d.Name, zdb.ErrCorrupt)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no descriptor: %w", zdb.ErrCorrupt)
	}
	ns := OfflineNamespace{Folder: folder, StoreDir: (&namespace{dir: folder}).storeDir(), Err: err}
	if err == nil {
		ns.Name, ns.Sequential, ns.MaxBytes = d.Name, d.Mode == sequentialKeys, d.MaxBytes
	}
	return ns
}

// Namespace finds one by name: zdb.ErrNamespaceNotFound, or why its descriptor can't be read.
func (o *Offline) Namespace(name string) (OfflineNamespace, error) {
	folder := filepath.Join(o.dir, dirName(name))
	for _, ns := range o.Namespaces {
		if ns.Folder == folder {
			return ns, ns.Err
		}
	}
	return OfflineNamespace{}, fmt.Errorf("namespace %q: %w", name, zdb.ErrNamespaceNotFound)
}

// Create makes an empty namespace without password and limit.
func (o *Offline) Create(name string, sequential bool) (OfflineNamespace, error) {
	if name == "" || len(name) > zdb.MaxNamespaceBytes || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return OfflineNamespace{}, fmt.Errorf("namespace %q: this name is not allowed", name)
	}
	d := descriptor{Name: name, Public: true, CreatedUnix: time.Now().Unix()}
	if sequential {
		d.Mode = sequentialKeys
	}
	folder, tmp := filepath.Join(o.dir, dirName(name)), filepath.Join(o.dir, "new-"+rand.Text())
	err := os.Mkdir(tmp, 0o700)
	if err == nil {
		if err = writeDescriptor(tmp, &d); err == nil {
			err = os.Rename(tmp, folder)
		}
	}
	if err != nil {
		os.RemoveAll(tmp)
		return OfflineNamespace{}, fmt.Errorf("namespace %q: %w", name, err)
	}
	ns := readOffline(folder)
	o.Namespaces = append(o.Namespaces, ns)
	return ns, errors.Join(ns.Err, syncDir(o.dir))
}

// Close lets a server have the directory.
func (o *Offline) Close() error { return o.lock.Close() }

// namespacesDir is where in a data directory the namespaces are.
const namespacesDir = "namespaces"
