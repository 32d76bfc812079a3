package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Target says which namespace of which server. It prints without its secrets.
type Target struct {
	Network       string // "tcp" or "unix"
	Address       string // HOST:PORT, or the socket's path
	Namespace     string // empty means zdb.DefaultNamespace
	Password      string // of the namespace; empty for none
	AdminPassword string // of the server; empty unless administration is wanted
	TLS           *tls.Config
}

// String gives the address and the namespace, never a password.
func (t Target) String() string { return t.Address + "/" + t.Namespace }

// GoString keeps %#v from printing passwords.
func (t Target) GoString() string { return "client.Target(" + t.String() + ")" }

// LogValue keeps structured logs from printing passwords.
func (t Target) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Options says how to reach a server. The zero value is good.
type Options struct {
	ConnectTimeout     time.Duration // dial, TLS and first words together; 0 means 5s
	RequestTimeout     time.Duration // a request, waiting for its turn included; 0 means 10s
	MaxConns           int           // connections; 0 means 4
	MaxInflight        int           // requests at once on all connections; 0 means 256
	CreateNamespace    bool          // NSNEW a missing namespace on the first connection
	AllowPlainPassword bool          // let passwords go in clear over any network
	AnyMode            bool          // the other mode is no error: for who copies keys as they are
	AllowDown          bool          // Open succeeds, with the circuit open, when the node can't be reached
	MinBackoff         time.Duration // first pause before a down node is tried again; 0 means 100ms
	MaxBackoff         time.Duration // longest such pause; 0 means 30s
	Log                *slog.Logger  // nil means no log

	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil means net.Dialer
	Jitter func() float64                                                       // in [0, 1); nil means math/rand
}

func (o Options) withDefaults() Options {
	setDuration := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	setDuration(&o.ConnectTimeout, 5*time.Second)
	setDuration(&o.RequestTimeout, 10*time.Second)
	setDuration(&o.MinBackoff, 100*time.Millisecond)
	setDuration(&o.MaxBackoff, 30*time.Second)
	o.MaxBackoff = max(o.MinBackoff, o.MaxBackoff)
	if o.MaxConns <= 0 {
		o.MaxConns = 4
	}
	if o.MaxInflight <= 0 {
		o.MaxInflight = 256
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
		}}
		o.Dial = dialer.DialContext
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return o
}

// Client is one namespace in user-key mode on one server: the caller chooses the keys.
// All methods may be used by many goroutines at once.
type Client struct{ *base }

// base is what clients of both modes have: the connections, and the commands that are
// not about one key.
type base struct {
	target  Target
	mode    string // of the namespace: ModeUserKey or ModeSequential
	options Options
	log     *slog.Logger
	slots   chan struct{} // one for each request in flight
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup // dials and the prober

	// mu guards what follows. Never held across a network call.
	// Lock order: base.mu, then link.mu.
	mu       sync.Mutex
	links    []*link
	dialing  int
	growAt   time.Time     // no connection beyond the first is tried before
	changed  chan struct{} // closed and renewed when links or circuit change
	circuit  circuit
	selected bool // a connection has had the namespace: it is not created again
	closed   bool
}

// Open connects to the server, makes sure that it is a 0-db and selects the
// namespace, which has to be in user-key mode.
//
// Errors: zdb.ErrUnavailable when it can't be reached or is silent (unless
// Options.AllowDown), zdb.ErrNotZDB, zdb.ErrAccessDenied, zdb.ErrNamespaceNotFound,
// zdb.ErrWrongMode.
func Open(ctx context.Context, target Target, options Options) (*Client, error) {
	b, err := openBase(ctx, target, options, ModeUserKey)
	if err != nil {
		return nil, err
	}
	return &Client{b}, nil
}

func openBase(ctx context.Context, target Target, options Options, mode string) (*base, error) {
	if target.Namespace == "" {
		target.Namespace = zdb.DefaultNamespace
	}
	if err := target.check(); err != nil {
		return nil, fmt.Errorf("open %s: %w", target, err)
	}
	options = options.withDefaults()
	c := &base{
		target: target, options: options, mode: mode,
		log:     options.Log.With("node", target.String()),
		slots:   make(chan struct{}, options.MaxInflight),
		changed: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())

	l, err := c.connect(ctx)
	switch {
	case err == nil:
		c.mu.Lock()
		c.add(l)
		c.mu.Unlock()
		return c, nil
	case options.AllowDown && errors.Is(err, zdb.ErrUnavailable) && ctx.Err() == nil:
		c.mu.Lock()
		c.trip(err)
		c.mu.Unlock()
		return c, nil
	}
	c.cancel()
	return nil, fmt.Errorf("open %s: %w", target, err)
}

func (t Target) check() error {
	if t.Network != "tcp" && t.Network != "unix" {
		return fmt.Errorf("unknown network %q: want tcp or unix", t.Network)
	}
	if t.Address == "" {
		return errors.New("no address")
	}
	if len(t.Password) > zdb.MaxPasswordBytes || len(t.AdminPassword) > zdb.MaxPasswordBytes {
		return fmt.Errorf("password longer than %d bytes", zdb.MaxPasswordBytes)
	}
	return checkName(t.Namespace)
}

// checkName refuses names of namespaces that a server would misunderstand.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("namespace name %q is not allowed", name)
	case len(name) > zdb.MaxNamespaceBytes:
		return fmt.Errorf("namespace name longer than %d bytes", zdb.MaxNamespaceBytes)
	case strings.ContainsAny(name, "/\x00\r\n"):
		return fmt.Errorf("namespace name %q is not allowed", name)
	}
	return nil
}

// Close ends all connections. Calls under way return zdb.ErrClosed.
func (c *base) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	links := c.links
	c.links = nil
	c.broadcast()
	c.mu.Unlock()

	c.cancel()
	for _, l := range links {
		l.stop(zdb.ErrClosed)
	}
	c.wg.Wait()
	return nil
}

// twice says what a second sending of a command may do.
type twice bool

const (
	once   twice = false // it may do harm: a broken connection is an error
	repeat twice = true  // the same as one
)

// outcome is a reply and whether an earlier try may have been carried out too.
type outcome struct {
	reply  any
	resent bool
}

// do sends a command and returns the reply. err is the server's error, or
// zdb.ErrUnavailable, zdb.ErrClosed or the context's.
func (c *base) do(ctx context.Context, again twice, command string, args ...any) (outcome, error) {
	limited, cancel := context.WithTimeout(ctx, c.options.RequestTimeout)
	defer cancel()
	out, err := c.try(limited, again, command, args)
	if err == nil {
		return out, nil
	}
	var lost *lostError
	switch {
	case err == context.Canceled || err == context.DeadlineExceeded: // as try gives them
		if err = ctx.Err(); err == nil {
			err = fmt.Errorf("%w: no reply within %s", zdb.ErrUnavailable, c.options.RequestTimeout)
		}
	case errors.Is(err, zdb.ErrClosed):
		err = zdb.ErrClosed
	case errors.As(err, &lost):
		err = fmt.Errorf("%w: %w", zdb.ErrUnavailable, err)
	}
	return out, fmt.Errorf("%s %s: %w", strings.ToLower(command), c.target, err)
}

func (c *base) try(ctx context.Context, again twice, command string, args []any) (outcome, error) {
	const maxTries = 4
	var out outcome
	for try := 1; ; try++ {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return out, ctx.Err()
		case <-c.ctx.Done():
			return out, zdb.ErrClosed
		}
		l, err := c.pick(ctx, roleOf(command))
		if err != nil {
			<-c.slots
			return out, err
		}
		r := newRequest(command, args)
		if !l.enqueue(r) { // it died since: the slot is still ours
			<-c.slots
			if try < maxTries {
				continue
			}
			return out, &lostError{cause: l.why()}
		}
		out.reply, err = l.wait(ctx, r)
		var lost *lostError
		if errors.As(err, &lost) && try < maxTries && !errors.Is(err, zdb.ErrClosed) {
			if !lost.sent {
				continue
			}
			if again == repeat && !out.resent && !errors.Is(err, errStalled) {
				out.resent = true
				continue
			}
		}
		return out, err
	}
}
