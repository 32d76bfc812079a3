package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/zdb/endpoint"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/server"
)

// drainTimeout is how long replies under way may take after SIGTERM.
const drainTimeout = 10 * time.Second

func newServe() *cobra.Command {
	f := &serveFlags{memory: 256 << 20, fileBytes: 256 << 20, maxRequest: resp.MaxRequestBytes}
	cmd := &cobra.Command{
		Use:   "zdbd --data DIR [--listen HOST:PORT] [--socket PATH]",
		Short: "A ZDB storage node",
		Long: `zdbd serves the 0-db protocol from a data directory.

It stays in the foreground, prints one line on stdout when it takes connections,
and logs on stderr. SIGTERM and Ctrl-C answer what has been received, make all
durable and end it; SIGHUP reads the TLS files again. A write is acknowledged
when it is on disk, unless --sync none.

Without --admin-file every connection is an administrator, as with the original
0-db: it can remove namespaces.

` + exitStatusHelp,
		Example: `  zdbd --data /srv/zdb1                                  # on 127.0.0.1:9900
  zdbd --listen 127.0.0.1:9901 --data /srv/zdb1
  zdbd --socket /run/zdb.sock --listen "" --data /srv/zdb1
  zdbd --listen 192.0.2.7:9900 --data /srv/zdb1 --admin-file /etc/zdb.admin --protect --maxsize 500GiB
  zdbd --listen 192.0.2.7:9900 --data /srv/zdb1 --tls-cert node.pem --tls-key node.key \
       --max-connections-per-client 64 --bytes-per-second 100MiB --metrics 127.0.0.1:9190`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.serve(cmd) },
	}
	f.register(cmd)
	return cmd
}

func (f *serveFlags) serve(cmd *cobra.Command) error {
	asJSON, _ := cmd.Flags().GetBool("json")
	log := f.logger(cmd.ErrOrStderr(), asJSON)
	o, err := f.options(log)
	if err != nil {
		return err
	}
	var secure *server.TLS
	if f.tls.CertFile != "" {
		if secure, err = server.NewTLS(f.tls); err != nil {
			return classify(err)
		}
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(f.goMemory())
	}
	// Signals are listened for before anything is opened: none is lost, none kills half-way.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	began := time.Now()
	log.Info("starting", "version", versionText(), "pid", os.Getpid(), "data", f.data, "sync", f.sync, "memory", f.memory.String(),
		"max_connections", o.MaxConnections, "max_open_stores", o.MaxOpenStores)
	srv, err := server.Open(o)
	if err != nil {
		return classify(err)
	}
	r := &running{flags: f, srv: srv, tls: secure, log: log}
	if err := r.listen(o.AdminPassword != ""); err != nil {
		return classify(errors.Join(err, srv.Close(context.Background())))
	}
	if err := srv.Ready(ctx); err != nil {
		return classify(errors.Join(err, srv.Close(context.Background())))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "zdbd: ready on %s\n", strings.Join(r.at, ", "))
	log.Info("ready", "listen", r.at, "took", time.Since(began).Round(time.Millisecond))
	r.logCertificate("TLS")
	notify(log, systemd.SdNotifyReady)
	background, endBackground := context.WithCancel(context.Background())
	defer endBackground()
	go keepNotified(background, srv, log)

	err = r.wait(ctx, hangups)
	stop() // a second signal ends the process at once
	endBackground()
	notify(log, systemd.SdNotifyStopping, "STATUS=draining")
	log.Info("draining", "connections", srv.Connections(), "timeout", drainTimeout)
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(err, srv.Close(drain), r.endMonitor(drain))
	totals := srv.Totals()
	log.Info("stopped", "uptime", time.Since(began).Round(time.Second), "connections", totals.Connections, "commands", totals.Commands,
		"received_bytes", totals.ReceivedBytes, "sent_bytes", totals.SentBytes, "clean", err == nil)
	if err != nil {
		return classify(err)
	}
	return nil
}

// running is a server with what is listened on.
type running struct {
	flags *serveFlags
	srv   *server.Server
	tls   *server.TLS // nil without
	log   *slog.Logger

	at      []string // the addresses
	failed  chan error
	monitor *http.Server // nil without --metrics
}

// listen begins to serve on all listeners, or on none.
func (r *running) listen(hasAdmin bool) error {
	var metrics net.Listener
	if r.flags.metrics != "" {
		var err error
		if metrics, err = net.Listen("tcp", r.flags.metrics); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	listeners, at, err := r.flags.listeners(r.tls, hasAdmin, r.log)
	if err != nil {
		if metrics != nil {
			metrics.Close()
		}
		return err
	}
	r.at, r.failed = at, make(chan error, len(listeners)+1)
	for _, l := range listeners {
		go func() { r.failed <- r.srv.Serve(l) }()
	}
	if metrics == nil {
		return nil
	}
	r.log.Info("metrics", "listen", metrics.Addr().String())
	r.monitor = &http.Server{
		Handler: r.srv.Monitor(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := r.monitor.Serve(metrics); !errors.Is(err, http.ErrServerClosed) {
			r.failed <- fmt.Errorf("metrics: %w", err)
		}
	}()
	return nil
}

// wait returns when the server is to end, with the reason if that is an error.
func (r *running) wait(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.failed:
			return err
		case <-hangups:
			r.reload()
		}
	}
}

func (r *running) reload() {
	if r.tls == nil {
		r.log.Info("SIGHUP: there are no TLS files to read again")
		return
	}
	notify(r.log, systemd.SdNotifyReloading, systemd.SdNotifyMonotonicUsec())
	if err := r.tls.Reload(); err != nil {
		r.log.Error("TLS files not taken, those before stay in use", "err", err)
	} else {
		r.logCertificate("TLS files read again")
	}
	notify(r.log, systemd.SdNotifyReady)
}

// logCertificate says what clients see, with the pin that a node's URL can have.
func (r *running) logCertificate(message string) {
	if r.tls != nil {
		cert := r.tls.Certificate()
		r.log.Info(message, "tls_pin", endpoint.Pin(cert), "valid_until", cert.NotAfter)
	}
}

func (r *running) endMonitor(ctx context.Context) error {
	if r.monitor == nil {
		return nil
	}
	return r.monitor.Shutdown(ctx)
}
