package endpoint

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const pin = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"

func TestParse(t *testing.T) {
	tests := []struct {
		raw       string
		want      Endpoint
		canonical string // empty: raw
	}{
		{"zdb://192.0.2.7:9900/home", Endpoint{Scheme: "zdb", Address: "192.0.2.7:9900", Namespace: "home"}, ""},
		{"ZDB://Node7.Example.org.:09900/home", Endpoint{Scheme: "zdb", Address: "node7.example.org:9900", Namespace: "home"}, "zdb://node7.example.org:9900/home"},
		{"zdb://[2001:db8:0:0::1]:9900/home", Endpoint{Scheme: "zdb", Address: "[2001:db8::1]:9900", Namespace: "home"}, "zdb://[2001:db8::1]:9900/home"},
		{"zdb://[fe80::1%25eth0]:9900/home", Endpoint{Scheme: "zdb", Address: "[fe80::1%eth0]:9900", Namespace: "home"}, ""},
		{"zdb://a:1/my%20space%3F", Endpoint{Scheme: "zdb", Address: "a:1", Namespace: "my space?"}, ""},
		{"zdb://a:1/50%25", Endpoint{Scheme: "zdb", Address: "a:1", Namespace: "50%"}, ""},
		{"zdb://a:1/n?password-file=/run/secrets//pw&group=farm-7", Endpoint{Scheme: "zdb", Address: "a:1", Namespace: "n", Group: "farm-7", PasswordFile: "/run/secrets/pw"}, "zdb://a:1/n?group=farm-7&password-file=%2Frun%2Fsecrets%2Fpw"},
		{"zdbs://a:1/n?tls-pin=" + pin, Endpoint{Scheme: "zdbs", Address: "a:1", Namespace: "n", TLSPin: pin}, ""},
		{"zdb+unix:///run/zdb.sock?ns=home", Endpoint{Scheme: "zdb+unix", Address: "/run/zdb.sock", Namespace: "home"}, ""},
		{"zdb+unix:///run/a%20b.sock?ns=a%26b&group=x", Endpoint{Scheme: "zdb+unix", Address: "/run/a b.sock", Namespace: "a&b", Group: "x"}, "zdb+unix:///run/a%20b.sock?group=x&ns=a%26b"},
		{"dir:///srv/zdb/../zdb/1/", Endpoint{Scheme: "dir", Dir: "/srv/zdb/1"}, "dir:///srv/zdb/1"},
		{"dir:///srv/a%3Fb?group=disk1", Endpoint{Scheme: "dir", Dir: "/srv/a?b", Group: "disk1"}, ""},
		{"dir:////srv", Endpoint{Scheme: "dir", Dir: "/srv"}, "dir:///srv"},
	}
	for _, test := range tests {
		t.Run(test.raw, func(t *testing.T) {
			got, err := Parse(test.raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			canonical := test.canonical
			if canonical == "" {
				canonical = test.raw
			}
			if got.String() != canonical {
				t.Errorf("got %s, want %s", got, canonical)
			}
		})
	}
}

// Each error says what is wrong, shows an example, and repeats no secret.
func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, raw, says string }{
		{"empty", "", "empty"},
		{"no scheme", "192.0.2.7:9900/home", "no scheme"},
		{"other scheme", "redis://a:1/n", "unknown scheme"},
		{"one slash", "zdb:/a:1/n", "no scheme"},
		{"no host", "zdb://:9900/n", "no host"},
		{"no port", "zdb://a/n", "no port"},
		{"empty port", "zdb://a:/n", "no port"},
		{"port 0", "zdb://a:0/n", "1..65535"},
		{"port 65536", "zdb://a:65536/n", "1..65535"},
		{"port word", "zdb://a:http/n", "port"},
		{"bare IPv6", "zdb://2001:db8::1/n", "brackets"},
		{"host with a blank", "zdb://a b:1/n", "blanks"},
		{"host of odd characters", "zdb://a!b:1/n", "host"},
		{"host with an empty part", "zdb://a..b:1/n", "empty"},
		{"no namespace", "zdb://a:1", "no namespace"},
		{"no namespace, slash", "zdb://a:1/", "no namespace"},
		{"two parts", "zdb://a:1/n/m", "no /"},
		{"escaped slash", "zdb://a:1/n%2Fm", "namespace"},
		{"dots", "zdb://a:1/..", "namespace"},
		{"escaped NUL", "zdb://a:1/n%00", "namespace"},
		{"not UTF-8", "zdb://a:1/%ff", "namespace"},
		{"long namespace", "zdb://a:1/" + strings.Repeat("n", 129), "128"},
		{"password", "zdb://user:secret@a:1/n", "password-file="},
		{"password, odd", "zdb://user:sec%zzret@a:1/n", "password-file="},
		{"password parameter", "zdb://a:1/n?password=secret", "password-file="},
		{"fragment", "zdb://a:1/n#x", "#"},
		{"unknown parameter", "zdb://a:1/n?grop=secret", "unknown parameter \"grop\""},
		{"parameter twice", "zdb://a:1/n?group=a&group=b", "twice"},
		{"parameter empty", "zdb://a:1/n?group=", "empty"},
		{"parameters broken", "zdb://a:1/n?a;b", "parse"},
		{"pin without TLS", "zdb://a:1/n?tls-pin=" + pin, "zdbs://"},
		{"pin short", "zdbs://a:1/n?tls-pin=abcd", "43"},
		{"pin padded", "zdbs://a:1/n?tls-pin=" + pin + "%3D", "43"},
		{"pin not canonical", "zdbs://a:1/n?tls-pin=" + pin[:42] + "h", "43"},
		{"relative password file", "zdb://a:1/n?password-file=pw", "absolute"},
		{"ns on TCP", "zdb://a:1/n?ns=m", "zdb+unix"},
		{"unix relative", "zdb+unix://run/zdb.sock?ns=home", "three slashes"},
		{"unix without ns", "zdb+unix:///run/zdb.sock", "no namespace"},
		{"unix without path", "zdb+unix:///?ns=home", "missing"},
		{"unix long path", "zdb+unix:///" + strings.Repeat("p", 107) + "?ns=home", "107"},
		{"dir relative", "dir://srv/zdb", "three slashes"},
		{"dir without path", "dir://", "absolute"},
		{"dir root", "dir:///", "missing"},
		{"dir with password", "dir:///srv?password-file=/pw", "no passwords"},
		{"dir with ns", "dir:///srv?ns=x", "ns="},
		{"control character", "zdb://a:1/n\x01", "control"},
		{"too long", "zdb://a:1/n?group=" + strings.Repeat("g", 5000), "4096"},
		{"long group", "zdb://a:1/n?group=" + strings.Repeat("g", 129), "128"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.raw)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %+v, %v", got, err)
			}
			text := err.Error()
			if !strings.Contains(text, test.says) || !strings.Contains(text, "example: ") {
				t.Errorf("unclear: %s", text)
			}
			if strings.Contains(text, "secret") || strings.Contains(text, "zzret") {
				t.Errorf("repeats a secret: %s", text)
			}
		})
	}
	for scheme, example := range examples {
		if _, err := Parse(strings.Replace(example, "PIN", pin, 1)); err != nil {
			t.Errorf("the example of %s: %v", scheme, err)
		}
	}
}

// What parses has one spelling, which parses to the same and keeps to the rules.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"zdb://[fe80::1%25eth0]:9900/home?group=a%2Fb", "zdbs://a:1/n?tls-pin=" + pin,
		"zdb+unix:///run/a%20b.sock?ns=a%26b", "dir:////srv//x?group=disk+1", "zdb://u:p@a:1/n", "zdb://a:1/%E2%82%AC",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		e, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		again, err := Parse(e.String())
		if err != nil || again != e {
			t.Fatalf("%q gives %q, which gives %+v, %v", raw, e, again, err)
		}
		if again.String() != e.String() {
			t.Fatalf("%q is not canonical: %q", e, again)
		}
	})
}
