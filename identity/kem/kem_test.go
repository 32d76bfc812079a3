package kem

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

func key(first byte) *Key {
	var seed [SeedBytes]byte
	for i := range seed {
		seed[i] = first + byte(i)
	}
	return New(&seed)
}

const (
	goldenSecret  = "the secret in the golden file"
	goldenContext = "golden"
)

func golden(t testing.TB, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update && got != nil {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func ones() *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{1}, 64)) }

// The bytes of version 1 never change, and what version 1 wrapped unwraps for ever.
func TestGolden(t *testing.T) {
	k := key(1)
	wrapped, err := wrap(ones(), k.Public(), []byte(goldenSecret), goldenContext)
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "wrapped.bin", wrapped)
	if !bytes.Equal(wrapped, want) || len(want) != 1144+len(goldenSecret) {
		t.Error("the wrapped secret changed")
	}
	if got, err := k.Unwrap(want, goldenContext); err != nil || string(got) != goldenSecret {
		t.Errorf("unwrapped: got %q, %v", got, err)
	}
	public := golden(t, "public-key.bin", k.Public().Marshal())
	if !bytes.Equal(k.Public().Marshal(), public) || len(public) != 1224 {
		t.Error("the public key changed")
	}
	p, err := ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Equal(k.Public()) || p.Equal(key(2).Public()) || p.Equal(PublicKey{}) || p.String() != k.Public().String() || len(p.String()) != 16 {
		t.Error("Equal or String is wrong")
	}
}

// What is wrapped unwraps for its key and context, and any other key, context or bit is refused.
func TestWrapUnwrap(t *testing.T) {
	k, other := key(1), key(2)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "secret")
		context := rapid.StringN(1, 50, MaxContextBytes).Draw(t, "context")
		wrapped, err := Wrap(k.Public(), secret, context)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Unwrap(wrapped, context); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("got %x, %v", got, err)
		}
		flipped := bytes.Clone(wrapped)
		bit := rapid.IntRange(headerBytes*8, len(wrapped)*8-1).Draw(t, "bit")
		flipped[bit/8] ^= 1 << (bit % 8)
		for name, try := range map[string]func() ([]byte, error){
			"other key":     func() ([]byte, error) { return other.Unwrap(wrapped, context) },
			"other context": func() ([]byte, error) { return k.Unwrap(wrapped, "x"+context) },
			"flipped bit":   func() ([]byte, error) { return k.Unwrap(flipped, context) },
			"longer":        func() ([]byte, error) { return k.Unwrap(append(bytes.Clone(wrapped), 0), context) },
		} {
			if got, err := try(); !errors.Is(err, ErrUnwrap) || got != nil {
				t.Fatalf("%s: got %x, %v, want ErrUnwrap", name, got, err)
			}
		}
	})
}

// A source of randomness that repeats itself never gives one key for two plaintexts, recipients or contexts.
func TestRepeatedRandomness(t *testing.T) {
	seen := map[string]string{}
	for i, recipient := range []*Key{key(1), key(2)} {
		for _, plain := range []string{"a", "b", "ab"} {
			for _, context := range []string{"a", "b", "ab"} {
				name := fmt.Sprint(i, plain, "/", context)
				wrapped, err := wrap(ones(), recipient.Public(), []byte(plain), context)
				if err != nil {
					t.Fatal(err)
				}
				ciphertext := string(wrapped[headerBytes : headerBytes+CiphertextBytes])
				if before, ok := seen[ciphertext]; ok {
					t.Errorf("%s and %s have the same key", before, name)
				}
				seen[ciphertext] = name
			}
		}
	}
	a, errA := Wrap(key(1).Public(), []byte("a"), "a")
	b, errB := Wrap(key(1).Public(), []byte("a"), "a")
	if errA != nil || errB != nil || bytes.Equal(a, b) {
		t.Errorf("twice the same bytes from good randomness, or %v, %v", errA, errB)
	}
}

func TestBounds(t *testing.T) {
	k := key(1)
	longest := strings.Repeat("c", MaxContextBytes)
	largest := make([]byte, MaxSecretBytes)
	wrapped, err := Wrap(k.Public(), largest, longest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unwrap(wrapped, longest); err != nil || !bytes.Equal(got, largest) {
		t.Errorf("the largest: got %d bytes, %v", len(got), err)
	}
	broken := errors.New("broken")
	_, _, noKey := PublicKey{}.Encapsulate(nil)
	_, _, noRandom := k.Public().Encapsulate(iotest.ErrReader(broken))
	_, shortCiphertext := k.Decapsulate(make([]byte, CiphertextBytes-1))
	for _, v := range []struct {
		name string
		err  error
		want error
	}{
		{"empty secret", second(Wrap(k.Public(), nil, "a")), ErrUsage},
		{"secret too long", second(Wrap(k.Public(), append(largest, 0), "a")), ErrUsage},
		{"empty context", second(Wrap(k.Public(), largest, "")), ErrUsage},
		{"context too long", second(Wrap(k.Public(), largest, longest+"c")), ErrUsage},
		{"no recipient", second(Wrap(PublicKey{}, largest, "a")), ErrUsage},
		{"encapsulate to none", noKey, ErrUsage},
		{"broken randomness", second(wrap(iotest.ErrReader(broken), k.Public(), largest, "a")), broken},
		{"broken randomness in Encapsulate", noRandom, broken},
		{"unwrap without context", second(k.Unwrap(wrapped, "")), ErrUsage},
		{"unwrap, context too long", second(k.Unwrap(wrapped, longest+"c")), ErrUsage},
		{"unwrap too long", second(k.Unwrap(append(wrapped, 0), longest)), ErrCorrupt},
		{"unwrap too short", second(k.Unwrap(wrapped[:OverheadBytes], longest)), ErrCorrupt},
		{"ciphertext too short", shortCiphertext, ErrCorrupt},
	} {
		t.Run(v.name, func(t *testing.T) {
			if !errors.Is(v.err, v.want) {
				t.Errorf("got %v, want %v", v.err, v.want)
			}
		})
	}
}

func second(_ []byte, err error) error { return err }

func TestHeaders(t *testing.T) {
	k := key(1)
	for _, v := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"version 2", func(b []byte) []byte { b[4] = 2; return b }, ErrTooNew},
		{"version 2, other length", func(b []byte) []byte { b[4] = 2; return b[:20] }, ErrTooNew},
		{"version 0", func(b []byte) []byte { b[4] = 0; return b }, ErrCorrupt},
		{"magic", func(b []byte) []byte { b[0] = 'x'; return b }, ErrCorrupt},
		{"header only", func(b []byte) []byte { return b[:8] }, ErrCorrupt},
		{"less than a header", func(b []byte) []byte { return b[:7] }, ErrCorrupt},
		{"nothing", func(b []byte) []byte { return nil }, ErrCorrupt},
	} {
		t.Run(v.name, func(t *testing.T) {
			if _, err := k.Unwrap(v.change(bytes.Clone(golden(t, "wrapped.bin", nil))), goldenContext); !errors.Is(err, v.want) {
				t.Errorf("wrapped: got %v, want %v", err, v.want)
			}
			if p, err := ParsePublicKey(v.change(k.Public().Marshal())); !errors.Is(err, v.want) || p.Marshal() != nil {
				t.Errorf("public key: got %v, want %v", err, v.want)
			}
		})
	}
	b := k.Public().Marshal()
	b[8], b[9] = 0xff, 0xff // a coefficient of 4095, not below q = 3329
	if _, err := ParsePublicKey(b); !errors.Is(err, ErrCorrupt) {
		t.Errorf("not reduced: got %v, want ErrCorrupt", err)
	}
}

// One key wraps and unwraps in several goroutines at once; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	k := key(1)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			wrapped, err := Wrap(k.Public(), []byte{byte(i)}, "a")
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := k.Unwrap(wrapped, "a"); err != nil || !bytes.Equal(got, []byte{byte(i)}) {
				t.Errorf("got %x, %v", got, err)
			}
		})
	}
	group.Wait()
}

func TestWipe(t *testing.T) {
	k := key(1)
	seed := k.seed.Get()
	k.Wipe()
	k.Wipe()
	if *seed != [SeedBytes]byte{} {
		t.Error("the seed is still there")
	}
	if _, err := k.Unwrap(golden(t, "wrapped.bin", nil), goldenContext); !errors.Is(err, ErrWiped) {
		t.Errorf("got %v, want ErrWiped", err)
	}
	if _, err := Wrap(k.Public(), []byte("a"), "a"); err != nil {
		t.Errorf("the public key of a wiped key: %v", err)
	}
}

func TestNeverPrinted(t *testing.T) {
	k := key(1)
	var out bytes.Buffer
	for _, value := range []any{k, *k, struct{ K *Key }{k}, struct{ k *Key }{k}, struct{ k Key }{*k}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", value, value, value, value, value, value, value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "k", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("key", "k", value)
	}
	seed := k.seed.Get()[:]
	for _, leak := range []string{string(seed[:4]), fmt.Sprintf("%x", seed[:4]), strings.Trim(fmt.Sprint(seed[:4]), "[]"), "0x1, 0x2, 0x3, 0x4"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("printed %q", leak)
		}
	}
	if text, err := json.Marshal(k); err == nil {
		t.Errorf("json: got %s", text)
	}
}

func FuzzUnwrap(f *testing.F) {
	wrapped, k := golden(f, "wrapped.bin", nil), key(1)
	f.Add(wrapped)
	f.Add(wrapped[:1144])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := k.Unwrap(b, goldenContext)
		if err == nil && !bytes.Equal(b, wrapped) {
			t.Fatalf("forged: %q from %x", got, b)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) && !errors.Is(err, ErrUnwrap) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	public := golden(f, "public-key.bin", nil)
	f.Add(public)
	f.Add(public[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePublicKey(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("not canonical: %x", b)
		}
		if _, err := wrap(ones(), p, []byte("a"), "a"); err != nil { // any key that parses can be used
			t.Fatal(err)
		}
	})
}

func BenchmarkWrap(b *testing.B) {
	k := key(1)
	for b.Loop() {
		if _, err := Wrap(k.Public(), make([]byte, 64), "benchmark"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnwrap(b *testing.B) {
	k, wrapped := key(1), golden(b, "wrapped.bin", nil)
	for b.Loop() {
		if _, err := k.Unwrap(wrapped, goldenContext); err != nil {
			b.Fatal(err)
		}
	}
}
