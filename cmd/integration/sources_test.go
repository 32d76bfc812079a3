package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The programs under test are built by a command, so the go tool does not see what they
// are made of and would show a cached result after they changed. It does see the
// files that a test asks for.
func TestSourcesAreInputs(t *testing.T) {
	sources := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") || d.Name() == "go.mod" {
			sources++
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil || sources < 100 {
		t.Errorf("%d source files, %v", sources, err)
	}
}
