package client

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/qsfs/qsfs/zdb"
)

// connect makes one link and says a connection's first words on it. Errors that
// time may heal wrap zdb.ErrUnavailable; they never wrap a context's error, which
// is returned alone when the caller's own context ended.
func (c *base) connect(caller context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(caller, c.options.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()

	raw, err := c.options.Dial(ctx, c.target.Network, c.target.Address)
	switch {
	case err == nil:
	case caller.Err() != nil:
		return nil, caller.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: no connection within %s", zdb.ErrUnavailable, c.options.ConnectTimeout)
	default:
		return nil, fmt.Errorf("%w: %v", zdb.ErrUnavailable, err)
	}
	l, err := c.greet(ctx, raw)
	if err == nil {
		return l, nil
	}
	raw.Close()
	switch {
	case caller.Err() != nil:
		return nil, caller.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: it takes connections but did not complete the 0-db greeting within %s; is it a 0-db?",
			zdb.ErrUnavailable, c.options.ConnectTimeout)
	case isHangUp(err):
		question := "is it a 0-db?"
		if c.target.TLS == nil && c.target.Network == "tcp" {
			question = "is it a 0-db, and without TLS (zdbs://)?"
		}
		return nil, fmt.Errorf("%w: it closed the connection during the 0-db greeting; %s (%v)", zdb.ErrUnavailable, question, err)
	}
	return nil, err
}

// greet runs TLS and the first words on a fresh socket, within ctx.
func (c *base) greet(ctx context.Context, raw net.Conn) (*link, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	nc := raw
	if c.target.TLS != nil {
		config := c.target.TLS.Clone()
		if config.ServerName == "" {
			if host, _, err := net.SplitHostPort(c.target.Address); err == nil {
				config.ServerName = host
			}
		}
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
				return nil, &violation{"it does not speak TLS; is it a zdb:// node?"}
			}
			return nil, fmt.Errorf("TLS: %w", err)
		}
		nc = secure
	}
	g := newGuard(nc)
	s := &session{
		rc:    redis.NewConn(g, 0, 0),
		guard: g,
		clear: c.target.TLS != nil || c.options.AllowPlainPassword || isLocal(raw),
	}
	if err := c.introduce(s); err != nil {
		return nil, err
	}
	if !stop() { // the deadline is set already, or will be
		return nil, ctx.Err()
	}
	return &link{
		nc: nc, raw: raw, guard: g, rc: s.rc, timeout: c.options.RequestTimeout,
		queue: make(chan *request, c.options.MaxInflight),
		dead:  make(chan struct{}),
	}, nil
}

// introduce checks the peer, authenticates and selects the namespace.
func (c *base) introduce(s *session) error {
	if err := s.checkPeer(c.target.Namespace); err != nil {
		return err
	}
	if c.target.AdminPassword != "" {
		if err := s.authenticate(c.target.AdminPassword); err != nil {
			return fmt.Errorf("authenticate as administrator: %w", err)
		}
	}
	c.mu.Lock()
	first := !c.selected
	c.mu.Unlock()

	err := s.selectNamespace(c.target.Namespace, c.target.Password)
	if errors.Is(err, zdb.ErrNamespaceNotFound) && first && c.options.CreateNamespace {
		err = s.create(c.target.Namespace, c.target.Password, c.mode)
	}
	if err != nil {
		return fmt.Errorf("select namespace %q: %w", c.target.Namespace, err)
	}
	if first && !c.options.AnyMode {
		return s.checkMode(c.target.Namespace, c.mode)
	}
	return nil
}

// session is a connection before it becomes a link: one command at a time.
type session struct {
	rc    redis.Conn
	guard *guard
	clear bool // passwords may go in clear
}

// do sends one command; an error reply comes as a *zdb.ReplyError.
func (s *session) do(command string, args ...any) (any, error) {
	err := s.rc.Send(command, args...)
	if err == nil {
		err = s.rc.Flush()
	}
	if err == nil {
		err = s.guard.flush()
	}
	if err != nil {
		return nil, err
	}
	reply, err := s.rc.Receive()
	var text redis.Error
	if errors.As(err, &text) {
		return nil, zdb.FromText(printable(string(text)))
	}
	return reply, err
}

// checkPeer makes sure that the peer is a 0-db before anything else is said to it.
func (s *session) checkPeer(namespace string) error {
	reply, err := s.do("INFO")
	var refused *zdb.ReplyError
	if errors.As(err, &refused) {
		if refused.Text == zdb.TextTooManyClients {
			return fmt.Errorf("%w: %w", zdb.ErrUnavailable, err)
		}
		// A relative of 0-db may lack INFO; NSINFO tells as well.
		if !errors.Is(err, zdb.ErrNotSupported) {
			return &violation{"INFO was answered with: " + refused.Text}
		}
		reply, err = s.do("NSINFO", namespace)
		if errors.Is(err, zdb.ErrNamespaceNotFound) {
			return nil
		}
		if errors.As(err, &refused) {
			return &violation{"NSINFO was answered with: " + refused.Text}
		}
	}
	if err != nil {
		return err
	}
	text, ok := reply.([]byte)
	if !ok {
		return &violation{"INFO was not answered with a text"}
	}
	fields, err := parseFields(text)
	if err != nil {
		return &violation{"INFO was answered with something else"}
	}
	switch {
	case strings.Contains(fields["server_name"], "0-db"), fields["sequential_key_size"] != "",
		fields["data_limits_bytes"] != "":
		return nil
	case fields["redis_version"] != "" || fields["valkey_version"] != "":
		return &violation{"it is a Redis server"}
	}
	return &violation{"INFO was answered, but not as a 0-db does"}
}

// challenge asks for a nonce to hash a password with.
func (s *session) challenge() (string, error) {
	reply, err := s.do("AUTH", "SECURE", "CHALLENGE")
	if err != nil {
		return "", err
	}
	nonce, ok := reply.(string)
	if !ok || len(nonce) < 8 || len(nonce) > 128 {
		return "", &violation{"AUTH SECURE CHALLENGE was not answered with a challenge"}
	}
	return nonce, nil
}

// errClearPassword says why a password was kept back.
var errClearPassword = fmt.Errorf("%w: the password would go in clear: the server has no secure authentication, and the way there is neither TLS nor local", zdb.ErrAccessDenied)

// proof returns the arguments that prove a password: SECURE and a hash, or the
// password itself where the server has no SECURE and the way there is safe.
func (s *session) proof(password string) ([]any, error) {
	nonce, err := s.challenge()
	var refused *zdb.ReplyError
	switch {
	case err == nil:
		return []any{"SECURE", secureHash(nonce, password)}, nil
	case !errors.As(err, &refused):
		return nil, err
	case !s.clear:
		return nil, errClearPassword
	}
	return []any{password}, nil
}

// secureHash is what 0-db calls secure authentication: hex SHA-1 of "challenge:password".
func secureHash(challenge, password string) string {
	sum := sha1.Sum([]byte(challenge + ":" + password))
	return hex.EncodeToString(sum[:])
}

func (s *session) authenticate(password string) error {
	proof, err := s.proof(password)
	if err != nil {
		return err
	}
	_, err = s.do("AUTH", proof...)
	var refused *zdb.ReplyError
	if errors.As(err, &refused) && refused.Text == zdb.TextAuthDisabled {
		return nil // no administrator's password set: everyone is one
	}
	return err
}

func (s *session) selectNamespace(name, password string) error {
	args := []any{name}
	if password != "" {
		proof, err := s.proof(password)
		if err != nil {
			return err
		}
		args = append(args, proof...)
	}
	reply, err := s.do("SELECT", args...)
	if err != nil {
		return err
	}
	return wantOK("SELECT", reply)
}

// create makes a missing namespace in the mode, private under its password if there is
// one, and selects it. A namespace that could not be made so is removed again.
func (s *session) create(name, password, mode string) error {
	if password != "" && !s.clear {
		return fmt.Errorf("%w; creating it here would send its password in clear, over neither TLS nor a local way", zdb.ErrNamespaceNotFound)
	}
	if err := checkNamespacePassword(password); err != nil {
		return err
	}
	_, err := s.do("NSNEW", name)
	switch {
	case errors.Is(err, zdb.ErrNamespaceExists): // someone else was faster
		return s.selectNamespace(name, password)
	case errors.Is(err, zdb.ErrAccessDenied):
		return fmt.Errorf("%w, and the server does not let us create it: %w", zdb.ErrNamespaceNotFound, err)
	case err != nil:
		return fmt.Errorf("create it: %w", err)
	}
	if err := s.furnish(name, password, mode); err != nil {
		_, undo := s.do("NSDEL", name)
		return errors.Join(err, undo)
	}
	return s.selectNamespace(name, password)
}

// furnish gives a new namespace its mode and its password.
func (s *session) furnish(name, password, mode string) error {
	if mode == ModeSequential {
		_, err := s.do("NSSET", name, string(PropertyMode), "seq")
		// A server pinned to one mode takes no NSSET; checkMode tells which one it is.
		if err != nil && !errors.Is(err, zdb.ErrWrongMode) {
			return fmt.Errorf("make it sequential: %w", err)
		}
	}
	if password == "" {
		return nil
	}
	_, err := s.do("NSSET", name, "password", password)
	if err == nil {
		_, err = s.do("NSSET", name, string(PropertyPublic), "0")
	}
	if err != nil {
		return fmt.Errorf("protect it with its password: %w", err)
	}
	return nil
}

// checkMode refuses a namespace in the other mode.
func (s *session) checkMode(name, mode string) error {
	reply, err := s.do("NSINFO", name)
	if err != nil {
		return fmt.Errorf("ask about namespace %q: %w", name, err)
	}
	text, _ := reply.([]byte)
	info, err := parseNamespaceInfo(text)
	if err != nil {
		return fmt.Errorf("ask about namespace %q: %w", name, err)
	}
	if info.Mode != mode {
		return fmt.Errorf("%w: namespace %q is in %s mode, not in %s mode", zdb.ErrWrongMode, name, info.Mode, mode)
	}
	return nil
}

// isLocal reports that nothing between us and the peer leaves this machine.
func isLocal(nc net.Conn) bool {
	switch a := nc.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}

func wantOK(command string, reply any) error {
	if s, ok := reply.(string); ok && s == "OK" {
		return nil
	}
	return &violation{command + " was answered with neither OK nor an error"}
}
