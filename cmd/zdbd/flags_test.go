package main

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A seal key is 32 bytes or 64 hex digits; its file is warned of when others can read it.
func TestReadSealKey(t *testing.T) {
	key := bytes.Repeat([]byte{0xa5, '\n'}, 16)
	digits := hex.EncodeToString(key)
	for name, c := range map[string]struct {
		file string
		mode os.FileMode
		good bool
		warn bool
	}{
		"raw":            {string(key), 0o600, true, false},
		"hex":            {digits, 0o400, true, false},
		"hex, line":      {digits + "\n", 0o600, true, false},
		"upper case":     {strings.ToUpper(digits), 0o600, true, false},
		"open to others": {digits, 0o644, true, true},
		"short":          {digits[:62], 0o600, false, false},
		"long":           {digits + "00", 0o600, false, false},
		"no hex":         {strings.Repeat("xy", 32), 0o600, false, false},
		"empty":          {"", 0o600, false, false},
		"huge":           {strings.Repeat("0", 5000), 0o600, false, false},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		got, err := readSealKey(path, slog.New(slog.NewTextHandler(&log, nil)))
		if (err == nil) != c.good || c.good && !bytes.Equal(got, key) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
		if (log.Len() > 0) != c.warn {
			t.Errorf("%s: log %q", name, log.String())
		}
		if err != nil && len(c.file) > 8 && strings.Contains(err.Error(), c.file[:8]) {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
	if _, err := readSealKey(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no file is a key")
	}
}
