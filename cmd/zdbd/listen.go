package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/zdb/server"
)

// listeners opens what is to be listened on, all or none. at names them for people.
func (f *serveFlags) listeners(secure *server.TLS, hasAdmin bool, log *slog.Logger) (ls []net.Listener, at []string, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
		}
	}()
	tcp := func(address string, secure *server.TLS) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !hasAdmin && (secure == nil || f.tls.ClientCAFile == "") {
			log.Warn("ANYONE WHO REACHES THIS ADDRESS CAN READ, CHANGE AND DELETE ALL DATA: no admin password is set, use --admin-file and --protect", "listen", a.String())
		}
		network := "tcp"
		if secure != nil {
			l, network = secure.Listener(l), "tls"
		}
		ls, at = append(ls, l), append(at, network+" "+l.Addr().String())
		return nil
	}
	if f.listen != "" {
		if err := tcp(f.listen, secure); err != nil {
			return ls, at, err
		}
	}
	if f.listenPlain != "" {
		if err := tcp(f.listenPlain, nil); err != nil {
			return ls, at, err
		}
	}
	if f.socket != "" {
		l, err := listenUnix(f.socket)
		if err != nil {
			return ls, at, err
		}
		ls, at = append(ls, l), append(at, "unix "+l.Addr().String())
	}
	return ls, at, nil
}

// listenUnix takes the place of a socket that a killed process left behind, never
// that of one somebody listens on.
func listenUnix(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() == os.ModeSocket {
		nc, err := net.DialTimeout("unix", path, time.Second)
		switch {
		case err == nil:
			nc.Close()
			return nil, fmt.Errorf("socket %s: %w", path, syscall.EADDRINUSE)
		case errors.Is(err, syscall.ECONNREFUSED):
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	return net.Listen("unix", path)
}
