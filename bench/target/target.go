// Package target makes the directories that are compared: a plain one, one of a
// gocryptfs, one of a qsfs, and any that is there already.
//
// A prepared target lives wholly below the base folder it is given. Close takes away
// everything that was made: it stops the daemon, sees the mount gone, by force in the
// end, and removes the files. It removes nothing while a mount is still there.
package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotInstalled means that the program of a target is not on this machine.
var ErrNotInstalled = errors.New("not installed")

const (
	readyTimeout = 60 * time.Second // from the start of a daemon to its mount
	stopTimeout  = 90 * time.Second // from SIGTERM to the end of a daemon: it may have data to upload
	pollEvery    = 10 * time.Millisecond
)

// Target is a directory to measure in.
type Target struct {
	Name    string
	Dir     string // empty and ours
	Details string // what is behind it, for the report

	// Settle, if not nil, waits until work that earlier writes left is done, so that it
	// does not disturb the next measurement.
	Settle func(ctx context.Context) error

	close func(ctx context.Context) error
}

// Close takes the target away. Only the first call does something.
func (t *Target) Close(ctx context.Context) error {
	if t.close == nil {
		return nil
	}
	err := t.close(ctx)
	t.close = nil
	if err != nil {
		return fmt.Errorf("target %s: %w", t.Name, err)
	}
	return nil
}

// Existing measures in a new folder of a directory that is there.
func Existing(name, dir string) (*Target, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("target %s: %s is not a directory", name, dir)
	}
	work, err := os.MkdirTemp(dir, "qsfs-bench-")
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	return &Target{
		Name: name, Dir: work, Details: fileSystemOf(dir),
		close: func(context.Context) error { return os.RemoveAll(work) },
	}, nil
}

// Plain is a directory on the file system of base.
func Plain(base string) (*Target, error) { return Existing("plain", base) }

// Gocryptfs makes and mounts a gocryptfs below base.
func Gocryptfs(ctx context.Context, base string) (_ *Target, err error) {
	program, err := exec.LookPath("gocryptfs")
	if err != nil {
		return nil, fmt.Errorf("target gocryptfs: %w", ErrNotInstalled)
	}
	m, err := newMount("gocryptfs", base, "cipher")
	if err != nil {
		return nil, err
	}
	defer m.undo(ctx, &err)
	m.exits = []int{15} // its exit code for SIGINT and SIGTERM
	password := filepath.Join(m.root, "password")
	if err := os.WriteFile(password, []byte("measured, not secret\n"), 0o600); err != nil {
		return nil, err
	}
	cipher := filepath.Join(m.root, "cipher")
	// -scryptn 10: the password guards nothing here, so its hash need not be slow.
	if out, err := exec.CommandContext(ctx, program, "-init", "-q", "-scryptn", "10", "-passfile", password, "--", cipher).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gocryptfs -init: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := m.start(ctx, program, "-fg", "-q", "-nosyslog", "-passfile", password, "--", cipher, m.point); err != nil {
		return nil, err
	}
	return m.target(firstLine(ctx, program, "-version")), nil
}

// QsfsOptions say which qsfs is measured and how.
type QsfsOptions struct {
	Name    string   // of the target; empty means qsfs
	Program string   // path of the binary
	Args    []string // further arguments of "qsfs up"
}

// Qsfs makes and mounts a qsfs on its embedded nodes, all below base.
func Qsfs(ctx context.Context, base string, o QsfsOptions) (_ *Target, err error) {
	if o.Name == "" {
		o.Name = "qsfs"
	}
	program, err := exec.LookPath(o.Program)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w: %w", o.Name, ErrNotInstalled, err)
	}
	m, err := newMount(o.Name, base, "state", "cache")
	if err != nil {
		return nil, err
	}
	defer m.undo(ctx, &err)
	// A name of its own keeps it apart from volumes of this machine's user.
	volume := strings.ToLower(filepath.Base(m.root))
	state := []string{"--state-dir", filepath.Join(m.root, "state"), "--cache-dir", filepath.Join(m.root, "cache")}
	args := append([]string{"up", m.point, "--name", volume, "--new-phrase-file", filepath.Join(m.root, "words")}, state...)
	if err := m.start(ctx, program, append(args, o.Args...)...); err != nil {
		return nil, err
	}
	t := m.target(strings.TrimSpace(firstLine(ctx, program, "version") + " " + strings.Join(o.Args, " ")))
	t.Settle = func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, program, append([]string{"sync", volume}, state...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("qsfs sync: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	}
	return t, nil
}

func firstLine(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
