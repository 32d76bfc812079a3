package endpoint

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/store"
)

// Conn is an open node. Get and Del give zdb.ErrNotFound for a key that is not there.
type Conn interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Set(ctx context.Context, key, value []byte) error
	Del(ctx context.Context, key []byte) error
	Space(ctx context.Context) (zdb.Space, error)
	Ping(ctx context.Context) error
	Close() error
}

// OpenOptions says how to open a node. The zero value is good.
type OpenOptions struct {
	ConnectTimeout time.Duration // 0 means 5s
	RequestTimeout time.Duration // 0 means 10s
	Log            *slog.Logger  // nil means no log
	Password       string        // of the namespace; empty means that of the password file
	AdminPassword  string        // of the server; empty unless administration is wanted
	AnyMode        bool          // a sequential namespace is no error

	// AllowDown lets Open succeed for a node that can't be reached now. Its calls fail
	// at once with zdb.ErrUnavailable, and it is tried again until it is there.
	AllowDown bool
	// AllowPlainPassword lets the password go in clear where it otherwise would not.
	AllowPlainPassword bool
	// NoCreate makes a missing namespace or directory an error; else it is made.
	NoCreate bool
}

// Open opens the node of e. A missing namespace is created when the server allows it.
func Open(ctx context.Context, e Endpoint, o OpenOptions) (Conn, error) {
	switch e.Scheme {
	case SchemeDir:
		return openDir(e, o)
	case SchemeTCP, SchemeTLS, SchemeUnix:
		return openServer(ctx, e, o)
	}
	return nil, fmt.Errorf("open node: %w", invalid(e.Scheme, "unknown scheme"))
}

func openServer(ctx context.Context, e Endpoint, o OpenOptions) (Conn, error) {
	target := client.Target{Network: "tcp", Address: e.Address, Namespace: e.Namespace, Password: o.Password, AdminPassword: o.AdminPassword}
	if target.Password == "" && e.PasswordFile != "" {
		password, err := readPassword(e.PasswordFile)
		if err != nil {
			return nil, err
		}
		target.Password = password
	}
	switch e.Scheme {
	case SchemeUnix:
		target.Network = "unix"
	case SchemeTLS:
		config, err := tlsConfig(e)
		if err != nil {
			return nil, err
		}
		target.TLS = config
	}
	c, err := client.Open(ctx, target, client.Options{
		ConnectTimeout:     o.ConnectTimeout,
		RequestTimeout:     o.RequestTimeout,
		CreateNamespace:    !o.NoCreate,
		AllowPlainPassword: o.AllowPlainPassword,
		AllowDown:          o.AllowDown,
		AnyMode:            o.AnyMode,
		Log:                o.Log,
	})
	if err != nil {
		return nil, err // not c: a nil *client.Client is no nil Conn
	}
	return c, nil
}

// embedded is a store as a Conn.
type embedded struct{ *store.Store }

// Ping tells whether the store works: its bookkeeping answers.
func (e embedded) Ping(ctx context.Context) error {
	_, err := e.Space(ctx)
	return err
}

func openDir(e Endpoint, o OpenOptions) (Conn, error) {
	if o.NoCreate {
		if _, err := os.Stat(e.Dir); err != nil {
			return nil, fmt.Errorf("open %s: %w", e, err)
		}
	}
	s, err := store.Open(e.Dir, store.Options{Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", e, err)
	}
	return embedded{s}, nil
}
