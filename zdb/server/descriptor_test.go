package server

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qsfs/qsfs/zdb"
)

var update = flag.Bool("update", false, "write the golden files")

var goldenDescriptor = descriptor{
	Name: "golden", SealedPassword: bytes.Repeat([]byte{0xa5}, sealedMinBytes+5), MaxBytes: 1 << 40,
	Public: true, Worm: true, Access: accessLocked, Mode: sequentialKeys, CreatedUnix: 1700000000,
}

// golden reads a golden file; made says how it was made. Only the present version is ever written.
func golden(t testing.TB, path string, made func() []byte) []byte {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *update && made != nil {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, made(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenV2(t testing.TB) []byte {
	return golden(t, "v2/descriptor", func() []byte { return goldenDescriptor.append(nil) })
}

func TestGoldenDescriptor(t *testing.T) {
	b := goldenV2(t)
	if !bytes.Equal(b, goldenDescriptor.append(nil)) {
		t.Fatal("the format differs from the golden file: that needs a new version")
	}
	got, version, password, err := decodeDescriptor(b)
	if err != nil || version != 2 || password != "" {
		t.Fatal(version, password, err)
	}
	if diff := cmp.Diff(got, goldenDescriptor); diff != "" {
		t.Fatal(diff)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if _, _, _, err := decodeDescriptor(bad); err == nil {
			t.Fatalf("byte %d flipped is no error", i)
		}
		if _, _, _, err := decodeDescriptor(b[:i]); !errors.Is(err, zdb.ErrCorrupt) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	b[4] = 3
	if _, _, _, err := decodeDescriptor(b); !errors.Is(err, zdb.ErrTooNew) {
		t.Fatal(err)
	}
}

// A descriptor of version 1 has its password in clear. It opens, and what is on disk
// after the start has neither the version nor the password.
func TestDescriptorOfVersion1(t *testing.T) {
	old := golden(t, "v1/descriptor", nil)
	want := descriptor{Name: "golden", MaxBytes: 1 << 40, Public: true, Worm: true, Access: accessLocked, CreatedUnix: 1700000000}
	d, version, password, err := decodeDescriptor(old)
	if err != nil || version != 1 || password != "secret" {
		t.Fatal(version, password, err)
	}
	if diff := cmp.Diff(d, want); diff != "" {
		t.Fatal(diff)
	}
	dir := t.TempDir()
	folder := filepath.Join(dir, "namespaces", "n-golden")
	path := filepath.Join(folder, "descriptor")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", old, 0o600); err != nil { // a crash left it
		t.Fatal(err)
	}
	same := filepath.Join(dir, "same file")
	if err := os.Link(path, same); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once replacing it, once as it then is
		s, addr := run(t, Options{DataDir: dir})
		c := dial(t, addr)
		c.want("-Access denied", "SELECT", "golden", "wrong")
		c.want("+OK", "SELECT", "golden", "secret")
		c.want("-Namespace is temporarily locked (read-only)", "SET", "k", "v")
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, same} {
		b, err := os.ReadFile(p)
		if err != nil || bytes.Contains(b, []byte("secret")) {
			t.Fatalf("%s: %q, %v", p, b, err)
		}
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if d, version, _, err = decodeDescriptor(b); err != nil || version != 2 {
		t.Fatal(version, err)
	}
	want.SealedPassword = d.SealedPassword
	if diff := cmp.Diff(d, want); diff != "" {
		t.Fatal(diff)
	}
}

func FuzzDescriptor(f *testing.F) {
	f.Add(goldenV2(f))
	f.Add(golden(f, "v1/descriptor", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, version, password, err := decodeDescriptor(b)
		if err == nil {
			last := d.SealedPassword
			if version == 1 {
				last = []byte(password)
			}
			if !bytes.Equal(d.encode(version, last), b) {
				t.Fatalf("not canonical: %x", b)
			}
		}
		if err != nil && !errors.Is(err, zdb.ErrCorrupt) && !errors.Is(err, zdb.ErrTooNew) {
			t.Fatal(err)
		}
	})
}

// No two names share a folder, and none is more than a name in it.
func TestDirName(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A", "n-a", "...", "a b", "a\nb", "ü", strings.Repeat("a", 100), strings.Repeat("a", 101), strings.Repeat("\xff", 128), "x-" + strings.Repeat("0", 64)} {
		d := dirName(name)
		if other, ok := seen[d]; ok || strings.ContainsAny(d, "/\x00\n") || len(d) > 255 {
			t.Fatalf("%q and %q: %q", name, other, d)
		}
		seen[d] = name
	}
}

// A namespace whose descriptor is damaged is not served and not replaced; the others are.
func TestDamagedDescriptor(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir})
	c := dial(t, addr)
	c.want("+OK", "NSNEW", "x")
	c.want("+OK", "NSNEW", "y")
	s.Close(t.Context())
	path := filepath.Join(dir, "namespaces", "n-x", "descriptor")
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("[default y]", "NSLIST")
	c.want("-Namespace not found", "SELECT", "x")
	c.want("-Could not create namespace", "NSNEW", "x")
	if b, err := os.ReadFile(path); err != nil || string(b) != "garbage" {
		t.Fatalf("%q, %v", b, err)
	}
}
