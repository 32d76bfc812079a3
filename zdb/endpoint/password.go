package endpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/qsfs/qsfs/zdb"
)

// ErrPermissions means a password file that others than its owner can read, or that
// belongs to someone else.
var ErrPermissions = errors.New("password file is not private")

// readPassword reads a password file: one line, only its owner's, who is us or root.
func readPassword(path string) (string, error) {
	// O_NONBLOCK so that a FIFO in its place can't hold us; it is refused below.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("password file %s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%w: %s has mode %#o; run chmod 600 on it", ErrPermissions, path, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%w: %s belongs to user %d", ErrPermissions, path, stat.Uid)
	}
	data, err := io.ReadAll(io.LimitReader(f, zdb.MaxPasswordBytes+3))
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case password == "":
		return "", fmt.Errorf("password file %s: empty", path)
	case len(password) > zdb.MaxPasswordBytes:
		return "", fmt.Errorf("password file %s: longer than %d bytes", path, zdb.MaxPasswordBytes)
	case strings.ContainsAny(password, "\n\r\x00"):
		return "", fmt.Errorf("password file %s: more than one line", path)
	}
	return password, nil
}
