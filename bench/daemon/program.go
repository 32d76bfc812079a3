package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// Ours is the zdbd at path, or, where that is empty, the one of this source tree, built
// below dir.
func Ours(ctx context.Context, path, dir string, args ...string) (Program, error) {
	p := Program{Name: "zdbd", Path: path, Args: args}
	if path == "" {
		p.Path = filepath.Join(dir, "zdbd")
		out, err := exec.CommandContext(ctx, "go", "build", "-o", p.Path, "github.com/qsfs/qsfs/cmd/zdbd").CombinedOutput()
		if err != nil {
			return p, fmt.Errorf("build zdbd: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	_, err := exec.LookPath(p.Path)
	return p, err
}

// Original is the original 0-db at path.
func Original(path string, args ...string) (Program, error) {
	_, err := exec.LookPath(path)
	return Program{Name: "original", Path: path, Original: true, Args: args}, err
}

const versionTimeout = 10 * time.Second

// versionOf finds a version number in what the original prints.
var versionOf = regexp.MustCompile(`v\d+\.\d+\.\d+`)

// Version asks a program for its version; empty when it does not tell.
func (p Program) Version(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	if p.Original {
		out, _ := exec.CommandContext(ctx, p.Path, "--version").CombinedOutput()
		return string(bytes.TrimSpace(append([]byte("0-db "), versionOf.Find(out)...)))
	}
	out, _ := exec.CommandContext(ctx, p.Path, "version").Output()
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}
