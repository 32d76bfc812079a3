package sealfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	fetchPrefix = "fetch."
	fetchSuffix = ".tmp"
	copyBytes   = 256 << 10
)

// clean gives one spelling of a directory.
func (fs *FS) clean(dir string) string { return fs.base.PathJoin(dir) }

// remoteName gives the base name of a path in RemoteDir.
func (fs *FS) remoteName(path string) (string, bool) {
	if fs.o.Remote == nil || fs.clean(fs.base.PathDir(path)) != fs.clean(fs.o.RemoteDir) {
		return "", false
	}
	return fs.base.PathBase(path), true
}

// remote tells whether path is a file that the nodes have and that is not gone here.
func (fs *FS) remote(path string) (name string, sizePlain int64, ok bool) {
	name, ok = fs.remoteName(path)
	if !ok {
		return "", 0, false
	}
	fs.mu.Lock()
	_, gone := fs.gone[name]
	fs.mu.Unlock()
	if gone {
		return "", 0, false
	}
	sizePlain, ok = fs.o.Remote(name)
	return name, sizePlain, ok
}

// hideLocked makes the remote file at path unseen and tells whether one was seen. Called under mu.
func (fs *FS) hideLocked(path string) bool {
	name, ok := fs.remoteName(path)
	if !ok {
		return false
	}
	if _, gone := fs.gone[name]; gone {
		return false
	}
	if _, ok := fs.o.Remote(name); !ok {
		return false
	}
	fs.gone[name] = struct{}{}
	return true
}

func (fs *FS) shouldFetch(path string, err error) bool {
	if !errors.Is(err, os.ErrNotExist) {
		return false
	}
	_, _, ok := fs.remote(path)
	return ok
}

// bringIn fetches path if it is remote and not here.
func (fs *FS) bringIn(path string) error {
	if fs.o.Remote == nil {
		return nil
	}
	if _, err := fs.base.Stat(path); !fs.shouldFetch(path, err) {
		return nil
	}
	return fs.fetch(path)
}

// fetch brings a remote file in. Callers that come while it is under way wait for it.
func (fs *FS) fetch(path string) error {
	name := fs.base.PathBase(path)
	_, err, _ := fs.fetches.Do(name, func() (any, error) {
		if fs.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if _, err := fs.base.Stat(path); err == nil {
			return nil, nil // the fetch before this one brought it
		}
		return nil, fs.o.Fetch(fs.ctx, name)
	})
	if err != nil {
		return fmt.Errorf("fetch metadata file %s: %w", name, err)
	}
	return nil
}

// listRemote adds the remote names to those found in dir, and takes away what an
// interrupted fetch left there.
func (fs *FS) listRemote(dir string, names []string) []string {
	if fs.o.Remote == nil || fs.clean(dir) != fs.clean(fs.o.RemoteDir) {
		return names
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	have := make(map[string]struct{}, len(names))
	kept := names[:0]
	for _, name := range names {
		if strings.HasPrefix(name, fetchPrefix) && strings.HasSuffix(name, fetchSuffix) {
			if fs.fetching[fs.base.PathJoin(fs.clean(dir), name)] == 0 {
				_ = fs.base.Remove(fs.base.PathJoin(dir, name)) // only disk space is at stake; the next List tries again
			}
			continue
		}
		have[name] = struct{}{}
		kept = append(kept, name)
	}
	for _, name := range fs.o.RemoteNames() {
		_, local := have[name]
		_, gone := fs.gone[name]
		if !local && !gone {
			kept = append(kept, name)
		}
	}
	return kept
}

// RawFile is a sealed file as it is stored.
type RawFile struct {
	SizeBytes int64
	base      vfs.File
}

// OpenRaw gives the sealed bytes of a local file, as they are to be uploaded.
func (fs *FS) OpenRaw(path string) (*RawFile, error) {
	base, err := fs.base.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := base.Stat()
	if err != nil {
		return nil, errors.Join(err, base.Close())
	}
	return &RawFile{SizeBytes: info.Size(), base: base}, nil
}

// ReadAt implements io.ReaderAt.
func (f *RawFile) ReadAt(p []byte, off int64) (int, error) { return f.base.ReadAt(p, off) }

// Close ends the use of the file.
func (f *RawFile) Close() error { return f.base.Close() }

// FileID gives the id of a local file. A stream that nothing was written to, such as
// a marker file, has no stored bytes to name: its id is zero.
func (fs *FS) FileID(path string) (FileID, error) {
	f, err := fs.OpenRaw(path)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	if f.SizeBytes == 0 && layoutOf(fs.base.PathBase(path)) == layoutStream {
		return FileID{}, nil
	}
	h, err := readHeader(f, f.SizeBytes)
	if err != nil {
		return FileID{}, fmt.Errorf("file id of %s: %w", path, err)
	}
	return h.id, nil
}

// Evict removes the local copy of a remote file; the next use fetches it again. That is
// also how a damaged copy is replaced.
func (fs *FS) Evict(path string) error {
	if _, _, ok := fs.remote(path); !ok {
		return fmt.Errorf("evict %s: no node has it: %w", path, os.ErrNotExist)
	}
	return fs.base.Remove(path)
}

// Verify opens every frame of a local file.
func (fs *FS) Verify(path string) error {
	f, err := fs.openBase(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if sealed, ok := f.(*readFile); ok {
		return sealed.wrap(sealed.r.verify())
	}
	return nil
}

// WriteRaw stores the sealed bytes that r gives up to its EOF as the file path, in one
// step and durably. They must be a file sealed under this key: every frame is opened
// before the file gets its name, else ErrCorrupt, and nothing stays behind. A file
// that has the name already stays as it is; a remote file that was removed here does
// not come back (os.ErrNotExist). A second WriteRaw of a path at the same time fails
// (os.ErrExist).
func (fs *FS) WriteRaw(path string, r io.Reader) (err error) {
	dir := fs.base.PathDir(path)
	tmp := fs.base.PathJoin(dir, fetchPrefix+fs.base.PathBase(path)+fetchSuffix)
	fs.mu.Lock()
	if fs.fetching[tmp] > 0 {
		fs.mu.Unlock()
		return fmt.Errorf("write raw %s: already being written: %w", path, os.ErrExist)
	}
	fs.fetching[tmp]++
	fs.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("write raw %s: %w", path, err)
			_ = fs.base.Remove(tmp) // List removes it otherwise
		}
		fs.mu.Lock()
		delete(fs.fetching, tmp)
		fs.mu.Unlock()
	}()
	if err := fs.writeTemp(tmp, path, r); err != nil {
		return err
	}
	if err := fs.publish(tmp, path); err != nil {
		return err
	}
	d, err := fs.base.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (fs *FS) writeTemp(tmp, path string, r io.Reader) error {
	f, err := fs.base.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// Only Write of the base file is used: it may have its own idea of ReadFrom.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{r}, make([]byte, copyBytes))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	base, err := fs.base.Open(tmp)
	if err != nil {
		return err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return err
	}
	reader, err := fs.openReader(base, path, info.Size())
	if err != nil {
		return err
	}
	return reader.verify()
}

// publish gives tmp its name unless the name is taken.
func (fs *FS) publish(tmp, path string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	_, err := fs.base.Stat(path)
	if name, ok := fs.remoteName(path); ok && err != nil {
		if _, gone := fs.gone[name]; gone {
			return fmt.Errorf("removed meanwhile: %w", os.ErrNotExist)
		}
	}
	switch {
	case err == nil:
		return fs.base.Remove(tmp)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return fs.base.Rename(tmp, path)
}
