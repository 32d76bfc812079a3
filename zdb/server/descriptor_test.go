package server

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qsfs/qsfs/zdb"
)

var update = flag.Bool("update", false, "write the golden files")

var goldenDescriptor = descriptor{Name: "golden", Password: "secret", MaxBytes: 1 << 40, Public: true, Worm: true, Access: accessLocked, CreatedUnix: 1700000000}

func golden(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join("testdata", "v1", "descriptor")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, goldenDescriptor.append(nil), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenDescriptor(t *testing.T) {
	b := golden(t)
	if !bytes.Equal(b, goldenDescriptor.append(nil)) {
		t.Fatal("the format differs from the golden file: that needs a new version")
	}
	got, err := decodeDescriptor(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, goldenDescriptor); diff != "" {
		t.Fatal(diff)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 4
		if _, err := decodeDescriptor(bad); err == nil {
			t.Fatalf("byte %d flipped is no error", i)
		}
		if _, err := decodeDescriptor(b[:i]); !errors.Is(err, zdb.ErrCorrupt) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	b[4] = 2
	if _, err := decodeDescriptor(b); !errors.Is(err, zdb.ErrTooNew) {
		t.Fatal(err)
	}
}

func FuzzDescriptor(f *testing.F) {
	f.Add(golden(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDescriptor(b)
		if err == nil && !bytes.Equal(d.append(nil), b) {
			t.Fatalf("not canonical: %x", b)
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
