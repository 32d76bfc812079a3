package sealfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/singleflight"
)

// Options of an FS. The zero value is good for a volume whose files are all local.
type Options struct {
	Rand        io.Reader // file ids; nil means crypto/rand
	CacheFrames int       // decrypted frames of 32 KiB kept over all files; 0 means 64

	// RemoteDir is the one directory that has remote files. The three functions below
	// take base names in it, must be safe for concurrent use, and are needed together.
	RemoteDir string
	// Remote gives the plaintext size of a file that the nodes have.
	Remote func(name string) (sizePlain int64, ok bool)
	// RemoteNames gives all names for which Remote says ok.
	RemoteNames func() []string
	// Fetch brings a remote file in: it calls WriteRaw for that name in RemoteDir. It
	// runs once at a time for a name; ctx ends when the FS is closed.
	Fetch func(ctx context.Context, name string) error
}

// FS is an encrypting vfs.FS over another. Safe for concurrent use.
type FS struct {
	base  vfs.FS
	key   [32]byte
	o     Options
	cache *frameCache

	ctx     context.Context // of fetches
	cancel  context.CancelFunc
	fetches singleflight.Group

	// mu guards gone and fetching, and makes "is it there, then put it there" one step
	// for Create and WriteRaw. Never held across a fetch or a write of data.
	mu       sync.Mutex
	gone     map[string]struct{} // remote names that were removed, replaced or renamed here; at most the remote names
	fetching map[string]int      // temporary names that WriteRaw is writing
}

var _ vfs.FS = (*FS)(nil)

// New gives an FS over base whose files are sealed under keys derived from key.
func New(base vfs.FS, key [32]byte, o Options) *FS {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if remote := o.Remote != nil; remote != (o.RemoteNames != nil) || remote != (o.Fetch != nil) || remote != (o.RemoteDir != "") {
		panic("sealfs: RemoteDir, Remote, RemoteNames and Fetch are needed together")
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &FS{
		base: base, key: key, o: o,
		cache:    newFrameCache(o.CacheFrames),
		ctx:      ctx,
		cancel:   cancel,
		gone:     map[string]struct{}{},
		fetching: map[string]int{},
	}
}

// Close ends fetches and wipes decrypted frames. Open files stay usable.
func (fs *FS) Close() error {
	fs.cancel()
	fs.cache.wipe()
	return nil
}

// layoutOf is the layout for a new file of the given base name: tables and blob files are
// read at random and written in one go, the others are appended to and synced.
func layoutOf(name string) layout {
	if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") {
		return layoutFixed
	}
	return layoutStream
}

// Create implements vfs.FS. The handle only writes.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	h := header{layout: layoutOf(fs.base.PathBase(name))}
	if _, err := io.ReadFull(fs.o.Rand, h.id[:]); err != nil {
		return nil, fmt.Errorf("create %s: file id: %w", name, err)
	}
	c, err := newFileCipher(&fs.key, h)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	base, err := fs.base.Create(name, category)
	if err != nil {
		return nil, err
	}
	fs.hideLocked(name)
	return newWriteFile(base, name, c), nil
}

// Open implements vfs.FS. The options are applied to the base file, where they mean something.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.openBase(name, opts...)
	if fs.shouldFetch(name, err) {
		if err := fs.fetch(name); err != nil {
			return nil, err
		}
		return fs.openBase(name, opts...)
	}
	return f, err
}

// OpenReadWrite implements vfs.FS; a sealed file is not rewritten.
func (fs *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, fmt.Errorf("open %s for reading and writing: %w", name, ErrUnsupported)
}

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) { return fs.base.OpenDir(name) }

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error {
	if err := fs.bringIn(oldname); err != nil {
		return err
	}
	return fs.base.Link(oldname, newname)
}

// Remove implements vfs.FS. A remote file that is removed is no longer seen, local or not;
// its bytes on the nodes are not ours to delete.
func (fs *FS) Remove(name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	err := fs.base.Remove(name)
	if fs.hideLocked(name) && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.hideLocked(name)
	if fs.o.Remote != nil && fs.clean(name) == fs.clean(fs.o.RemoteDir) {
		for _, remote := range fs.o.RemoteNames() {
			fs.gone[remote] = struct{}{}
		}
	}
	return fs.base.RemoveAll(name)
}

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error {
	if err := fs.bringIn(oldname); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.base.Rename(oldname, newname); err != nil {
		return err
	}
	fs.hideLocked(oldname)
	fs.hideLocked(newname)
	return nil
}

// ReuseForWrite implements vfs.FS: it removes oldname and creates newname, because
// a frame is never overwritten.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Remove(oldname); err != nil {
		return nil, err
	}
	return fs.Create(newname, category)
}

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error { return fs.base.MkdirAll(dir, perm) }

// Lock implements vfs.FS.
func (fs *FS) Lock(name string) (io.Closer, error) { return fs.base.Lock(name) }

// Stat implements vfs.FS: the size is that of the plaintext. To know it, a stream is read
// to its end, a fixed file at its end only, and a remote file not at all.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.base.Stat(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			if base, size, ok := fs.remote(name); ok {
				return remoteInfo{name: base, sizePlain: size}, nil
			}
		}
		return nil, err
	}
	if info.IsDir() {
		return info, nil
	}
	f, err := fs.openBase(name)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	return info, errors.Join(err, f.Close())
}

// List implements vfs.FS.
func (fs *FS) List(dir string) ([]string, error) {
	names, err := fs.base.List(dir)
	if err != nil {
		return nil, err
	}
	return fs.listRemote(dir, names), nil
}

// PathBase implements vfs.FS.
func (fs *FS) PathBase(path string) string { return fs.base.PathBase(path) }

// PathJoin implements vfs.FS.
func (fs *FS) PathJoin(elem ...string) string { return fs.base.PathJoin(elem...) }

// PathDir implements vfs.FS.
func (fs *FS) PathDir(path string) string { return fs.base.PathDir(path) }

// GetDiskUsage implements vfs.FS.
func (fs *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) { return fs.base.GetDiskUsage(path) }

// Unwrap implements vfs.FS.
func (fs *FS) Unwrap() vfs.FS { return fs.base }
