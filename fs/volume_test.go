package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/erasure/simnode"
	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/identity/keys"
)

// grid is a set of simulated nodes that outlive the volumes that use them.
type grid struct {
	t     testing.TB
	nodes map[string]*simnode.Node
	cfg   Config
	root  keys.Root
}

func newGrid(t testing.TB, data, parity, n int) *grid {
	g := &grid{t: t, nodes: map[string]*simnode.Node{}, cfg: Config{Name: "test", Data: data, Parity: parity}}
	for i := range g.root {
		g.root[i] = byte(i*7 + 1)
	}
	for i := range n {
		url := fmt.Sprintf("sim://node%d", i)
		g.nodes[url] = simnode.New(uint64(i) + 1)
		g.cfg.Nodes = append(g.cfg.Nodes, NodeConfig{ID: erasure.NodeID(i), URL: url})
	}
	return g
}

func (g *grid) node(i int) *simnode.Node { return g.nodes[g.cfg.Nodes[i].URL] }

func (g *grid) keys() *keys.Volume {
	g.t.Helper()
	root := g.root
	k, err := keys.DeriveVolume(&root)
	if err != nil {
		g.t.Fatal(err)
	}
	return k
}

// options are those of a machine whose disk is dir.
func (g *grid) options(dir string) Options {
	o := Options{
		StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), Keys: g.keys(),
		CacheBytes: 64 << 20, MemoryBytes: 64 << 20, UploadDelay: time.Minute, HolderName: filepath.Base(dir),
		LeaseTTL: 2 * time.Second, StallTimeout: 2 * time.Second,
		Dial: func(_ context.Context, n NodeConfig) (erasure.Node, error) {
			node := g.nodes[n.URL]
			if node == nil {
				return nil, fmt.Errorf("no node %s", n.URL)
			}
			return node, nil
		},
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return o
}

func (g *grid) open(o Options) *Volume {
	g.t.Helper()
	v, err := Open(context.Background(), o)
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// crash ends a volume as kill -9 does: nothing is flushed, nothing released.
func crash(v *Volume) {
	v.stop()
	v.uploads.wakeAll()
	v.background.Wait()
	v.log.Discard()
	v.store.Close()
	v.metaFS.Close()
	v.segments.Close()
	v.cluster.Close()
	v.dirLock.Close()
}

func mkfile(t testing.TB, v *Volume, name string) meta.Ino {
	t.Helper()
	a, err := v.store.Create(meta.RootIno, name, meta.New{Mode: 0o100644})
	if err != nil {
		t.Fatal(err)
	}
	return a.Ino
}

func write(t testing.TB, v *Volume, ino meta.Ino, off int64, b []byte) {
	t.Helper()
	if err := v.Write(context.Background(), ino, off, b, false); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, v *Volume, name string, want []byte) {
	t.Helper()
	a, err := v.store.Lookup(meta.RootIno, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got := make([]byte, len(want)+100)
	n, err := v.Read(context.Background(), a.Ino, 0, got)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !bytes.Equal(got[:n], want) {
		t.Fatalf("%s: %d bytes differ from the %d written", name, n, len(want))
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// What was written is there after a clean close, after a crash, with m nodes
// down, and on a machine that never saw the volume.
func TestVolumeLife(t *testing.T) {
	ctx := context.Background()
	g := newGrid(t, 4, 2, 6)
	home := g.options(t.TempDir())
	if err := Create(ctx, g.cfg, home); err != nil {
		t.Fatal(err)
	}
	v := g.open(home)
	big := randomBytes(1, 40<<20)
	small := []byte("a few bytes")
	ino := mkfile(t, v, "big")
	write(t, v, ino, 0, big)
	write(t, v, mkfile(t, v, "small"), 0, small)
	check(t, v, "big", big)
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if left := v.StagedBytes(); left != 0 {
		t.Errorf("%d bytes not on the nodes after a clean close", left)
	}

	v = g.open(home)
	check(t, v, "big", big)
	check(t, v, "small", small)
	patch := randomBytes(2, 5000)
	copy(big[100:], patch)
	write(t, v, ino, 100, patch)
	if err := v.Fsync(ctx, ino); err != nil {
		t.Fatal(err)
	}
	crash(v)

	v = g.open(home)
	check(t, v, "big", big)
	g.node(0).Inject(simnode.Fault{Kind: simnode.Down})
	g.node(3).Inject(simnode.Fault{Kind: simnode.Down})
	late := randomBytes(3, 3<<20)
	write(t, v, mkfile(t, v, "late"), 0, late)
	if err := v.Sync(ctx, nil); err != nil {
		t.Fatal(err)
	}
	crash(v) // this machine is lost

	away := g.options(t.TempDir())
	report, err := Restore(ctx, "away", g.cfg.Nodes[1:2], away, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report.VolumeName != "test" || report.NodesUp != 4 {
		t.Errorf("report: %+v", report)
	}
	v = g.open(away)
	check(t, v, "big", big)
	check(t, v, "small", small)
	check(t, v, "late", late)
	if s := v.Status(ctx); s.DegradedStripes == 0 || s.NodesUp != 4 {
		t.Errorf("status: %d degraded stripes, %d nodes up", s.DegradedStripes, s.NodesUp)
	}

	if _, err := Open(ctx, home); !errors.Is(err, ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
