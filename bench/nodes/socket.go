package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/bench/daemon"
)

// socket is a blocking connection. A reply is waited for in one read(2), where Go's own
// connections take a read that fails, a wait and a second read: the generator shares its
// processors with the server that it measures.
type socket struct{ fd int }

func dial(network, address string) (socket, error) {
	var to unix.Sockaddr
	family := unix.AF_UNIX
	if network == daemon.TCP {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return socket{}, err
		}
		if !at.Addr().Is4() {
			return socket{}, fmt.Errorf("dial %s: not an IPv4 address", address)
		}
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else {
		to = &unix.SockaddrUnix{Name: address}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{}, fmt.Errorf("socket: %w", err)
	}
	err = unix.Connect(fd, to)
	if err == nil && network == daemon.TCP {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		return socket{}, errors.Join(fmt.Errorf("connect to %s: %w", address, err), unix.Close(fd))
	}
	return socket{fd}, nil
}

// Read waits for something to read.
func (s socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes all of p.
func (s socket) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(s.fd, p[done:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return done, err
		}
		done += max(n, 0)
	}
	return done, nil
}

// hangUp ends reads and writes that wait.
func (s socket) hangUp() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) }

func (s socket) close() error { return unix.Close(s.fd) }
