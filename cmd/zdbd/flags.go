package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"time"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/server"
	"github.com/qsfs/qsfs/zdb/store"
	"github.com/spf13/cobra"
)

// serveFlags are the flags of zdbd itself.
type serveFlags struct {
	data, listen, listenPlain, socket string
	adminFile, sealKeyFile            string
	protect                           bool
	mode, sync, hook                  string
	maxBytes, memory, fileBytes       bytesize.Value

	tls server.TLSOptions

	maxConnections, perClient int
	maxRequest                bytesize.Value
	requestsPerSecond         float64
	bytesPerSecond            bytesize.Value
	idle                      time.Duration

	metrics       string
	metricsPublic bool
	quiet         bool
	verbose       bool
}

func (f *serveFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.data, "data", "", "data directory, created when it is not there (required)")
	fl.StringVar(&f.listen, "listen", fmt.Sprintf("127.0.0.1:%d", zdb.DefaultPort), `TCP address to listen on; "" for none`)
	fl.StringVar(&f.socket, "socket", "", "unix socket to listen on")
	fl.StringVar(&f.adminFile, "admin-file", "", "file with the admin password")
	fl.BoolVar(&f.protect, "protect", false, "the default namespace is written with the admin password only")
	fl.StringVar(&f.mode, "mode", "mixed", "who chooses the keys: user (the client), seq (the server counts), mixed (as NSSET mode says for each namespace)")
	fl.StringVar(&f.sync, "sync", "group", "when a write is acknowledged: always (after an fsync of its own), group (after an fsync shared with the writes that wait), none (at once)")
	fl.Var(&f.maxBytes, "maxsize", "most payload in the default namespace and in each new one; 0 for no limit")
	fl.Var(&f.fileBytes, "file-size", "a data file is ended at this size, or before while there is little data, and the next begun")
	fl.Var(&f.memory, "memory", "memory to keep to, at least 128MiB")
	fl.StringVar(&f.hook, "hook", "", "program that is run when a data file is full, and at other events")
	fl.StringVar(&f.sealKeyFile, "seal-key-file", "", "file with the key, 32 bytes or 64 hex digits, that seals the passwords of namespaces; by default one in the data directory")

	fl.StringVar(&f.tls.CertFile, "tls-cert", "", "certificate (PEM): the TCP listener speaks TLS 1.3; read again on SIGHUP")
	fl.StringVar(&f.tls.KeyFile, "tls-key", "", "its key (PEM)")
	fl.StringVar(&f.tls.ClientCAFile, "tls-client-ca", "", "authorities (PEM): clients need a certificate of one of them")
	fl.BoolVar(&f.tls.PostQuantumOnly, "tls-pq-only", false, "refuse TLS clients without the key exchange X25519MLKEM768")
	fl.StringVar(&f.listenPlain, "listen-plain", "", "TCP address that stays without TLS, beside that of --listen")

	fl.IntVar(&f.maxConnections, "max-connections", 0, "connections served at a time; 0 for what a quarter of the memory holds, at most 1024")
	fl.IntVar(&f.perClient, "max-connections-per-client", 0, "connections of one client: an IPv4 address, a /64 network of IPv6, a user of the unix socket; 0 for no limit")
	fl.Var(&f.maxRequest, "max-request", "longest request, all its arguments together")
	fl.Float64Var(&f.requestsPerSecond, "requests-per-second", 0, "requests of one client; above it he waits. 0 for no limit")
	fl.Var(&f.bytesPerSecond, "bytes-per-second", "bytes of one client, both ways together; above it he waits. 0 for no limit")
	fl.DurationVar(&f.idle, "idle-timeout", 0, "a connection without a request for so long is closed; 0 for never")

	fl.StringVar(&f.metrics, "metrics", "", "address for GET /metrics (Prometheus) and /healthz; without it nothing is measured")
	fl.BoolVar(&f.metricsPublic, "metrics-public", false, "let --metrics be an address that other machines reach")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "log warnings and errors only")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
}

func (f *serveFlags) logger(w io.Writer, asJSON bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	switch {
	case f.verbose:
		o.Level = slog.LevelDebug
	case f.quiet:
		o.Level = slog.LevelWarn
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// What of --memory goes where. A quarter is for requests and replies in flight (and what the
// garbage collector has not taken back of them), three eighths for the stores, a quarter for
// connections.
const (
	minMemory          = 128 << 20
	minFileBytes       = 64 << 10
	programBytes       = 24 << 20 // the program itself, which Go's memory limit does not count
	storeBytes         = 16 << 20 // an open store: memtables of its index, of the caches' share, and what it takes for a while
	storeOtherBytes    = 4 << 20  // of these, what is not of the caches'
	plainConnBytes     = 96 << 10 // a connection: its read buffer, two stacks, the kernel's view of it aside
	tlsConnBytes       = 160 << 10
	defaultConnections = 1024
)

// check finds what is wrong with the flags alone.
func (f *serveFlags) check() error {
	switch {
	case f.data == "":
		return usage("--data is missing")
	case f.listen == "" && f.socket == "" && f.listenPlain == "":
		return usage("neither --listen nor --socket is given")
	case f.protect && f.adminFile == "":
		return usage("--protect needs --admin-file")
	case (f.tls.CertFile == "") != (f.tls.KeyFile == ""):
		return usage("--tls-cert and --tls-key go together")
	case f.tls.CertFile == "" && (f.tls.ClientCAFile != "" || f.tls.PostQuantumOnly):
		return usage("--tls-client-ca and --tls-pq-only need --tls-cert")
	case f.tls.CertFile != "" && f.listen == "":
		return usage("--tls-cert needs --listen")
	case f.listenPlain != "" && f.tls.CertFile == "":
		return usage("--listen-plain is for a second address beside TLS; use --listen")
	case f.maxConnections < 0 || f.perClient < 0:
		return usage("--max-connections and --max-connections-per-client are not negative")
	case f.requestsPerSecond < 0 || math.IsNaN(f.requestsPerSecond) || math.IsInf(f.requestsPerSecond, 0):
		return usage("--requests-per-second is not negative")
	case f.maxRequest < 1<<10 || f.maxRequest > resp.MaxRequestBytes:
		return usage("--max-request is from 1KiB to %d", resp.MaxRequestBytes)
	case f.idle < 0:
		return usage("--idle-timeout is not negative")
	case f.fileBytes < minFileBytes:
		return usage("--file-size is at least 64KiB")
	case f.memory < minMemory:
		return usage("--memory is at least 128MiB")
	case f.quiet && f.verbose:
		return usage("--quiet and --verbose exclude each other")
	case f.metricsPublic && f.metrics == "":
		return usage("--metrics-public needs --metrics")
	}
	if f.metrics != "" && !f.metricsPublic {
		if host, _, err := net.SplitHostPort(f.metrics); err != nil || !isLoopback(host) {
			return usage("--metrics %s is not a loopback address: others would see names and sizes of all namespaces; add --metrics-public if they may", f.metrics)
		}
	}
	fits := f.connectionsThatFit()
	if f.maxConnections > fits {
		return usage("%d connections do not fit into --memory %s: at most %d do", f.maxConnections, f.memory.String(), fits)
	}
	if f.maxConnections == 0 {
		f.maxConnections = min(fits, defaultConnections)
	}
	return nil
}

func (f *serveFlags) openStores() int { return int(max(2, min(64, int64(f.memory)/2/storeBytes))) }

// cacheBytes is what the indexes of all open stores share.
func (f *serveFlags) cacheBytes() int64 {
	return int64(f.memory)*3/8 - int64(f.openStores())*storeOtherBytes
}

// goMemory is the limit for Go's runtime, so that the process keeps to --memory.
func (f *serveFlags) goMemory() int64 {
	n := int64(f.memory) - programBytes
	if store.CachesOffHeap {
		// What malloc takes for blocks of many sizes is up to half more (measured 2026-12).
		n -= f.cacheBytes() * 3 / 2
	}
	return n
}

func (f *serveFlags) connectionsThatFit() int {
	each := int64(plainConnBytes)
	if f.tls.CertFile != "" {
		each = tlsConnBytes
	}
	return int(int64(f.memory) / 4 / each)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	return net.ParseIP(host).IsLoopback()
}

func (f *serveFlags) options(log *slog.Logger) (server.Options, error) {
	o := server.Options{
		DataDir: f.data, Protect: f.protect, MaxBytes: int64(f.maxBytes), Version: versionText(), Log: log,
		MaxConnections: f.maxConnections, MaxConnectionsPerClient: f.perClient,
		RequestsPerSecond: f.requestsPerSecond, BytesPerSecond: float64(f.bytesPerSecond),
		MaxRequestBytes: int64(f.maxRequest), IdleTimeout: f.idle,
		MemoryBytes: int64(f.memory) / 4, FileBytes: int64(f.fileBytes), MaxOpenStores: f.openStores(), CacheBytes: f.cacheBytes(),
		Metrics: f.metrics != "",
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
	switch f.mode {
	case "mixed":
		o.Mode = server.ModeMixed
	case "user":
		o.Mode = server.ModeUser
	case "seq":
		o.Mode = server.ModeSequential
	default:
		return o, usage("--mode is mixed, user or seq, not %q", f.mode)
	}
	if err := f.check(); err != nil {
		return o, err
	}
	o.MaxConnections = f.maxConnections
	if f.adminFile != "" {
		password, err := readAdminPassword(f.adminFile, log)
		if err != nil {
			return o, err
		}
		o.AdminPassword = password
	}
	if f.sealKeyFile != "" {
		key, err := readSealKey(f.sealKeyFile, log)
		if err != nil {
			return o, err
		}
		o.SealKey = key
	}
	o.Hook, o.InstanceID = f.hook, "tcp://"+f.listen
	if f.listen == "" {
		o.InstanceID = "unix://" + f.socket
	}
	return o, nil
}

// readSecret reads a small file that should be its owner's alone.
func readSecret(what, path string, log *slog.Logger) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, classify(fmt.Errorf("%s: %w", what, err))
	}
	defer file.Close()
	const most = 4096
	b, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, classify(fmt.Errorf("%s: %w", what, err))
	}
	if len(b) > most {
		return nil, usage("%s file %s is too long", what, path)
	}
	if st, err := file.Stat(); err == nil && st.Mode().Perm()&0o077 != 0 {
		log.Warn("a secret's file can be read by others", "file", path, "mode", st.Mode().Perm().String())
	}
	return b, nil
}

// readAdminPassword reads the first line of a file.
func readAdminPassword(path string, log *slog.Logger) (string, error) {
	b, err := readSecret("admin password", path, log)
	if err != nil {
		return "", err
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

// readSealKey reads 32 bytes, as they are or in hex.
func readSealKey(path string, log *slog.Logger) ([]byte, error) {
	b, err := readSecret("seal key", path, log)
	if err != nil {
		return nil, err
	}
	const keyBytes = 32
	if len(b) == keyBytes {
		return b, nil
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != keyBytes {
		return nil, usage("seal key file %s has neither 32 bytes nor 64 hex digits", path)
	}
	return key, nil
}
