package endpoint

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/server"
)

// serve runs a server on a listener until the test ends.
func serve(t *testing.T, listeners ...net.Listener) {
	t.Helper()
	s, err := server.Open(server.Options{DataDir: t.TempDir(), Sync: server.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { done <- s.Serve(l) }()
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for range listeners {
			<-done
		}
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// certificate makes a self-signed one.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0), // a pin does not care
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}
}

func parse(t *testing.T, raw string) Endpoint {
	t.Helper()
	e, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// works does what erasure does with a node.
func works(t *testing.T, c Conn) {
	t.Helper()
	ctx := t.Context()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, []byte("k"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, []byte("k")); err != nil || string(got) != "value" {
		t.Fatalf("got %q, %v", got, err)
	}
	space, err := c.Space(ctx)
	if err != nil || space.UsedBytes != 5 || space.DiskFreeBytes <= 0 {
		t.Fatalf("got %+v, %v", space, err)
	}
	if err := c.Del(ctx, []byte("k")); err != nil {
		t.Fatal(err)
	}
	if err := c.Del(ctx, []byte("k")); !errors.Is(err, zdb.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if _, err := c.Get(ctx, []byte("k")); !errors.Is(err, zdb.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSchemes(t *testing.T) {
	dir := t.TempDir()
	tcp, socket := listen(t, "tcp", "127.0.0.1:0"), filepath.Join(dir, "zdb.sock")
	cert := certificate(t)
	secure := listen(t, "tcp", "127.0.0.1:0")
	serve(t, tcp, listen(t, "unix", socket), tls.NewListener(secure, &tls.Config{Certificates: []tls.Certificate{cert}}))
	for name, raw := range map[string]string{
		"zdb":      "zdb://" + tcp.Addr().String() + "/one",
		"zdb+unix": "zdb+unix://" + socket + "?ns=two",
		"zdbs":     "zdbs://" + secure.Addr().String() + "/three?tls-pin=" + Pin(cert.Leaf),
		"dir":      "dir://" + dir + "/store",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Open(t.Context(), parse(t, raw), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			works(t, c)
		})
	}
}

// The link is TLS 1.3 with a post-quantum key exchange and the pinned key, or none.
func TestOpenTLSRefuses(t *testing.T) {
	cert := certificate(t)
	config := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{Certificates: []tls.Certificate{cert}}
		change(c)
		return c
	}
	good := Pin(cert.Leaf)
	tests := []struct {
		name   string
		server *tls.Config
		pin    string
		is     error
		says   string
	}{
		{"other key", config(func(*tls.Config) {}), pin, ErrPin, good},
		{"no pin, unknown authority", config(func(*tls.Config) {}), "", nil, "certificate"},
		{"TLS 1.2", config(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), good, nil, "TLS"},
		{"classical key exchange", config(func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256} }), good, nil, "TLS"},
		{"no TLS", nil, good, zdb.ErrNotZDB, "zdb://"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := listen(t, "tcp", "127.0.0.1:0")
			raw := "zdbs://" + l.Addr().String() + "/n"
			if test.pin != "" {
				raw += "?tls-pin=" + test.pin
			}
			if test.server != nil {
				l = tls.NewListener(l, test.server)
			}
			serve(t, l)
			c, err := Open(t.Context(), parse(t, raw), OpenOptions{AllowDown: true})
			if err == nil {
				c.Close()
				t.Fatal("opened")
			}
			if test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, zdb.ErrUnavailable) {
				t.Errorf("%v looks as if it would pass", err)
			}
		})
	}
	t.Run("TLS where none is expected", func(t *testing.T) {
		l := listen(t, "tcp", "127.0.0.1:0")
		raw := "zdb://" + l.Addr().String() + "/n"
		serve(t, tls.NewListener(l, config(func(*tls.Config) {})))
		_, err := Open(t.Context(), parse(t, raw), OpenOptions{})
		if !errors.Is(err, zdb.ErrUnavailable) || !strings.Contains(err.Error(), "zdbs://") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpenDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	e := parse(t, "dir://"+dir)
	if _, err := Open(t.Context(), e, OpenOptions{NoCreate: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	c, err := Open(t.Context(), e, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), e, OpenOptions{}); !errors.Is(err, zdb.ErrLocked) {
		t.Errorf("second user: got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = Open(t.Context(), e, OpenOptions{NoCreate: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestOpenDown(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	e := parse(t, "zdb://"+l.Addr().String()+"/n")
	l.Close()
	if _, err := Open(t.Context(), e, OpenOptions{}); !errors.Is(err, zdb.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	c, err := Open(t.Context(), e, OpenOptions{AllowDown: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()); !errors.Is(err, zdb.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, file := range map[string]string{
		"newline": write("a", "pass word\n", 0o600), "bare": write("b", "pass word", 0o400), "CR LF": write("c", "pass word\r\n", 0o600),
	} {
		if got, err := readPassword(file); err != nil || got != "pass word" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		if _, err := readPassword(write("d", "pw", mode)); !errors.Is(err, ErrPermissions) {
			t.Errorf("mode %#o: got %v", mode, err)
		}
		os.Remove(filepath.Join(dir, "d"))
	}
	for name, file := range map[string]string{
		"empty": write("e", "\n", 0o600), "two lines": write("f", "secret\nmore\n", 0o600), "NUL": write("g", "secret\x00", 0o600),
		"long": write("h", strings.Repeat("secret", 30), 0o600), "absent": filepath.Join(dir, "none"), "folder": dir,
	} {
		if got, err := readPassword(file); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}

	// From the URL to the server: the password protects the namespace that Open makes.
	l := listen(t, "tcp", "127.0.0.1:0")
	serve(t, l)
	base := "zdb://" + l.Addr().String() + "/safe"
	c, err := Open(t.Context(), parse(t, base+"?password-file="+filepath.Join(dir, "a")), OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	works(t, c)
	if _, err := Open(t.Context(), parse(t, base), OpenOptions{}); !errors.Is(err, zdb.ErrAccessDenied) {
		t.Errorf("without a password: got %v", err)
	}
	c, err = Open(t.Context(), parse(t, base), OpenOptions{Password: "pass word"})
	if err != nil {
		t.Fatal(err)
	}
	works(t, c)
}
