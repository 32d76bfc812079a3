// Package endpoint names storage nodes by URL and opens them.
//
//	zdb://HOST:PORT/NAMESPACE            a 0-db over TCP
//	zdbs://HOST:PORT/NAMESPACE           the same over TLS 1.3
//	zdb+unix:///PATH.sock?ns=NAMESPACE   a 0-db on this machine's unix socket
//	dir:///PATH                          an embedded store in a directory, this process its only user
//
// Query parameters:
//
//	group=TEXT           failure group: nodes that may fail together share it (all schemes)
//	password-file=/PATH  file with the namespace's password (not dir)
//	tls-pin=PIN          the server's key (zdbs only): base64url, without padding, of the
//	                     SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4)
//
// A URL never holds a secret, so it may be shown and logged. Parse is strict: what it
// does not understand is an error. String is canonical: equal nodes have equal texts,
// and Parse(e.String()) gives e again.
//
// # TLS
//
// zdbs is TLS 1.3 with the hybrid key exchange X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem)
// and nothing else, so what is recorded today stays closed to a quantum computer; a server
// without it is refused. With a pin exactly that key is accepted, whatever its certificate
// says; without one the certificate must be good for HOST by the system's roots.
package endpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/qsfs/qsfs/zdb"
)

// Schemes of node URLs.
const (
	SchemeTCP  = "zdb"
	SchemeTLS  = "zdbs"
	SchemeUnix = "zdb+unix"
	SchemeDir  = "dir"
)

// ErrInvalid means a text that is no node URL. Its message says why and how one looks.
var ErrInvalid = errors.New("invalid node URL")

// Endpoint is a parsed node URL. It holds no secret.
type Endpoint struct {
	Scheme       string
	Address      string // HOST:PORT, or the socket's path
	Namespace    string // empty for dir
	Dir          string // for dir only
	Group        string // failure group; may be empty
	PasswordFile string // may be empty
	TLSPin       string // may be empty
}

const (
	maxURLBytes   = 4096
	maxGroupBytes = 128
)

// examples shows how a URL of each scheme looks.
var examples = map[string]string{
	SchemeTCP:  "zdb://192.0.2.7:9900/home",
	SchemeTLS:  "zdbs://node7.example.org:9901/home?tls-pin=PIN",
	SchemeUnix: "zdb+unix:///run/zdbd/zdb.sock?ns=home",
	SchemeDir:  "dir:///srv/zdb/1",
}

// invalid makes an error that never repeats the URL, which may hold what should not be there.
func invalid(scheme, format string, args ...any) error {
	example, ok := examples[scheme]
	if !ok {
		example = examples[SchemeTCP]
	}
	return fmt.Errorf("%w: %s; example: %s", ErrInvalid, fmt.Sprintf(format, args...), example)
}

// Parse reads a node URL. Errors are ErrInvalid.
func Parse(raw string) (Endpoint, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case raw == "":
		return Endpoint{}, invalid("", "it is empty")
	case len(raw) > maxURLBytes:
		return Endpoint{}, invalid("", "it is longer than %d bytes", maxURLBytes)
	case strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == utf8.RuneError }):
		return Endpoint{}, invalid(scheme, "it has blanks or control characters; write them as %%20 and the like")
	case !found:
		return Endpoint{}, invalid("", "no scheme: want zdb://, zdbs://, zdb+unix:// or dir://")
	case examples[scheme] == "":
		return Endpoint{}, invalid("", "unknown scheme: want zdb://, zdbs://, zdb+unix:// or dir://")
	}
	authority, _, _ := strings.Cut(rest, "?")
	authority, _, _ = strings.Cut(authority, "/")
	if strings.Contains(authority, "@") {
		return Endpoint{}, invalid(scheme, "a user name or password does not go into it; use password-file=/PATH")
	}
	u, err := url.Parse(raw)
	if err != nil {
		var wrapped *url.Error // its text repeats the whole URL
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return Endpoint{}, invalid(scheme, "%v", err)
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		return Endpoint{}, invalid(scheme, "a # has no meaning here; write it as %%23 in a name")
	}
	e := Endpoint{Scheme: scheme}
	params, err := parseQuery(scheme, u)
	if err != nil {
		return Endpoint{}, err
	}
	switch scheme {
	case SchemeTCP, SchemeTLS:
		err = e.parseNetwork(u)
	case SchemeUnix:
		err = e.parseUnix(u, params)
	case SchemeDir:
		err = e.parseDir(u)
	}
	if err == nil {
		err = e.parseParams(params)
	}
	if err != nil {
		return Endpoint{}, err
	}
	return e, nil
}

// allowed lists the query parameters of each scheme.
var allowed = map[string][]string{
	SchemeTCP:  {"group", "password-file"},
	SchemeTLS:  {"group", "password-file", "tls-pin"},
	SchemeUnix: {"group", "ns", "password-file"},
	SchemeDir:  {"group"},
}

func parseQuery(scheme string, u *url.URL) (map[string]string, error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, invalid(scheme, "its parameters behind ? do not parse")
	}
	params := make(map[string]string)
	for name, list := range values {
		known := false
		for _, want := range allowed[scheme] {
			known = known || name == want
		}
		switch {
		case name == "password":
			return nil, invalid(scheme, "a password does not go into it; use password-file=/PATH")
		case name == "tls-pin" && !known:
			return nil, invalid(SchemeTLS, "tls-pin= needs zdbs://")
		case name == "ns" && !known:
			return nil, invalid(scheme, "ns= is for zdb+unix:// only")
		case name == "password-file" && !known:
			return nil, invalid(scheme, "password-file= has no meaning for dir://, which has no passwords")
		case !known:
			return nil, invalid(scheme, "unknown parameter %q: want %s", clip(name), strings.Join(allowed[scheme], "=, ")+"=")
		case len(list) > 1:
			return nil, invalid(scheme, "%s= is given twice", name)
		case list[0] == "":
			return nil, invalid(scheme, "%s= is empty", name)
		}
		params[name] = list[0]
	}
	return params, nil
}

func (e *Endpoint) parseNetwork(u *url.URL) error {
	host, port := u.Hostname(), u.Port()
	switch {
	case host == "":
		return invalid(e.Scheme, "no host")
	case port == "":
		return invalid(e.Scheme, "no port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return invalid(e.Scheme, "port %q is not in 1..65535", clip(port))
	}
	host, err = canonicalHost(host)
	if err != nil {
		return invalid(e.Scheme, "%v", err)
	}
	e.Address = net.JoinHostPort(host, strconv.FormatUint(number, 10))

	escaped := strings.TrimPrefix(u.EscapedPath(), "/")
	if strings.Contains(escaped, "/") {
		return invalid(e.Scheme, "a namespace has no /")
	}
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return invalid(e.Scheme, "the namespace does not parse")
	}
	return e.setNamespace(name)
}

// canonicalHost checks an IP address or a host name and gives its one spelling.
func canonicalHost(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		for _, r := range addr.Zone() {
			if !isHostRune(r) {
				return "", errors.New("the host has a character that no host name has")
			}
		}
		return addr.String(), nil
	}
	if strings.Contains(host, ":") {
		return "", errors.New("the host is no IPv6 address in brackets, as in [2001:db8::1]:9900")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 {
		return "", errors.New("the host name has the wrong length")
	}
	for _, r := range host {
		if !isHostRune(r) {
			return "", errors.New("the host has a character that no host name has")
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("the host name has an empty or too long part")
		}
	}
	return host, nil
}

func isHostRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}

func (e *Endpoint) parseUnix(u *url.URL, params map[string]string) error {
	if u.Host != "" {
		return invalid(e.Scheme, "a socket's path is absolute: three slashes")
	}
	cleaned, err := absolute(u.Path)
	if err != nil {
		return invalid(e.Scheme, "the socket's path %v", err)
	}
	if len(cleaned) > 107 { // sun_path of unix(7)
		return invalid(e.Scheme, "the socket's path is longer than 107 bytes")
	}
	e.Address = cleaned
	return e.setNamespace(params["ns"])
}

func (e *Endpoint) parseDir(u *url.URL) error {
	if u.Host != "" {
		return invalid(e.Scheme, "a directory's path is absolute: three slashes")
	}
	cleaned, err := absolute(u.Path)
	if err != nil {
		return invalid(e.Scheme, "the directory's path %v", err)
	}
	e.Dir = cleaned
	return nil
}

// absolute checks a path of a file or folder that is not the root, and cleans it.
func absolute(p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		return "", errors.New("is not absolute")
	}
	if !printable(p) {
		return "", errors.New("has characters that do not print")
	}
	if p = path.Clean(p); p == "/" {
		return "", errors.New("is missing")
	}
	return p, nil
}

func (e *Endpoint) setNamespace(name string) error {
	switch {
	case name == "":
		return invalid(e.Scheme, "no namespace")
	case name == "." || name == ".." || strings.Contains(name, "/") || !printable(name):
		return invalid(e.Scheme, "the namespace has a name that no 0-db takes")
	case len(name) > zdb.MaxNamespaceBytes:
		return invalid(e.Scheme, "the namespace is longer than %d bytes", zdb.MaxNamespaceBytes)
	}
	e.Namespace = name
	return nil
}

func (e *Endpoint) parseParams(params map[string]string) error {
	if group, ok := params["group"]; ok {
		if len(group) > maxGroupBytes || !printable(group) {
			return invalid(e.Scheme, "group= is longer than %d bytes or does not print", maxGroupBytes)
		}
		e.Group = group
	}
	if file, ok := params["password-file"]; ok {
		cleaned, err := absolute(file)
		if err != nil {
			return invalid(e.Scheme, "the path of password-file= %v", err)
		}
		e.PasswordFile = cleaned
	}
	if pin, ok := params["tls-pin"]; ok {
		if _, err := decodePin(pin); err != nil {
			return invalid(e.Scheme, "%v", err)
		}
		e.TLSPin = pin
	}
	return nil
}

// decodePin gives the 32 bytes of a pin.
func decodePin(pin string) ([32]byte, error) {
	var sum [32]byte
	b, err := base64.RawURLEncoding.Strict().DecodeString(pin)
	if err != nil || len(b) != len(sum) {
		return sum, errors.New("tls-pin= is not the base64url of 32 bytes, 43 characters without =")
	}
	copy(sum[:], b)
	return sum, nil
}

// String gives the canonical URL.
func (e Endpoint) String() string {
	u := url.URL{Scheme: e.Scheme}
	query := url.Values{}
	switch e.Scheme {
	case SchemeDir:
		u.Path = e.Dir
	case SchemeUnix:
		u.Path = e.Address
		query.Set("ns", e.Namespace)
	default:
		u.Host = e.Address
		u.Path = "/" + e.Namespace
		u.RawPath = "/" + url.PathEscape(e.Namespace)
	}
	for name, value := range map[string]string{"group": e.Group, "password-file": e.PasswordFile, "tls-pin": e.TLSPin} {
		if value != "" {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode() // sorted by name
	text := u.String()
	if e.Scheme == SchemeUnix || e.Scheme == SchemeDir {
		text = e.Scheme + "://" + strings.TrimPrefix(strings.TrimPrefix(text, e.Scheme+":"), "//")
	}
	return text
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// clip keeps a wrong name from filling a screen.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
