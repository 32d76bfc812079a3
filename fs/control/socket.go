package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits sockaddr_un.sun_path with its final zero (unix(7)).
const maxSocketPath = 107

// Listen makes the socket at path and listens on it. The folder is made when missing, with mode 0700. A socket that
// nobody listens on is replaced; ErrInUse when somebody does.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := privateDir(dir); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	name, done, err := shortName(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer done()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The name handed to bind may go through a file descriptor that is closed by now: we remove the file ourselves.
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		os.Remove(path)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &socket{UnixListener: listener, path: path, made: info, slots: make(chan struct{}, maxConnections)}, nil
}

// privateDir makes dir when it is missing and refuses one that other users could put their own socket into.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if int(owner) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s belongs to user %d with mode %04o; it must be yours and writable by you alone: %w", dir, owner, info.Mode().Perm(), fs.ErrPermission)
	}
	return nil
}

// removeStale removes a socket nobody listens on. Anything that is not a socket stays, and is an error.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := dial(path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if !errors.Is(err, ErrNotRunning) {
		return err
	}
	return os.Remove(path)
}

// dial connects to the socket at path. ErrNotRunning when there is none or nobody listens on it.
func dial(path string) (net.Conn, error) {
	name, done, err := shortName(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s", ErrNotRunning, path)
		}
		return nil, err
	}
	defer done()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, path)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// shortName gives a name for path that fits into a socket address: path itself, or the same file through a descriptor
// of its folder. Call done when the address was used.
func shortName(path string) (name string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path), func() { unix.Close(dir) }, nil
}

// socket is a listener that lets in our own user and root, at most maxConnections at a time.
type socket struct {
	*net.UnixListener
	path   string
	made   fs.FileInfo
	slots  chan struct{}
	closed sync.Once
	err    error
}

// Accept waits for a connection of somebody who may speak to us. Others are closed without a word.
func (s *socket) Accept() (net.Conn, error) {
	s.slots <- struct{}{}
	for {
		conn, err := s.AcceptUnix()
		if err != nil {
			<-s.slots
			return nil, err
		}
		if uid, err := peerUID(conn); err != nil || !allowed(uid, os.Geteuid()) {
			conn.Close()
			continue
		}
		return &slotConn{UnixConn: conn, release: sync.OnceFunc(func() { <-s.slots })}, nil
	}
}

// Close stops listening and removes the socket file, unless another daemon has put its own there since.
func (s *socket) Close() error {
	s.closed.Do(func() {
		if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.made) {
			os.Remove(s.path)
		}
		s.err = s.UnixListener.Close()
	})
	return s.err
}

func allowed(peer, own int) bool { return peer == own || peer == 0 }

// peerUID asks the kernel which user made the connection (unix(7), SO_PEERCRED).
func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return -1, err
	}
	if credErr != nil {
		return -1, credErr
	}
	return int(cred.Uid), nil
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	*net.UnixConn
	release func()
}

// Close closes the connection.
func (c *slotConn) Close() error {
	defer c.release()
	return c.UnixConn.Close()
}
