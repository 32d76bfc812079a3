package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// TLSOptions say how a listener speaks TLS. CertFile and KeyFile are needed (PEM).
type TLSOptions struct {
	CertFile, KeyFile string
	ClientCAFile      string // when not empty, clients need a certificate of one of these authorities
	PostQuantumOnly   bool   // X25519MLKEM768 alone; else X25519 is taken from clients without it
}

// TLS is TLS 1.3 and nothing older, with the hybrid key exchange X25519MLKEM768 wherever
// the client knows it. Its files can be read again while connections are open.
type TLS struct {
	opts    TLSOptions
	current atomic.Pointer[tls.Config]
}

// NewTLS reads the files.
func NewTLS(o TLSOptions) (*TLS, error) {
	t := &TLS{opts: o}
	return t, t.Reload()
}

// Reload reads the files again. New connections get what they hold now; open ones are
// left alone. On an error all stays as it is.
func (t *TLS) Reload() error {
	cert, err := tls.LoadX509KeyPair(t.opts.CertFile, t.opts.KeyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s: %w", t.opts.CertFile, err)
	}
	c := &tls.Config{
		Certificates:     []tls.Certificate{cert},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		// Each connection proves its certificate itself, against the authorities of now.
		SessionTicketsDisabled: true,
	}
	if t.opts.PostQuantumOnly {
		c.CurvePreferences = c.CurvePreferences[:1]
	}
	if t.opts.ClientCAFile != "" {
		b, err := os.ReadFile(t.opts.ClientCAFile)
		if err != nil {
			return fmt.Errorf("TLS client authorities: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("TLS client authorities: no certificate in %s", t.opts.ClientCAFile)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	t.current.Store(c)
	return nil
}

// Certificate is the one that is shown to new connections.
func (t *TLS) Certificate() *x509.Certificate { return t.current.Load().Certificates[0].Leaf }

// Listener speaks TLS on the connections that l accepts.
func (t *TLS) Listener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil },
	})
}

// handshake lets a TLS client prove itself before anything is read from it. It runs in
// the connection's own goroutine and ends after Options.HandshakeTimeout.
func (c *conn) handshake() error {
	secure, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.untilDrain, c.srv.opts.HandshakeTimeout)
	defer cancel()
	return secure.HandshakeContext(ctx)
}

// rawConn is the connection below TLS.
func rawConn(nc net.Conn) net.Conn {
	if secure, ok := nc.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return nc
}

// refuse says why a connection is not served and closes it. Over TLS that would take a
// handshake: there it is only closed.
func refuse(nc net.Conn, text []byte) {
	if _, ok := nc.(*tls.Conn); !ok {
		nc.SetWriteDeadline(time.Now().Add(time.Second))
		nc.Write(text)
	}
	rawConn(nc).Close()
}
