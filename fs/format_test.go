package fs

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/identity/keys"
)

// testDisk is the disk of this machine.
var testDisk = disk{vfs.Default}

var update = flag.Bool("update", false, "write the golden files anew")

func formatKeys(t testing.TB) *keys.Volume {
	t.Helper()
	root := keys.Root{0: 1, 63: 1}
	k, err := keys.DeriveVolume(&root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func goldenSuperblock(k *keys.Volume) *superblock.Superblock {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return &superblock.Superblock{
		VolumeID: k.ID[:], Name: "home", Epoch: 7, Generation: 42, WriterID: []byte("0123456789abcdef"), Writer: "host",
		CreatedAt: at, WrittenAt: at, Data: 4, Parity: 2, ShardBytes: 512 << 10,
		Nodes: []superblock.Node{{ID: 0, URL: "zdb://a:9900/ns", Group: "farm1", Password: "secret"}, {ID: 9, URL: "dir:///b"}},
	}
}

func goldenManifest() *manifest {
	return &manifest{Version: manifestVersion, Files: []manifestFile{
		{Name: "000012.sst", FileID: []byte("0123456789abcdef"), PlainBytes: 100, RawBytes: 200, Layout: []byte("a layout")},
		{Name: "marker.manifest.000001.MANIFEST-000001", FileID: make([]byte, 16)},
		{Name: "MANIFEST-000001", FileID: []byte("fedcba9876543210"), PlainBytes: 3, RawBytes: 9, Inline: []byte("its bytes")},
	}}
}

// constantEntropy makes what is sealed the same in each run.
func constantEntropy(t testing.TB) {
	t.Helper()
	saved := entropy
	entropy = bytes.NewReader(bytes.Repeat([]byte{5}, 1<<10))
	t.Cleanup(func() { entropy = saved })
}

// The files of a state folder, as version 1 wrote them, are read, and written still.
func TestStateFilesGolden(t *testing.T) {
	k := formatKeys(t)
	constantEntropy(t)
	const golden = "testdata/v1"
	dir := t.TempDir()
	s := goldenSuperblock(k)
	value, err := superblock.Seal(s, k, entropy)
	if err != nil {
		t.Fatal(err)
	}
	st := localState{Version: 1, WriterID: "30313233343536373839616263646566", LastEpoch: 7, Clean: true}
	body, err := json.Marshal(goldenManifest())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(testDisk.writeInfo(dir, s), testDisk.writeState(dir, st), testDisk.writeSuperblockFile(dir, s.Slot(), value), saveManifest(dir, Options{Keys: k, Disk: vfs.Default}, body)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{infoFile, stateFile, superblockFile, manifestPath} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(filepath.Join(golden, name), got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(filepath.Join(golden, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is written differently:\n%q\n%q", name, got, want)
		}
	}
	info, err := ReadInfo(golden)
	if err != nil || info.Name != "home" || info.Data != 4 || info.Parity != 2 || len(info.Nodes) != 2 || info.Nodes[1].ID != 9 || !info.CreatedAt.Equal(s.CreatedAt) {
		t.Errorf("%+v, %v", info, err)
	}
	if got, err := testDisk.readState(golden); err != nil || got != st {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := testDisk.readSuperblockFile(golden, k); err != nil || cmp.Diff(s, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(s, got))
	}
	if got, err := loadManifest(golden, Options{Keys: k, Disk: vfs.Default}); err != nil || cmp.Diff(goldenManifest(), got, cmp.AllowUnexported(manifest{}, manifestFile{})) != "" {
		t.Errorf("%v", err)
	}
	// volume.json is for all to read: it has no secret.
	if b, _ := os.ReadFile(filepath.Join(golden, infoFile)); bytes.Contains(b, []byte("secret")) {
		t.Error("volume.json shows a password")
	}
}

func TestStateFilesDamaged(t *testing.T) {
	k := formatKeys(t)
	golden := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata/v1", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	read := map[string]func(dir string) error{
		infoFile:       func(dir string) error { _, err := ReadInfo(dir); return err },
		stateFile:      func(dir string) error { _, err := testDisk.readState(dir); return err },
		superblockFile: func(dir string) error { _, err := testDisk.readSuperblockFile(dir, k); return err },
		manifestPath:   func(dir string) error { _, err := loadManifest(dir, Options{Keys: k, Disk: vfs.Default}); return err },
	}
	for _, c := range []struct {
		name, file string
		edit       func(b []byte) []byte
		want       error
	}{
		{"info empty", infoFile, func([]byte) []byte { return nil }, ErrDamaged},
		{"info cut", infoFile, func(b []byte) []byte { return b[:len(b)/2] }, ErrDamaged},
		{"info of nothing", infoFile, func([]byte) []byte { return []byte("{}") }, ErrDamaged},
		{"info too new", infoFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1) }, ErrTooNew},
		{"state empty", stateFile, func([]byte) []byte { return nil }, ErrDamaged},
		{"state of nothing", stateFile, func([]byte) []byte { return []byte("{}") }, ErrDamaged},
		{"state too new", stateFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1) }, ErrTooNew},
		{"state with a short writer", stateFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`3031`), nil, 1) }, ErrDamaged},
		{"superblock empty", superblockFile, func([]byte) []byte { return nil }, ErrDamaged},
		{"superblock of no slot", superblockFile, func(b []byte) []byte { b[0] = superblock.Slots; return b }, ErrDamaged},
		{"superblock of another slot", superblockFile, func(b []byte) []byte { b[0] ^= 1; return b }, superblock.ErrCorrupt},
		{"superblock changed", superblockFile, func(b []byte) []byte { b[100]++; return b }, superblock.ErrCorrupt},
		{"manifest empty", manifestPath, func([]byte) []byte { return []byte{} }, ErrDamaged},
		{"manifest cut", manifestPath, func(b []byte) []byte { return b[:len(b)-1] }, ErrDamaged},
		{"manifest changed", manifestPath, func(b []byte) []byte { b[60]++; return b }, ErrDamaged},
		{"manifest under another name", manifestPath, func([]byte) []byte {
			b, err := localSeal(k, "another", []byte(`{"version":1}`))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), c.edit(golden(c.file)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := read[c.file](dir); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestDecodeManifest(t *testing.T) {
	encode := func(change func(m *manifest)) []byte {
		m := goldenManifest()
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"good", encode(func(*manifest) {}), nil},
		{"empty", nil, ErrDamaged},
		{"null", []byte("null"), ErrDamaged},
		{"nothing", []byte("{}"), ErrDamaged},
		{"too new", encode(func(m *manifest) { m.Version = 2 }), ErrTooNew},
		{"no name", encode(func(m *manifest) { m.Files[0].Name = "" }), ErrDamaged},
		{"name out of the folder", encode(func(m *manifest) { m.Files[0].Name = "../x" }), ErrDamaged},
		{"absolute name", encode(func(m *manifest) { m.Files[0].Name = "/etc/passwd" }), ErrDamaged},
		{"dots", encode(func(m *manifest) { m.Files[0].Name = ".." }), ErrDamaged},
		{"short id", encode(func(m *manifest) { m.Files[0].FileID = []byte("short") }), ErrDamaged},
		{"negative size", encode(func(m *manifest) { m.Files[0].RawBytes = -1 }), ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := decodeManifest(c.b); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// Object ids of different kinds never meet.
func TestObjectIDs(t *testing.T) {
	m, err := manifestObjectID()
	if err != nil {
		t.Fatal(err)
	}
	if f := metaObjectID([16]byte{1, 2, 3}); f[0] != 2 || m[0] != 3 || f == m || f == (erasure.ObjectID{}) {
		t.Errorf("%v, %v", f, m)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	b, err := json.Marshal(goldenManifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTooNew) {
				t.Errorf("not our error: %v", err)
			}
			return
		}
		for _, file := range m.Files {
			if filepath.Dir(filepath.Join("dir", file.Name)) != "dir" {
				t.Errorf("a file outside: %q", file.Name)
			}
		}
	})
}

func FuzzReadStateFiles(f *testing.F) {
	for _, name := range []string{infoFile, stateFile, superblockFile, manifestPath} {
		b, err := os.ReadFile(filepath.Join("testdata/v1", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	k := formatKeys(f)
	super, _ := os.ReadFile(filepath.Join("testdata/v1", superblockFile))
	sealed, _ := os.ReadFile(filepath.Join("testdata/v1", manifestPath))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		for _, name := range []string{infoFile, stateFile, superblockFile, manifestPath} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadInfo(dir); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTooNew) {
			t.Errorf("info: %v", err)
		}
		if st, err := testDisk.readState(dir); err == nil && len(st.writerID()) != 16 {
			t.Errorf("state: %+v", st)
		}
		if _, err := testDisk.readSuperblockFile(dir, k); err == nil && !bytes.Equal(b, super) {
			t.Error("a forged superblock")
		}
		if _, err := loadManifest(dir, Options{Keys: k, Disk: vfs.Default}); err == nil && !bytes.Equal(b, sealed) {
			t.Error("a forged manifest")
		}
	})
}
