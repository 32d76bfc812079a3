package sign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/hex"
	"testing"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 8032, section 7.1, TEST 1 to TEST 3; the keys are made by New, as we use them.
func TestEd25519Vectors(t *testing.T) {
	for _, v := range []struct{ name, seed, public, msg, sig string }{
		{"TEST 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"TEST 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"TEST 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	} {
		t.Run(v.name, func(t *testing.T) {
			k := New((*[SeedBytes]byte)(unhex(t, v.seed)), new([SeedBytes]byte))
			if got := hex.EncodeToString(k.public.ed[:]); got != v.public {
				t.Errorf("public key: got %s, want %s", got, v.public)
			}
			sig := ed25519.Sign(k.private.Get().ed[:], unhex(t, v.msg))
			if got := hex.EncodeToString(sig); got != v.sig {
				t.Errorf("signature: got %s, want %s", got, v.sig)
			}
			if !ed25519.Verify(k.public.ed[:], unhex(t, v.msg), unhex(t, v.sig)) {
				t.Error("the published signature does not verify")
			}
		})
	}
}

// NIST ACVP, ML-DSA-keyGen-FIPS204, ML-DSA-65, test cases 26 to 28: from the seed to the public key, given here as its
// SHA-256.
func TestMLDSAKeyGenVectors(t *testing.T) {
	for _, v := range []struct{ name, seed, publicSHA256 string }{
		{"26", "70cefb9aed5b68e018b079da8284b9d5cad5499ed9c265ff73588005d85c225c",
			"646b26b8d09dbc9e865b6a006c693a3127b065e62fab5fbe8b159c416462feb6"},
		{"27", "4b4b71c5a1bc1074f2167a1d68729cdb9e16aba3651ff02a0a0f4c883caac827",
			"5fef74046438638b54fb828d4ae59fea8eb26de94905664c2c7d76da82672057"},
		{"28", "fb27dbbb4ed8f4f7d2700283c2b092866694246932eeacee72db730efd172576",
			"a3c9bcc0bed93fe0b8d651b1844dc708ebafecbb30d221c5a608d5579479c39d"},
	} {
		t.Run(v.name, func(t *testing.T) {
			k := New(new([SeedBytes]byte), (*[SeedBytes]byte)(unhex(t, v.seed)))
			sum := sha256.Sum256(k.public.ml.Bytes())
			if got := hex.EncodeToString(sum[:]); got != v.publicSHA256 {
				t.Errorf("got %s, want %s", got, v.publicSHA256)
			}
		})
	}
}

// The 100 accumulated vectors for ML-DSA-65 of the Go standard library (crypto/internal/fips140test, mldsa_test.go): keys
// from the stream of SHAKE128 of nothing, each signing the empty message, and SHAKE128 of all public keys and signatures.
func TestMLDSAAccumulated(t *testing.T) {
	seeds, all := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	for range 100 {
		var seed [SeedBytes]byte
		seeds.Read(seed[:])
		k := New(new([SeedBytes]byte), &seed)
		all.Write(k.public.ml.Bytes())
		sig := make([]byte, mldsa65.SignatureSize)
		if err := mldsa65.SignTo(&k.private.Get().ml, nil, nil, false, sig); err != nil {
			t.Fatal(err)
		}
		if !mldsa65.Verify(k.public.ml, nil, nil, sig) {
			t.Fatal("does not verify")
		}
		all.Write(sig)
	}
	sum := make([]byte, 32)
	all.Read(sum)
	if got, want := hex.EncodeToString(sum), "8358a1843220194417cadbc2651295cd8fc65125b5a5c1a239a16dc8b57ca199"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
