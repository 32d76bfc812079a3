package sign

import (
	"bytes"
	"crypto/ed25519"
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

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

func key(first byte) *Key {
	var ed, ml [SeedBytes]byte
	for i := range ed {
		ed[i], ml[i] = first+byte(i), first+100+byte(i)
	}
	return New(&ed, &ml)
}

const goldenContext, goldenMessage = "golden", "what is signed in the golden file\n"

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

// The bytes of version 1 never change, and what version 1 signed verifies for ever.
func TestGolden(t *testing.T) {
	k := key(1)
	sig, err := k.Sign(goldenContext, []byte(goldenMessage))
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t, "signature.bin", sig); !bytes.Equal(sig, want) || len(want) != 3381 {
		t.Error("the signature changed")
	}
	want := golden(t, "public-key.bin", k.Public().Marshal())
	if !bytes.Equal(k.Public().Marshal(), want) || len(want) != 1992 {
		t.Error("the public key changed")
	}
	p, err := ParsePublicKey(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(goldenContext, []byte(goldenMessage), golden(t, "signature.bin", nil)); err != nil {
		t.Error(err)
	}
	if !p.Equal(k.Public()) || p.Equal(key(2).Public()) || p.Equal(PublicKey{}) || p.String() != k.Public().String() || len(p.String()) != 16 {
		t.Error("Equal or String is wrong")
	}
}

// A signature verifies for its key, context and message, and for nothing else.
func TestSignVerify(t *testing.T) {
	k, other := key(1), key(2)
	rapid.Check(t, func(t *rapid.T) {
		context := rapid.StringN(1, 50, MaxContextBytes).Draw(t, "context")
		msg := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "msg")
		sig, err := k.Sign(context, msg)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Public().Verify(context, msg, sig); err != nil {
			t.Fatal(err)
		}
		bit := rapid.IntRange(0, len(sig)*8-1).Draw(t, "bit")
		flipped := bytes.Clone(sig)
		flipped[bit/8] ^= 1 << (bit % 8)
		moved := context[len(context)-1:] // the last byte of the context goes over to the message
		for name, err := range map[string]error{
			"other key":      other.Public().Verify(context, msg, sig),
			"no key":         PublicKey{}.Verify(context, msg, sig),
			"other context":  k.Public().Verify("x"+context, msg, sig),
			"longer message": k.Public().Verify(context, append(bytes.Clone(msg), 0), sig),
			"moved border":   verifyMoved(k.Public(), context, moved, msg, sig),
			"flipped bit":    k.Public().Verify(context, msg, flipped),
			"cut":            k.Public().Verify(context, msg, sig[:len(sig)-1]),
			"longer":         k.Public().Verify(context, msg, append(bytes.Clone(sig), 0)),
			"empty":          k.Public().Verify(context, msg, nil),
		} {
			if !errors.Is(err, ErrBadSignature) {
				t.Fatalf("%s: got %v, want ErrBadSignature", name, err)
			}
		}
	})
}

func verifyMoved(p PublicKey, context, moved string, msg, sig []byte) error {
	if context = strings.TrimSuffix(context, moved); context == "" {
		return ErrBadSignature
	}
	return p.Verify(context, append([]byte(moved), msg...), sig)
}

// One half of another's or of another message's signature does not do: both halves count.
func TestBothHalvesCount(t *testing.T) {
	k, other := key(1), key(2)
	msg := []byte("message")
	mustSign := func(k *Key, context, msg string) []byte {
		sig, err := k.Sign(context, []byte(msg))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good := mustSign(k, "a", "message")
	splice := func(ed, ml []byte) []byte {
		border := headerBytes + ed25519.SignatureSize
		return append(bytes.Clone(ed[:border]), ml[border:]...)
	}
	for name, bad := range map[string][]byte{
		"other key": mustSign(other, "a", "message"), "other context": mustSign(k, "b", "message"), "other message": mustSign(k, "a", "other"),
	} {
		for half, sig := range map[string][]byte{"Ed25519": splice(bad, good), "ML-DSA-65": splice(good, bad)} {
			t.Run(name+" in "+half, func(t *testing.T) {
				err := k.Public().Verify("a", msg, sig)
				if !errors.Is(err, ErrBadSignature) || !strings.HasSuffix(err.Error(), half) {
					t.Errorf("got %v, want ErrBadSignature by %s", err, half)
				}
			})
		}
	}
	// Nor are the halves signatures of the bare message that one could use elsewhere.
	if ed25519.Verify(k.public.ed[:], msg, good[8:72]) || mldsa65.Verify(k.public.ml, msg, []byte("a"), good[72:]) {
		t.Error("a half is valid on its own without the prefix")
	}
}

func TestContextBounds(t *testing.T) {
	k := key(1)
	longest := strings.Repeat("c", MaxContextBytes)
	sig, err := k.Sign(longest, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Public().Verify(longest, nil, sig); err != nil {
		t.Error(err)
	}
	for _, context := range []string{"", longest + "c"} {
		if _, err := k.Sign(context, nil); !errors.Is(err, ErrContext) {
			t.Errorf("Sign: got %v, want ErrContext", err)
		}
		if err := k.Public().Verify(context, nil, sig); !errors.Is(err, ErrContext) {
			t.Errorf("Verify: got %v, want ErrContext", err)
		}
	}
	if len(contextPrefix)+MaxContextBytes > 255 {
		t.Error("longer than FIPS 204 allows")
	}
}

// Versions we do not know and bytes that are something else are told apart.
func TestHeaders(t *testing.T) {
	k := key(1)
	sig, err := k.Sign("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name   string
		change func([]byte) []byte
		tooNew bool
	}{
		{"version 2", func(b []byte) []byte { b[4] = 2; return b }, true},
		{"version 2, other length", func(b []byte) []byte { b[4] = 2; return b[:100] }, true},
		{"version 0", func(b []byte) []byte { b[4] = 0; return b }, false},
		{"magic", func(b []byte) []byte { b[0] = 'x'; return b }, false},
		{"the other's magic", func(b []byte) []byte { copy(b, "QSKK"); return b }, false},
		{"header only", func(b []byte) []byte { return b[:8] }, false},
		{"less than a header", func(b []byte) []byte { return b[:7] }, false},
		{"nothing", func(b []byte) []byte { return nil }, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			err := k.Public().Verify("a", nil, v.change(bytes.Clone(sig)))
			if !errors.Is(err, ErrBadSignature) || errors.Is(err, ErrTooNew) != v.tooNew {
				t.Errorf("signature: got %v", err)
			}
			p, err := ParsePublicKey(v.change(k.Public().Marshal()))
			if !errors.Is(err, ErrBadPublicKey) || errors.Is(err, ErrTooNew) != v.tooNew || p.Marshal() != nil {
				t.Errorf("public key: got %v", err)
			}
		})
	}
}

// One key signs and verifies in several goroutines at once; the race detector watches.
func TestConcurrentUse(t *testing.T) {
	k := key(1)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			msg := []byte{byte(i)}
			sig, err := k.Sign("a", msg)
			if err == nil {
				err = k.Public().Verify("a", msg, sig)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestWipe(t *testing.T) {
	k := key(1)
	private := k.private.Get()
	k.Wipe()
	k.Wipe()
	if private.ed != [64]byte{} || !private.ml.Equal(&mldsa65.PrivateKey{}) {
		t.Error("private keys are still there")
	}
	if _, err := k.Sign("a", nil); !errors.Is(err, ErrWiped) {
		t.Errorf("got %v, want ErrWiped", err)
	}
	if !k.Public().Equal(key(1).Public()) {
		t.Error("the public key is gone")
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
	seed := k.private.Get().ed[:SeedBytes]
	for _, leak := range []string{string(seed[:4]), fmt.Sprintf("%x", seed[:4]), strings.Trim(fmt.Sprint(seed[:4]), "[]"), "0x1, 0x2, 0x3, 0x4"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("printed %q", leak)
		}
	}
	if text, err := json.Marshal(k); err == nil {
		t.Errorf("json: got %s", text)
	}
}

func FuzzVerify(f *testing.F) {
	sig, p := golden(f, "signature.bin", nil), key(1).Public()
	f.Add(sig)
	f.Add(sig[:8])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		err := p.Verify(goldenContext, []byte(goldenMessage), b)
		if err == nil && !bytes.Equal(b, sig) {
			t.Fatalf("a second valid signature: %x", b)
		}
		if err != nil && !errors.Is(err, ErrBadSignature) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParsePublicKey(f *testing.F) {
	public := golden(f, "public-key.bin", nil)
	f.Add(public)
	f.Add(public[:40])
	f.Add([]byte{})
	sig := golden(f, "signature.bin", nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePublicKey(b)
		if err != nil {
			if !errors.Is(err, ErrBadPublicKey) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("not canonical: %x", b)
		}
		if err := p.Verify(goldenContext, []byte(goldenMessage), sig); (err == nil) != bytes.Equal(b, public) {
			t.Fatalf("got %v", err)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	k, msg := key(1), make([]byte, 64<<10)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, err := k.Sign("benchmark", msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	k, msg := key(1), make([]byte, 64<<10)
	sig, err := k.Sign("benchmark", msg)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if err := k.Public().Verify("benchmark", msg, sig); err != nil {
			b.Fatal(err)
		}
	}
}
