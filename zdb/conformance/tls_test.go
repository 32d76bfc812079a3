package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/server"
)

// certificate is a server's, good for loopback, that signs itself.
type certificate struct {
	certFile, keyFile string
	roots             *x509.CertPool
}

func newCertificate(t testing.TB) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()}
	for file, block := range map[string]*pem.Block{c.certFile: {Type: "CERTIFICATE", Bytes: der}, c.keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c.roots.AddCert(parsed)
	return c
}

func (c *certificate) listener(t testing.TB, l net.Listener) net.Listener {
	t.Helper()
	secure, err := server.NewTLS(server.TLSOptions{CertFile: c.certFile, KeyFile: c.keyFile})
	if err != nil {
		t.Fatal(err)
	}
	return secure.Listener(l)
}

// client is what one needs to trust the server.
func (c *certificate) client() *tls.Config {
	return &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}
}

// A server that can't prove who it is gets no password, and speaking TLS to one side
// only is told as such.
func TestTLSRefuses(t *testing.T) {
	secure, plain := overTLS.start(t, config{}), kinds[0].start(t, config{})
	for name, c := range map[string]struct {
		change func(*client.Target)
		want   error
		text   string
	}{
		"unknown authority": {func(w *client.Target) { w.TLS = &tls.Config{} }, nil, "certificate"},
		"another name": {func(w *client.Target) {
			w.TLS = secure.tls.client()
			w.TLS.ServerName = "elsewhere.example"
		}, nil, "certificate"},
		"TLS to a plain server": {func(w *client.Target) { w.Address = plain.address }, zdb.ErrNotZDB, "zdb://"},
		"plain to a TLS server": {func(w *client.Target) { w.TLS = nil }, nil, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			target := secure.user("", "")
			c.change(&target)
			opened, err := client.Open(t.Context(), target, client.Options{ConnectTimeout: 2 * time.Second})
			if err == nil {
				opened.Close()
				t.Fatal("it opens")
			}
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v and %q", err, c.want, c.text)
			}
		})
	}
}
