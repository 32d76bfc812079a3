package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/endpoint"
)

// maxNodesFileBytes bounds a nodes file: 65535 nodes with long URLs fit.
const maxNodesFileBytes = 16 << 20

// nodes reads the flags' URLs into the nodes of a volume, in the order they were given.
func (f *nodeFlags) nodes() ([]fs.NodeConfig, error) {
	urls := f.urls
	if f.file != "" {
		listed, err := readNodesFile(f.file)
		if err != nil {
			return nil, err
		}
		urls = append(listed, urls...)
	}
	if len(urls) == 0 {
		return nil, exit.UsageError("for example --node zdb://192.0.2.7:9900/home; see \"qsfs init --help\"", "no node is named")
	}
	nodes := make([]fs.NodeConfig, 0, len(urls))
	seen := map[string]bool{}
	for i, raw := range urls {
		e, err := endpoint.Parse(raw)
		if err != nil {
			return nil, exit.New(exit.Usage, "", "node %d: %w", i+1, err)
		}
		url := e.String()
		if seen[url] {
			return nil, exit.UsageError("each shard of a stripe needs a node of its own", "node %s is named twice", url)
		}
		seen[url] = true
		password, err := nodePassword(e)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, fs.NodeConfig{ID: erasure.NodeID(i + 1), URL: url, Group: e.Group, Password: password})
	}
	return nodes, nil
}

func readNodesFile(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, exit.New(exit.Usage, "", "nodes file: %w", err)
	}
	if info.Size() > maxNodesFileBytes {
		return nil, exit.UsageError("", "nodes file %s: larger than 16 MiB", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, exit.New(exit.Usage, "", "nodes file: %w", err)
	}
	var urls []string
	for line := range strings.Lines(string(text)) {
		// A # inside a URL is refused by its parser, so one always begins a comment.
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			urls = append(urls, line)
		}
	}
	return urls, nil
}

// nodePassword reads a node's password file now: the password becomes part of the volume, sealed, so that a restore on
// another machine does not need the file.
func nodePassword(e endpoint.Endpoint) (string, error) {
	if e.PasswordFile == "" {
		return "", nil
	}
	info, err := os.Stat(e.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", exit.New(exit.NotPermitted, "chmod 600 "+e.PasswordFile, "password file %s must be a file that you alone can read", e.PasswordFile)
	}
	if info.Size() > zdb.MaxPasswordBytes+2 {
		return "", exit.UsageError("", "password file %s: longer than %d bytes", e.PasswordFile, zdb.MaxPasswordBytes)
	}
	text, err := os.ReadFile(e.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" || strings.ContainsAny(password, "\r\n\x00") {
		return "", exit.UsageError("", "password file %s must hold one line, the password", e.PasswordFile)
	}
	return password, nil
}

// embeddedNodes are n stores below dir, one folder each.
func embeddedNodes(dir string, n int) []fs.NodeConfig {
	nodes := make([]fs.NodeConfig, n)
	for i := range nodes {
		e := endpoint.Endpoint{Scheme: endpoint.SchemeDir, Dir: filepath.Join(dir, strconv.Itoa(i+1))}
		nodes[i] = fs.NodeConfig{ID: erasure.NodeID(i + 1), URL: e.String()}
	}
	return nodes
}

// dialer connects to nodes by their URLs. With create a namespace or folder that is missing is made; without it, it is
// an error: a node that came up empty must not pass for one that holds our data.
func dialer(log *slog.Logger, create bool) fs.Dialer {
	return func(ctx context.Context, n fs.NodeConfig) (erasure.Node, error) {
		e, err := endpoint.Parse(n.URL)
		if err != nil {
			return nil, err
		}
		if n.Password != "" {
			e.PasswordFile = "" // it was read when the volume was made, and may not be on this machine
		}
		conn, err := endpoint.Open(ctx, e, endpoint.OpenOptions{Log: log, Password: n.Password, NoCreate: !create})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// madeFolders remembers which folders are missing, to remove those that an attempt that failed has made.
type madeFolders []string

// watch notes dir and the folders above it that are not there yet.
func (m *madeFolders) watch(dir string) {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return
		}
		*m = append(*m, dir)
		dir = filepath.Dir(dir)
	}
}

// watchNodes notes the folders of embedded nodes.
func (m *madeFolders) watchNodes(nodes []fs.NodeConfig) {
	for _, n := range nodes {
		if e, err := endpoint.Parse(n.URL); err == nil && e.Scheme == endpoint.SchemeDir {
			m.watch(e.Dir)
		}
	}
}

// remove takes away what was not there before. The folders named themselves go with all they hold, since nothing of it
// can be older than the attempt.
func (m madeFolders) remove() {
	for _, dir := range m {
		os.RemoveAll(dir)
	}
}
