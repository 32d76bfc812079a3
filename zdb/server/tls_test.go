package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority makes certificates for a test and writes them as PEM files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	File string
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key, a.File, _ = a.issue(name)
	return a
}

// issue makes a certificate, the first one for itself.
func (a *authority) issue(name string) (cert *x509.Certificate, key *ecdsa.PrivateKey, certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.ExtKeyUsage = true, nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write := func(path, kind string, b []byte) string {
		path = filepath.Join(a.dir, path)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return cert, key, write(name+".pem", "CERTIFICATE", der), write(name+".key", "PRIVATE KEY", pkcs8)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// runTLS starts a server whose listener speaks TLS.
func runTLS(t *testing.T, o TLSOptions) (*TLS, *Server, string) {
	t.Helper()
	secure, err := NewTLS(o)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := run(t, Options{Metrics: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(secure.Listener(l))
	return secure, s, l.Addr().String()
}

// ping speaks TLS to a server and gives what it agreed on.
func ping(addr string, c *tls.Config) (tls.ConnectionState, error) {
	nc, err := tls.Dial("tcp", addr, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := nc.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return tls.ConnectionState{}, err
	}
	// In TLS 1.3 a client without the certificate that is wanted learns it at its first read.
	_, err = nc.Read(make([]byte, 16))
	return nc.ConnectionState(), err
}

// Who gets in, and with which key exchange.
func TestTLS(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	_, _, cert, key := ca.issue("node")
	own := func(a *authority) []tls.Certificate {
		_, _, certFile, keyFile := a.issue("client")
		c, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	for _, test := range []struct {
		name   string
		server TLSOptions
		client *tls.Config
		want   tls.CurveID // 0 means refused
	}{
		{"default", TLSOptions{}, &tls.Config{}, tls.X25519MLKEM768},
		{"client prefers the classical one", TLSOptions{}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519, tls.X25519MLKEM768}}, tls.X25519MLKEM768},
		{"classical only", TLSOptions{}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, tls.X25519},
		{"classical only, refused", TLSOptions{PostQuantumOnly: true}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, 0},
		{"post-quantum only", TLSOptions{PostQuantumOnly: true}, &tls.Config{}, tls.X25519MLKEM768},
		{"other curve", TLSOptions{}, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}, 0},
		{"TLS 1.2", TLSOptions{}, &tls.Config{MaxVersion: tls.VersionTLS12}, 0},
		{"client certificate", TLSOptions{ClientCAFile: ca.File}, &tls.Config{Certificates: own(ca)}, tls.X25519MLKEM768},
		{"client certificate missing", TLSOptions{ClientCAFile: ca.File}, &tls.Config{}, 0},
		{"client certificate of another authority", TLSOptions{ClientCAFile: ca.File}, &tls.Config{Certificates: own(other)}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.server.CertFile, test.server.KeyFile = cert, key
			_, _, addr := runTLS(t, test.server)
			test.client.RootCAs = ca.pool()
			state, err := ping(addr, test.client)
			if got := state.CurveID; (err == nil) != (test.want != 0) || err == nil && (got != test.want || state.Version != tls.VersionTLS13) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	for name, o := range map[string]TLSOptions{
		"no file":             {CertFile: "nosuch", KeyFile: key},
		"key of another":      {CertFile: cert, KeyFile: filepath.Join(other.dir, "other.key")},
		"no authority":        {CertFile: cert, KeyFile: key, ClientCAFile: "nosuch"},
		"authorities are key": {CertFile: cert, KeyFile: key, ClientCAFile: key},
	} {
		if _, err := NewTLS(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// New files are for new connections; open ones go on, and bad files change nothing.
func TestTLSReload(t *testing.T) {
	ca := newAuthority(t, "ca")
	first, _, cert, key := ca.issue("node")
	secure, _, addr := runTLS(t, TLSOptions{CertFile: cert, KeyFile: key})
	config := &tls.Config{RootCAs: ca.pool()}
	open, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	second, _, _, _ := ca.issue("node") // in place of the first
	if err := secure.Reload(); err != nil {
		t.Fatal(err)
	}
	state, err := ping(addr, config)
	if err != nil || !state.PeerCertificates[0].Equal(second) || second.Equal(first) || !secure.Certificate().Equal(second) {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	if err := os.WriteFile(cert, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := secure.Reload(); err == nil {
		t.Error("a bad file is taken")
	}
	if state, err := ping(addr, config); err != nil || !state.PeerCertificates[0].Equal(second) {
		t.Errorf("after a bad file: %v", err)
	}
	open.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := open.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := open.Read(make([]byte, 16)); err != nil || n == 0 {
		t.Errorf("the open connection: %v", err)
	}
}

// Silent clients stop nobody, and are cut; when the server ends, at once.
func TestSilentHandshake(t *testing.T) {
	ca := newAuthority(t, "ca")
	_, _, cert, key := ca.issue("node")
	secure, err := NewTLS(TLSOptions{CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	bubble(t, Options{HandshakeTimeout: 5 * time.Second, MaxConnections: 3}, func(t *testing.T, s *Server, plain *pipes) {
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		go s.Serve(secure.Listener(p))
		silent := p.dial(t, "192.0.2.1")
		good := p.dial(t, "192.0.2.2")
		began := time.Now()
		good.nc = tls.Client(good.nc, &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1"})
		good.r.Reset(good.nc)
		good.want("+PONG", "PING")
		if took := time.Since(began); took > 0 {
			t.Errorf("another client waited %s", took)
		}
		if got := silent.reply(); got != "closed" {
			t.Errorf("got %s", got)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("cut after %s", took)
		}
		good.want("+PONG", "PING")
		p.dial(t, "192.0.2.1")
		p.dial(t, "192.0.2.1")
		over := p.dial(t, "192.0.2.3") // there is no place for it, and its handshake is not waited for
		if got := over.reply(); got != "closed" {
			t.Errorf("got %s", got)
		}
		good.nc.Close() // a pipe has no buffer for the server's good-bye
		began = time.Now()
		s.Close(t.Context())
		if took := time.Since(began); took > 0 {
			t.Errorf("close took %s", took)
		}
	})
}
