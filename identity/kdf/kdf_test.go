package kdf

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Published vectors with an empty salt: Project Wycheproof (C2SP/wycheproof), testvectors_v1/hkdf_sha512_test.json,
// test cases 1 to 6. Their 128-bit secrets are shorter than Derive allows, so they go to the function beneath.
func TestWycheproof(t *testing.T) {
	for _, v := range []struct{ name, ikm, info, okm string }{
		{"1", "24aeff2645e3e0f5494a9a102778c43a", "", "dd2599840b09699c6200b5cba79002b3aa75c61b"},
		{"2", "a23632e18ec76b59b1c87008da3f8a7e", "",
			"c4af93d4bae9ca2b45f590cd3d2f539ff5749d7b0864fbe44a438d38a2f8e5afe01641145e389c989766"},
		{"3", "a4748031a14d3e6aafe42aa20c568f5f", "",
			"62ea97e06051e40b79deb127a4da294f557cafa3d7a90a75c02064571dfbbe46" +
				"99129bdcec4b39eed7757ce8e3571589f7d8f5523c0dc3fd6a56b099fb4bfd51"},
		{"4", "06eb26f8ccf28580c8f28d5b4dc47a49", "d5f081e81e8cf9ded199f3ae43c80a2dfe3d9cf2",
			"952b7dfa219f167aa8a86a5f136dfc7aed1848fc"},
		{"5", "c181696a19ab1a32eb6e81b2925d8990", "d8c8de92fe5422c9825996354db1821ba43a81ac",
			"bd646410b4ef179e10369db6d7e4fe841e7915f8ae793b8f49149c05a0cee691b234c8cbb51c8b038b7a"},
		{"6", "55fb6dcc7802354e55a45a6e41858c05", "dcd590e418b259c64fb9e139b3a1280d5de8400b",
			"725ac2b568fa0308ea6baeb2175ae9a0d41f8be1af13057f0646ba56389a8f1d" +
				"8a783da95fc7eee4897a0b1580f7987115e03508feedc335260a293f01afdb98"},
	} {
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.okm)
			got := make([]byte, len(want))
			if err := derive(unhex(t, v.ikm), string(unhex(t, v.info)), got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

// rfc5869 is section 2 of the RFC written out with HMAC alone.
func rfc5869(secret []byte, info string, length int) []byte {
	extract := hmac.New(sha512.New, make([]byte, sha512.Size))
	extract.Write(secret)
	prk := extract.Sum(nil)
	var block, out []byte
	for i := byte(1); len(out) < length; i++ {
		expand := hmac.New(sha512.New, prk)
		expand.Write(block)
		expand.Write([]byte(info))
		expand.Write([]byte{i})
		block = expand.Sum(nil)
		out = append(out, block...)
	}
	return out[:length]
}

func TestAgainstPlainHMAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), MinSecretBytes, 200).Draw(t, "secret")
		label := rapid.StringN(1, 60, -1).Draw(t, "label")
		got := make([]byte, rapid.IntRange(1, 300).Draw(t, "length"))
		if err := Derive(secret, label, got); err != nil {
			t.Fatal(err)
		}
		if want := rfc5869(secret, label, len(got)); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}

func TestBounds(t *testing.T) {
	good := bytes.Repeat([]byte{7}, MinSecretBytes)
	for _, v := range []struct {
		name   string
		secret []byte
		label  string
		length int
		ok     bool
	}{
		{"shortest secret", good, "label", 32, true},
		{"secret too short", good[1:], "label", 32, false},
		{"no secret", nil, "label", 32, false},
		{"no label", good, "", 32, false},
		{"nothing wanted", good, "label", 0, false},
		{"longest output", good, "label", MaxOutBytes, true},
		{"output too long", good, "label", MaxOutBytes + 1, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			out := make([]byte, v.length)
			err := Derive(v.secret, v.label, out)
			if v.ok != (err == nil) || (!v.ok && !errors.Is(err, ErrUsage)) {
				t.Fatalf("got %v", err)
			}
			if zero := bytes.Equal(out, make([]byte, v.length)); v.ok == zero {
				t.Errorf("out is zero: %v", zero)
			}
		})
	}
}

func BenchmarkDerive(b *testing.B) {
	key, out := make([]byte, 64), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		_ = Derive(key, "qsfs/v1/benchmark", out)
	}
}
