package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/sealfs"
)

const (
	manifestVersion  = 1
	maxManifestBytes = 256 << 20
	// inlineBytes is up to what size a metadata file travels in the manifest.
	inlineBytes = 64 << 10
)

// manifest lists the metadata files of a checkpoint. Field names are part of
// the format.
type manifest struct {
	Version int            `json:"version"`
	Files   []manifestFile `json:"files"`
}

// manifestFile is one file of the metadata store, sealed by fs/sealfs.
type manifestFile struct {
	Name       string `json:"name"`
	FileID     []byte `json:"file_id"`
	PlainBytes int64  `json:"plain_bytes"`
	RawBytes   int64  `json:"raw_bytes"`
	Layout     []byte `json:"layout,omitempty"` // on the nodes, or
	Inline     []byte `json:"inline,omitempty"` // the sealed bytes themselves
}

func decodeManifest(b []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	if m.Version > manifestVersion {
		return nil, fmt.Errorf("%w: manifest version %d", ErrTooNew, m.Version)
	}
	if m.Version < 1 {
		return nil, fmt.Errorf("%w: manifest without a version", ErrDamaged)
	}
	for _, f := range m.Files {
		if f.Name == "" || f.Name != filepath.Base(f.Name) || f.Name == "." || f.Name == ".." || len(f.FileID) != len(sealfs.FileID{}) || f.RawBytes < 0 || f.PlainBytes < 0 {
			return nil, fmt.Errorf("%w: manifest names the file %q", ErrDamaged, f.Name)
		}
	}
	return &m, nil
}

// gridFile is a metadata file that is on the nodes.
type gridFile struct {
	layout erasure.Layout
}

// metaObjectID names a metadata file on the nodes by its random id.
func metaObjectID(id sealfs.FileID) erasure.ObjectID {
	o := erasure.ObjectID(id)
	o[0] = 2
	return o
}

// manifestObjectID names a manifest by random bytes.
func manifestObjectID() (erasure.ObjectID, error) {
	var o erasure.ObjectID
	if _, err := io.ReadFull(entropy, o[:]); err != nil {
		return o, err
	}
	o[0] = 3
	return o, nil
}

// remoteFiles are the metadata files that a restore left on the nodes: they
// are fetched when the metadata store first opens them.
type remoteFiles struct {
	cluster *cluster

	mu    sync.Mutex
	files map[string]manifestFile
}

// size tells sealfs which files exist on the nodes only.
func (r *remoteFiles) size(name string) (int64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.files[name]
	return f.PlainBytes, ok
}

func (r *remoteFiles) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, 0, len(r.files))
	for name := range r.files {
		out = append(out, name)
	}
	return out
}

// open returns the sealed bytes of a file.
func (r *remoteFiles) open(ctx context.Context, name string) (io.Reader, error) {
	r.mu.Lock()
	f, ok := r.files[name]
	r.mu.Unlock()
	if !ok {
		return nil, fs.ErrNotExist
	}
	l, err := erasure.DecodeLayout(f.Layout)
	if err != nil {
		return nil, fmt.Errorf("metadata file %s: %w", name, err)
	}
	return &objectReader{ctx: ctx, cluster: r.cluster, layout: &l}, nil
}

// objectReader reads an object on the nodes from front to end.
type objectReader struct {
	ctx     context.Context
	cluster *cluster
	layout  *erasure.Layout
	off     int64
}

func (o *objectReader) Read(b []byte) (int, error) {
	n := int(min(int64(len(b)), o.layout.SizeBytes-o.off))
	if n == 0 {
		return 0, io.EOF
	}
	if err := o.cluster.ReadAt(o.ctx, o.layout, b[:n], o.off); err != nil {
		return 0, err
	}
	o.off += int64(n)
	return n, nil
}

// objectAt is an object on the nodes as an io.ReaderAt.
type objectAt struct {
	ctx     context.Context
	cluster *cluster
	layout  *erasure.Layout
}

func (o *objectAt) ReadAt(b []byte, off int64) (int, error) {
	n := int(max(min(int64(len(b)), o.layout.SizeBytes-off), 0))
	if n > 0 {
		if err := o.cluster.ReadAt(o.ctx, o.layout, b[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readManifest fetches a manifest from the nodes.
func (c *cluster) readManifest(ctx context.Context, encodedLayout []byte) ([]byte, error) {
	l, err := erasure.DecodeLayout(encodedLayout)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if l.SizeBytes > maxManifestBytes {
		return nil, fmt.Errorf("%w: manifest of %d bytes", ErrDamaged, l.SizeBytes)
	}
	b := make([]byte, l.SizeBytes)
	if err := c.ReadAt(ctx, &l, b, 0); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return b, nil
}

// saveManifest keeps the manifest in the state folder, sealed.
func saveManifest(dir string, o Options, b []byte) error {
	sealed, err := localSeal(o.Keys, manifestPath, b)
	if err != nil {
		return err
	}
	return o.disk().writeFile(filepath.Join(dir, manifestPath), sealed)
}

// loadManifest returns nil when the volume has no checkpoint yet.
func loadManifest(dir string, o Options) (*manifest, error) {
	sealed, err := o.disk().readFile(filepath.Join(dir, manifestPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := localOpen(o.Keys, manifestPath, sealed)
	if err != nil {
		return nil, err
	}
	return decodeManifest(b)
}
