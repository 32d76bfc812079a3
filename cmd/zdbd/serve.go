package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/server"
	"github.com/spf13/cobra"
)

// serveFlags are the flags of zdbd itself.
type serveFlags struct {
	listen, socket, data, adminFile string
	protect                         bool
	sync                            string
	maxBytes, memory                size
	maxConnections                  int
	verbose                         bool
}

// drainTimeout is how long replies under way may take after SIGTERM.
const drainTimeout = 10 * time.Second

func newServe() *cobra.Command {
	f := &serveFlags{memory: 256 << 20}
	cmd := &cobra.Command{
		Use:   "zdbd --data DIR [--listen HOST:PORT] [--socket PATH]",
		Short: "A ZDB storage node",
		Long: `zdbd serves the 0-db protocol (user keys) from a data directory.

It stays in the foreground and prints one line on stdout when it takes
connections. SIGTERM and Ctrl-C answer what has been received, make all durable
and end it. A write is acknowledged when it is on disk, unless --sync none.

Without --admin-file every connection is an administrator, as with the original
0-db: it can remove namespaces. The passwords of namespaces are kept in clear in
files of mode 0600 below the data directory.

` + exitStatusHelp,
		Example: `  zdbd --data /srv/zdb1                                  # on 127.0.0.1:9900
  zdbd --listen 127.0.0.1:9901 --data /srv/zdb1
  zdbd --socket /run/zdb.sock --listen "" --data /srv/zdb1
  zdbd --listen 192.0.2.7:9900 --data /srv/zdb1 --admin-file /etc/zdb.admin --protect --maxsize 500GiB`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.serve(cmd) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.listen, "listen", fmt.Sprintf("127.0.0.1:%d", zdb.DefaultPort), `TCP address to listen on; "" for none`)
	fl.StringVar(&f.socket, "socket", "", "unix socket to listen on")
	fl.StringVar(&f.data, "data", "", "data directory, created when it is not there (required)")
	fl.StringVar(&f.adminFile, "admin-file", "", "file with the admin password")
	fl.BoolVar(&f.protect, "protect", false, "the default namespace is written with the admin password only")
	fl.StringVar(&f.sync, "sync", "group", "when a write is acknowledged: always (after an fsync of its own), group (after an fsync shared with the writes that wait), none (at once)")
	fl.Var(&f.maxBytes, "maxsize", "most payload in the default namespace and in each new one; 0 for no limit")
	fl.IntVar(&f.maxConnections, "max-connections", 1024, "connections served at a time")
	fl.Var(&f.memory, "memory", "memory to keep to")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	return cmd
}

func (f *serveFlags) serve(cmd *cobra.Command) error {
	asJSON, _ := cmd.Flags().GetBool("json")
	log := f.logger(cmd, asJSON)
	o, err := f.options(log)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(f.memory))
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	srv, err := server.Open(o)
	if err != nil {
		return classify(err)
	}
	listeners, err := f.listeners(o.AdminPassword != "", log)
	if err != nil {
		return classify(errors.Join(err, srv.Close(context.Background())))
	}
	failed := make(chan error, len(listeners))
	var at []string
	for _, l := range listeners {
		at = append(at, l.Addr().Network()+" "+l.Addr().String())
		go func() { failed <- srv.Serve(l) }()
	}
	fmt.Fprintf(cmd.OutOrStdout(), "zdbd: ready on %s\n", strings.Join(at, ", "))

	select {
	case <-ctx.Done():
		stop() // a second signal ends the process at once
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if e := srv.Close(drain); err == nil {
		err = e
	}
	if err != nil {
		return classify(err)
	}
	return nil
}

func (f *serveFlags) logger(cmd *cobra.Command, asJSON bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelWarn}
	if f.verbose {
		o.Level = slog.LevelDebug
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), o))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), o))
}

func (f *serveFlags) options(log *slog.Logger) (server.Options, error) {
	o := server.Options{
		DataDir: f.data, Protect: f.protect, MaxBytes: int64(f.maxBytes), MaxConnections: f.maxConnections,
		MemoryBytes: int64(f.memory) / 4, Version: versionText(), Log: log,
	}
	switch f.sync {
	case "always":
		o.Sync = server.SyncAlways
	case "group":
		o.Sync = server.SyncGroup
	case "none":
		o.Sync = server.SyncNone
	default:
		return o, usage("--sync is always, group or none, not %q", f.sync)
	}
	switch {
	case f.data == "":
		return o, usage("--data is missing")
	case f.listen == "" && f.socket == "":
		return o, usage("neither --listen nor --socket is given")
	case f.protect && f.adminFile == "":
		return o, usage("--protect needs --admin-file")
	case f.maxConnections < 1:
		return o, usage("--max-connections is at least 1")
	case f.memory < 64<<20:
		return o, usage("--memory is at least 64MiB")
	}
	// A store's index takes its cache and up to 4 MiB of memtables.
	o.MaxOpenStores = int(max(2, min(64, int64(f.memory)/(16<<20))))
	if f.adminFile != "" {
		password, err := readPassword(f.adminFile, log)
		if err != nil {
			return o, err
		}
		o.AdminPassword = password
	}
	return o, nil
}

// readPassword reads the first line of a file.
func readPassword(path string, log *slog.Logger) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", classify(fmt.Errorf("admin password: %w", err))
	}
	if st.Mode().Perm()&0o077 != 0 {
		log.Warn("the admin password file can be read by others", "file", path, "mode", st.Mode().Perm().String())
	}
	if st.Size() > 4096 {
		return "", usage("admin password file %s is too long", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", classify(fmt.Errorf("admin password: %w", err))
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	password := string(bytes.TrimSuffix(line, []byte("\r")))
	switch {
	case password == "":
		return "", usage("admin password file %s is empty", path)
	case len(password) > zdb.MaxPasswordBytes:
		return "", usage("admin password is longer than %d bytes", zdb.MaxPasswordBytes)
	}
	return password, nil
}

// listeners opens what is to be listened on, all or none.
func (f *serveFlags) listeners(hasAdmin bool, log *slog.Logger) (ls []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
		}
	}()
	if f.listen != "" {
		l, err := net.Listen("tcp", f.listen)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !hasAdmin {
			log.Warn("ANYONE WHO REACHES THIS ADDRESS CAN READ, CHANGE AND DELETE ALL DATA: no admin password is set, use --admin-file and --protect", "listen", a.String())
		}
	}
	if f.socket != "" {
		l, err := listenUnix(f.socket)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
	}
	return ls, nil
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
