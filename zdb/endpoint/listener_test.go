package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/server"
)

// pemFiles writes a certificate and its key as our server reads them.
func pemFiles(t *testing.T, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// A zdbs:// node opens our own TLS listener by its pin, and nothing else does.
func TestOpenOurTLS(t *testing.T) {
	cert := certificate(t)
	certFile, keyFile := pemFiles(t, cert)
	for name, o := range map[string]server.TLSOptions{
		"default":            {},
		"post-quantum only":  {PostQuantumOnly: true},
		"client certificate": {ClientCAFile: certFile},
	} {
		t.Run(name, func(t *testing.T) {
			o.CertFile, o.KeyFile = certFile, keyFile
			secure, err := server.NewTLS(o)
			if err != nil {
				t.Fatal(err)
			}
			if Pin(secure.Certificate()) != Pin(cert.Leaf) {
				t.Error("the server's certificate is another")
			}
			l := listen(t, "tcp", "127.0.0.1:0")
			serve(t, secure.Listener(l))
			raw := "zdbs://" + l.Addr().String() + "/home?tls-pin="
			c, err := Open(t.Context(), parse(t, raw+Pin(cert.Leaf)), OpenOptions{})
			switch {
			case o.ClientCAFile != "": // a URL has no certificate to show
				if err == nil {
					c.Close()
					t.Fatal("opened without a certificate")
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			works(t, c)
			if _, err := Open(t.Context(), parse(t, raw+pin), OpenOptions{AllowDown: true}); !errors.Is(err, ErrPin) {
				t.Errorf("wrong pin: got %v", err)
			}
			plain := parse(t, "zdb://"+l.Addr().String()+"/home")
			if _, err := Open(t.Context(), plain, OpenOptions{}); !errors.Is(err, zdb.ErrUnavailable) {
				t.Errorf("without TLS: got %v", err)
			}
		})
	}
}
