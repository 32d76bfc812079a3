package server

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func hash(challenge, password string) string {
	sum := sha1.Sum([]byte(strings.TrimPrefix(challenge, "+") + ":" + password))
	return hex.EncodeToString(sum[:])
}

// Who may do what, with an admin password, protected mode and namespace passwords.
func TestAccess(t *testing.T) {
	dir := t.TempDir()
	s, addr := run(t, Options{DataDir: dir, AdminPassword: "root", Protect: true})
	c := dial(t, addr)
	for _, args := range [][]string{{"NSNEW", "x"}, {"NSDEL", "x"}, {"NSSET", "x", "lock", "1"}, {"SET", "a", "b", "1"}, {"DEL", "a", "1"}} {
		c.want("-Permission denied", args...)
	}
	c.want("-Namespace is in read-only mode", "SET", "a", "1")
	c.want("-Namespace is in read-only mode", "DEL", "a")
	c.want("nil", "GET", "a")
	c.want("-Access denied", "AUTH", "wrong")
	c.want("-Invalid argument", "AUTH", "")
	c.want("-Password too long", "AUTH", strings.Repeat("p", 129))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash("", "root"))
	ch := c.do("AUTH", "SECURE", "CHALLENGE")
	c.want("-Invalid hash length", "AUTH", "SECURE", "abc")
	c.want("-Access denied", "AUTH", "SECURE", hash(ch, "wrong"))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash(ch, "root"))
	ch = c.do("AUTH", "SECURE", "CHALLENGE")
	c.want("+OK", "AUTH", "secure", hash(ch, "root"))
	c.want("-No CHALLENGE requested, secure authentication not available", "AUTH", "SECURE", hash(ch, "root"))
	c.want("+OK", "NSNEW", "x")
	c.want("-Namespace is in read-only mode", "SET", "a", "1")
	c.want("-Access denied", "SELECT", "default", "wrong")
	c.want("+OK", "SELECT", "default", "root")
	c.want("a", "SET", "a", "1")
	c.want("+OK", "NSSET", "x", "password", "secret")

	// With a password, a namespace that stays public is read without it.
	u := dial(t, addr)
	u.want("+OK", "SELECT", "x")
	u.want("-Namespace is in read-only mode", "SET", "k", "w")
	c.want("+OK", "NSSET", "x", "public", "0")
	u.want("nil", "GET", "k") // who is in stays in
	u.want("-Namespace protected and private", "SELECT", "x")
	u.want("-Access denied", "SELECT", "x", "wrong")
	u.want("-Access denied", "SELECT", "x", "")
	u.want("-Password too long", "SELECT", "x", strings.Repeat("p", 300))
	u.want("-Too many arguments", "SELECT", "x", "SECURE", "a", "b")
	u.want("-Only SECURE extra method supported", "SELECT", "x", "PLAIN", "secret")
	u.want("-No CHALLENGE requested, secure authentication not available", "SELECT", "x", "SECURE", hash("", "secret"))
	ch = u.do("AUTH", "SECURE", "CHALLENGE")
	u.want("-Invalid hash length", "SELECT", "x", "SECURE", "abc")
	u.want("-Access denied", "SELECT", "x", "SECURE", hash(ch, "wrong"))
	u.want("+OK", "SELECT", "x", "SECURE", hash(ch, "secret"))
	u.want("+OK", "SELECT", "x", "SECURE", hash(ch, "secret"))
	u.want("k", "SET", "k", "v")
	c.want("+OK", "NSSET", "x", "public", "1")
	u.want("+OK", "SELECT", "x")
	u.want("v", "GET", "k")
	u.want("-Namespace is in read-only mode", "SET", "k", "w")
	u.want("+OK", "SELECT", "x", "secret")
	u.want("k", "SET", "k", "w")
	c.want("+OK", "NSSET", "x", "password", "*")
	u.want("+OK", "SELECT", "x", "whatever")
	c.want("+OK", "NSSET", "x", "password", "secret")
	c.want("+OK", "NSSET", "x", "maxsize", "12345")
	c.want("+OK", "NSSET", "x", "freeze", "1")

	// The settings outlive the server; the file is its owner's only.
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "namespaces", "n-x", "descriptor"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	_, addr = run(t, Options{DataDir: dir})
	c = dial(t, addr)
	c.want("1", "GET", "a")
	c.want("b", "SET", "b", "1")
	c.want("-Access denied", "SELECT", "x", "wrong")
	c.want("+OK", "SELECT", "x", "secret")
	c.want("-Namespace is temporarily frozen (read-write disabled)", "GET", "k")
	c.want("+OK", "NSSET", "x", "freeze", "0")
	c.want("w", "GET", "k")
	if got := c.do("NSINFO", "x"); !strings.Contains(got, "data_limits_bytes: 12345\n") || !strings.Contains(got, "public: yes\n") {
		t.Fatal(got)
	}
}
