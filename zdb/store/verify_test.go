package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A crash while the next data file was created leaves it without its header. That is no
// damage: nothing was in it, and the next open removes it. Further back it is one.
func TestVerifyUnfinishedFile(t *testing.T) {
	for name, c := range map[string]struct {
		file     string
		size     int64
		torn     int64
		problems int
	}{
		"empty":           {"00000002.qzd", 0, 0, 0},
		"half a header":   {"00000002.qzd", fileHeaderBytes / 2, fileHeaderBytes / 2, 0},
		"not the last":    {"00000001.qzd", fileHeaderBytes / 2, 0, 1},
		"whole":           {"00000002.qzd", fileHeaderBytes, 0, 0},
		"zeros only":      {"00000003.qzd", fileHeaderBytes, fileHeaderBytes, 0},
		"longer, no head": {"00000003.qzd", fileHeaderBytes + 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, Options{})
			mustSet(t, s, "k", "v")
			if _, _, err := s.Jump(ctx); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, c.file), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(c.size); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(ctx, dir, VerifyOptions{})
			if err != nil || r.Problems < c.problems || c.problems == 0 && r.Problems > 0 || r.TornBytes != c.torn {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}
