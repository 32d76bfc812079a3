package kem

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The three vectors of draft-connolly-cfrg-xwing-kem (spec/test-vectors.txt in dconnolly/draft-connolly-cfrg-xwing-kem),
// the way cloudflare/circl checks them: their seeds are the stream of SHAKE128 of nothing, and SHAKE128 of the whole file,
// seeds, keys, ciphertexts and shared secrets, is the value below.
func TestXWingVectors(t *testing.T) {
	var text strings.Builder
	field := func(name string, value []byte) {
		digits := hex.EncodeToString(value)
		if len(name)+5+len(digits) < 74 {
			fmt.Fprintf(&text, "%s     %s\n", name, digits)
			return
		}
		fmt.Fprintln(&text, name)
		for ; len(digits) > 0; digits = digits[min(72, len(digits)):] {
			fmt.Fprintf(&text, "  %s\n", digits[:min(72, len(digits))])
		}
	}
	stream := sha3.NewSHAKE128()
	for range 3 {
		var seed [SeedBytes]byte
		var encapsulationSeed [64]byte
		stream.Read(seed[:])
		stream.Read(encapsulationSeed[:])
		k := New(&seed)
		shared, ciphertext, err := k.Public().Encapsulate(bytes.NewReader(encapsulationSeed[:]))
		if err != nil {
			t.Fatal(err)
		}
		back, err := k.Decapsulate(ciphertext)
		if err != nil || *back != *shared {
			t.Errorf("decapsulated: got %x, %v, want %x", *back, err, *shared)
		}
		field("seed", seed[:])
		field("sk", seed[:])
		field("pk", k.public.key[:])
		field("eseed", encapsulationSeed[:])
		field("ct", ciphertext)
		field("ss", shared[:])
		fmt.Fprintln(&text)
	}
	got := hex.EncodeToString(sha3.SumSHAKE128([]byte(text.String()), 32))
	if want := "1bcd0057d861d6b866239936cadcaeee1ec0164dedc181c386e9e54fe46156fe"; got != want {
		t.Errorf("got %s, want %s; the file made here:\n%s", got, want, text.String())
	}
}

// McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13 to 16: AES-256.
func TestAESGCMVectors(t *testing.T) {
	const (
		key   = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
		nonce = "cafebabefacedbaddecaf888"
		plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
		seald = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
	)
	zero := strings.Repeat("0", 64)
	for _, v := range []struct{ name, key, nonce, plain, associated, want string }{
		{"13", zero, zero[:24], "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{"14", zero, zero[:24], zero[:32], "", "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919"},
		{"15", key, nonce, plain + "1aafd255", "", seald + "898015ad" + "b094dac5d93471bdec1a502270e3cc6c"},
		{"16", key, nonce, plain, "feedfacedeadbeeffeedfacedeadbeefabaddad2", seald + "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		t.Run(v.name, func(t *testing.T) {
			block, err := aes.NewCipher(unhex(t, v.key))
			if err != nil {
				t.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				t.Fatal(err)
			}
			got := aead.Seal(nil, unhex(t, v.nonce), unhex(t, v.plain), unhex(t, v.associated))
			if hex.EncodeToString(got) != v.want {
				t.Errorf("got %x, want %s", got, v.want)
			}
			back, err := aead.Open(nil, unhex(t, v.nonce), got, unhex(t, v.associated))
			if err != nil || hex.EncodeToString(back) != v.plain {
				t.Errorf("opened: got %x, %v", back, err)
			}
		})
	}
}
