package fs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/zdb/store"
)

var updateVolume = flag.Bool("update-volume", false, "write testdata/v1/volume.tar.gz anew: only when version 1 was never released")

const goldenVolume = "testdata/v1/volume.tar.gz"

// goldenFiles is what the volume of version 1 holds.
var goldenFiles = map[string][]byte{
	"empty": {},
	"text":  bytes.Repeat([]byte("a line that compresses well\n"), 5000),
	"noise": randomBytes(7, 200_000),
	"holed": append(make([]byte, 300_000), "behind a hole"...),
}

// goldenOptions are those of a machine whose folder dir holds the three nodes.
func goldenOptions(t *testing.T, dir, state string) (Config, Options) {
	g := newGrid(t, 2, 1, 3)
	for i := range g.cfg.Nodes {
		g.cfg.Nodes[i].URL = "dir:///" + string(rune('a'+i))
	}
	o := g.options(filepath.Join(dir, state))
	o.Dial = func(_ context.Context, n NodeConfig) (erasure.Node, error) {
		return store.Open(filepath.Join(dir, "node-"+strings.TrimPrefix(n.URL, "dir:///")), store.Options{})
	}
	return g.cfg, o
}

// A volume that version 1 wrote opens with this program, from its state folder
// and from its nodes alone, and holds what it held.
func TestGoldenVolume(t *testing.T) {
	ctx := context.Background()
	if *updateVolume {
		writeGoldenVolume(t)
	}
	for _, how := range []string{"opened", "restored"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			untar(t, goldenVolume, dir)
			cfg, o := goldenOptions(t, dir, "home")
			if how == "restored" {
				cfg, o = goldenOptions(t, dir, "away")
				if _, err := Restore(ctx, "away", cfg.Nodes[1:2], o, RestoreOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			v, err := Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range goldenFiles {
				check(t, v, name, want)
			}
			a, err := v.store.Lookup(meta.RootIno, "link")
			if err != nil {
				t.Fatal(err)
			}
			if target, err := v.store.Readlink(a.Ino); err != nil || target != "text" {
				t.Errorf("link to %q, %v", target, err)
			}
			a, err = v.store.Lookup(meta.RootIno, "text")
			if err != nil {
				t.Fatal(err)
			}
			if x, err := v.store.GetXattr(a.Ino, "user.note"); err != nil || string(x) != "kept" {
				t.Errorf("xattr %q, %v", x, err)
			}
			if a.Mode != 0o104750 || a.UID != 70000 || a.GID != 3_000_000_000 {
				t.Errorf("mode %o, owner %d:%d", a.Mode, a.UID, a.GID)
			}
			if err := v.store.Check(ctx, func(p meta.Problem) { t.Errorf("inode %d: %s", p.Ino, p.Text) }); err != nil {
				t.Error(err)
			}
			if err := v.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeGoldenVolume(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	cfg, o := goldenOptions(t, dir, "home")
	if err := Create(ctx, cfg, o); err != nil {
		t.Fatal(err)
	}
	v, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range goldenFiles {
		ino := mkfile(t, v, name)
		if name == "holed" {
			write(t, v, ino, 300_000, b[300_000:])
			continue
		}
		write(t, v, ino, 0, b)
	}
	if _, err := v.store.Create(meta.RootIno, "link", meta.New{Mode: 0o120777, Target: "text"}); err != nil {
		t.Fatal(err)
	}
	a, err := v.store.Lookup(meta.RootIno, "text")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.store.SetXattr(a.Ino, "user.note", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	ch := meta.Change{Mask: meta.ChangeMode | meta.ChangeUID | meta.ChangeGID, Mode: 0o4750, UID: 70000, GID: 3_000_000_000}
	if _, err := v.SetAttr(a.Ino, ch); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(o.CacheDir); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(goldenVolume)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func untar(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !iofs.ValidPath(strings.TrimSuffix(h.Name, "/")) {
			t.Fatalf("path %q", h.Name)
		}
		path := filepath.Join(to, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
