package server

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/zdb"
)

var goldenKey = bytes.Repeat([]byte("0123456789abcdef"), 2)

func goldenSealKey(t testing.TB) []byte {
	return golden(t, "v1/seal.key", func() []byte { return encodeSealKey(goldenKey) })
}

func TestGoldenSealKey(t *testing.T) {
	b := goldenSealKey(t)
	key, err := decodeSealKey(b)
	if err != nil || !bytes.Equal(key, goldenKey) || !bytes.Equal(encodeSealKey(key), b) {
		t.Fatalf("%x, %v", key, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := decodeSealKey(bad); !errors.Is(err, zdb.ErrCorrupt) && !errors.Is(err, zdb.ErrTooNew) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := decodeSealKey(b[:i]); !errors.Is(err, zdb.ErrCorrupt) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	b[4] = 2
	if _, err := decodeSealKey(b); !errors.Is(err, zdb.ErrTooNew) {
		t.Fatal(err)
	}
}

func FuzzSealKey(f *testing.F) {
	f.Add(goldenSealKey(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := decodeSealKey(b)
		if err == nil && !bytes.Equal(encodeSealKey(key), b) {
			t.Fatalf("not canonical: %x", b)
		}
		if err != nil && !errors.Is(err, zdb.ErrCorrupt) && !errors.Is(err, zdb.ErrTooNew) {
			t.Fatal(err)
		}
	})
}

// What was sealed once opens: the format of a sealed password stays.
func TestGoldenSealedPassword(t *testing.T) {
	s, err := newSealer(goldenKey)
	if err != nil {
		t.Fatal(err)
	}
	b := golden(t, "v2/sealed password", func() []byte { return s.seal("golden", "secret") })
	if p, err := s.open("golden", b); err != nil || p != "secret" {
		t.Fatal(p, err)
	}
}

// A sealed password opens under its key, for its namespace, unchanged, and not otherwise;
// no two are the same.
func TestSealer(t *testing.T) {
	s, err := newSealer(goldenKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newSealer(bytes.Repeat([]byte{1}, SealKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"x", "secret", strings.Repeat("p", zdb.MaxPasswordBytes)} {
		sealed := s.seal("ns", password)
		if p, err := s.open("ns", sealed); err != nil || p != password {
			t.Fatal(p, err)
		}
		if bytes.Contains(sealed, []byte(password)) && len(password) > 1 {
			t.Fatalf("%q is in %q", password, sealed)
		}
		if again := s.seal("ns", password); bytes.Equal(again[:sealNonceBytes], sealed[:sealNonceBytes]) {
			t.Fatal("the same nonce twice")
		}
		if _, err := s.open("ns2", sealed); !errors.Is(err, errOtherSealKey) {
			t.Fatal(err)
		}
		if _, err := other.open("ns", sealed); !errors.Is(err, errOtherSealKey) {
			t.Fatal(err)
		}
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1
			if _, err := s.open("ns", bad); !errors.Is(err, errOtherSealKey) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
			if _, err := s.open("ns", sealed[:i]); !errors.Is(err, errOtherSealKey) {
				t.Fatalf("%d bytes: %v", i, err)
			}
		}
	}
	if _, err := newSealer(goldenKey[:31]); err == nil {
		t.Fatal("31 bytes are a key")
	}
}

// No file of the data directory has a password in clear, and SELECT takes it, plain and
// SECURE, after a restart.
func TestNoPasswordInClear(t *testing.T) {
	for name, key := range map[string][]byte{"key of the directory": nil, "key given": goldenKey} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, addr := run(t, Options{DataDir: dir, SealKey: key, AdminPassword: "root-password", Protect: true})
			c := dial(t, addr)
			c.steps([]step{
				{"+OK", args("AUTH", "root-password")},
				{"+OK", args("NSNEW", "x")},
				{"+OK", args("NSSET", "x", "password", "first-password")},
				{"+OK", args("NSSET", "x", "password", "second-password")},
				{"+OK", args("NSSET", "x", "public", "0")},
			})
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			found := 0
			err := filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
				if err != nil || st.IsDir() {
					return err
				}
				found++
				b, err := os.ReadFile(path)
				if bytes.Contains(b, []byte("-password")) {
					t.Errorf("a password is in %s", path)
				}
				if filepath.Base(path) == sealKeyName && (key != nil || st.Mode().Perm() != 0o600) {
					t.Errorf("%s: %v", path, st.Mode())
				}
				return err
			})
			if err != nil || found < 3 {
				t.Fatal(found, err)
			}
			_, addr = run(t, Options{DataDir: dir, SealKey: key})
			c = dial(t, addr)
			c.want("-Access denied", "SELECT", "x", "first-password")
			c.want("+OK", "SELECT", "x", "second-password")
			challenge := c.do("AUTH", "SECURE", "CHALLENGE")
			c.want("-Access denied", "SELECT", "x", "SECURE", hash(challenge, "first-password"))
			c.want("+OK", "SELECT", "x", "SECURE", hash(challenge, "second-password"))
		})
	}
}

// Under another seal key a namespace with a password lets nobody in, public or not, until
// an administrator sets its password anew; one without a password is served.
func TestOtherSealKey(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir, SealKey: goldenKey})
	c := dial(t, addr)
	c.steps([]step{
		{"+OK", args("NSNEW", "open")},
		{"+OK", args("NSNEW", "private")},
		{"+OK", args("NSSET", "private", "password", "secret")},
		{"+OK", args("NSSET", "private", "public", "0")},
		{"+OK", args("NSNEW", "public")},
		{"+OK", args("NSSET", "public", "password", "secret")},
		{"+OK", args("SELECT", "private", "secret")},
		{"k", args("SET", "k", "v")},
	})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, reopened := range []bool{false, true} { // the state is that of the files, not of the run
		var log bytes.Buffer
		s, addr = run(t, Options{DataDir: dir, AdminPassword: "root", Log: slog.New(slog.NewTextHandler(&log, nil))})
		for _, name := range []string{"private", "public"} {
			if strings.Count(log.String(), "namespace="+name) != 1 || strings.Contains(log.String(), "secret") {
				t.Fatal(log.String())
			}
		}
		c = dial(t, addr)
		challenge := c.do("AUTH", "SECURE", "CHALLENGE")
		for _, name := range []string{"private", "public"} {
			c.steps([]step{
				{"-Access denied", args("SELECT", name)},
				{"-Access denied", args("SELECT", name, "secret")},
				{"-Access denied", args("SELECT", name, "")},
				{"-Access denied", args("SELECT", name, "SECURE", hash(challenge, "secret"))},
				{"-Access denied", args("SELECT", name, "SECURE", hash(challenge, ""))},
			})
			if got := c.do("NSINFO", name); !strings.Contains(got, "password: yes\n") {
				t.Fatal(got)
			}
		}
		c.want("+OK", "SELECT", "open")
		c.want("+OK", "AUTH", "root")
		c.want("-Access denied", "SELECT", "private", "secret")
		if !reopened {
			c.want("+OK", "NSSET", "public", "lock", "1") // other settings open nothing
			c.want("+OK", "NSSET", "public", "lock", "0")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.steps([]step{
		{"+OK", args("NSSET", "private", "password", "new")},
		{"-Namespace protected and private", args("SELECT", "private")},
		{"-Access denied", args("SELECT", "private", "secret")},
		{"+OK", args("SELECT", "private", "new")},
		{"v", args("GET", "k")},
	})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("+OK", "SELECT", "private", "new")
	c.want("-Access denied", "SELECT", "public")
}

// A damaged seal key stops the start: another in its place would lock what it sealed.
func TestDamagedSealKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, sealKeyName)
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{DataDir: dir}); !errors.Is(err, zdb.ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "garbage" {
		t.Fatalf("%q, %v", b, err)
	}
	run(t, Options{DataDir: dir, SealKey: goldenKey}) // the file is not asked
	if _, err := Open(Options{DataDir: t.TempDir(), SealKey: []byte("short")}); err == nil {
		t.Fatal("a short key is none")
	}
}
