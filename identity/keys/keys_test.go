package keys_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/identity/kem"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/phrase"
	"github.com/qsfs/qsfs/identity/secret"
	"github.com/qsfs/qsfs/identity/sign"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

func seed(t testing.TB) *[64]byte {
	t.Helper()
	p, err := phrase.Parse(strings.Repeat("abandon ", 23) + "art")
	if err != nil {
		t.Fatal(err)
	}
	return p.Seed()
}

func volume(t testing.TB) *keys.Volume {
	t.Helper()
	v, err := keys.DeriveVolume(keys.VolumeRoot(seed(t)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Every value that comes from one phrase is pinned. A difference here means that no volume of the release before opens:
// the code is wrong, never the file.
func TestGoldenSchedule(t *testing.T) {
	s := seed(t)
	root := keys.VolumeRoot(s)
	v := volume(t)
	var got strings.Builder
	line := func(name string, value []byte) { fmt.Fprintf(&got, "%s = %x\n", name, value) }
	line("seed", s[:])
	line("root", root[:])
	line("id", v.ID[:])
	line("data", v.Data[:])
	line("metadata", v.Metadata[:])
	line("shard-name", v.ShardName[:])
	line("shard", v.Shard[:])
	line("superblock", v.Superblock[:])
	line("lease", v.Lease[:])
	for _, label := range []string{"sign/ed25519", "sign/ml-dsa-65", "kem/x-wing"} {
		out := make([]byte, 32)
		if err := keys.Derive(root[:], "qsfs/v1/"+label, out); err != nil {
			t.Fatal(err)
		}
		line(label, out)
	}
	signer, box := sha256.Sum256(v.Signer.Public().Marshal()), sha256.Sum256(v.KEM.Public().Marshal())
	line("SHA-256 of the public key of Signer", signer[:])
	line("SHA-256 of the public key of KEM", box[:])
	for _, label := range []string{"n", "zdb://127.0.0.1:9901/home"} {
		password, err := keys.NodePassword(root, label)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "password of node %s = %s\n", label, password)
	}
	const path = "testdata/v1/schedule.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the key schedule changed (-want +got):\n%s", diff)
	}
}

// hkdf1 is HKDF-SHA-512 for up to 64 bytes, written out with HMAC (RFC 5869, section 2).
func hkdf1(ikm []byte, label string, n int) []byte {
	extract := hmac.New(sha512.New, nil)
	extract.Write(ikm)
	expand := hmac.New(sha512.New, extract.Sum(nil))
	expand.Write([]byte(label + "\x01"))
	return expand.Sum(nil)[:n]
}

// The schedule of the package comment, computed by other code, gives the same keys; all of them differ.
func TestScheduleAsDocumented(t *testing.T) {
	root := hkdf1(seed(t)[:], "qsfs/v1/volume/0", 64)
	v := volume(t)
	if got := keys.VolumeRoot(seed(t)); !bytes.Equal(got[:], root) {
		t.Errorf("root: got %x, want %x", got[:], root)
	}
	seen := map[string]string{}
	for label, got := range map[string][]byte{
		"volume-id": v.ID[:], "data": v.Data[:], "metadata": v.Metadata[:], "shard-name": v.ShardName[:],
		"shard": v.Shard[:], "superblock": v.Superblock[:], "lease": v.Lease[:],
	} {
		if want := hkdf1(root, "qsfs/v1/"+label, len(got)); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", label, got, want)
		}
		if before, ok := seen[string(got[:16])]; ok {
			t.Errorf("%s and %s are the same", before, label)
		}
		seen[string(got[:16])] = label
	}
	part := func(label string) *[32]byte { return (*[32]byte)(hkdf1(root, "qsfs/v1/"+label, 32)) }
	if got := sign.New(part("sign/ed25519"), part("sign/ml-dsa-65")).Public(); !got.Equal(v.Signer.Public()) {
		t.Error("Signer is another key")
	}
	if got := kem.New(part("kem/x-wing")).Public(); !got.Equal(v.KEM.Public()) {
		t.Error("KEM is another key")
	}
	if id, err := keys.VolumeID(keys.VolumeRoot(seed(t))); err != nil || id != v.ID {
		t.Errorf("VolumeID: got %x, %v, want %x", id, err, v.ID)
	}
}

func TestNodePassword(t *testing.T) {
	root := keys.VolumeRoot(seed(t))
	a, errA := keys.NodePassword(root, "a")
	again, errAgain := keys.NodePassword(root, "a")
	b, errB := keys.NodePassword(root, "b")
	if err := errors.Join(errA, errAgain, errB); err != nil {
		t.Fatal(err)
	}
	if a != again || a == b {
		t.Errorf("got %q, %q, %q", a, again, b)
	}
	want := strings.ToLower(strings.TrimRight(base32.StdEncoding.EncodeToString(hkdf1(root[:], "qsfs/v1/node-password/a", 32)), "="))
	if a != want || len(a) != 52 {
		t.Errorf("got %q, want %q", a, want)
	}
	if _, err := keys.NodePassword(root, strings.Repeat("n", keys.MaxNodeLabelBytes)); err != nil {
		t.Error(err)
	}
	for _, label := range []string{"", strings.Repeat("n", keys.MaxNodeLabelBytes+1)} {
		if password, err := keys.NodePassword(root, label); err == nil || password != "" {
			t.Errorf("a label of %d bytes: got %q, %v", len(label), password, err)
		}
	}
}

// No key ever comes from a root that was wiped or never set.
func TestNoSecret(t *testing.T) {
	wiped := keys.VolumeRoot(seed(t))
	wiped.Wipe()
	for name, root := range map[string]*keys.Root{"nil": nil, "zero": {}, "wiped": wiped} {
		t.Run(name, func(t *testing.T) {
			if v, err := keys.DeriveVolume(root); !errors.Is(err, keys.ErrNoSecret) || v != nil {
				t.Errorf("DeriveVolume: got %v, %v", v, err)
			}
			if _, err := keys.VolumeID(root); !errors.Is(err, keys.ErrNoSecret) {
				t.Errorf("VolumeID: got %v", err)
			}
			if _, err := keys.NodePassword(root, "n"); !errors.Is(err, keys.ErrNoSecret) {
				t.Errorf("NodePassword: got %v", err)
			}
		})
	}
}

func TestWipe(t *testing.T) {
	v := volume(t)
	v.Wipe()
	v.Wipe()
	zero := [32]byte{}
	if v.Data != zero || v.Metadata != zero || v.ShardName != zero || v.Shard != zero || v.Superblock != zero || v.Lease != zero {
		t.Error("a key is still there")
	}
	if _, err := v.Signer.Sign("a", nil); !errors.Is(err, sign.ErrWiped) {
		t.Errorf("Sign: got %v", err)
	}
	if _, err := v.KEM.Decapsulate(make([]byte, kem.CiphertextBytes)); !errors.Is(err, kem.ErrWiped) {
		t.Errorf("Decapsulate: got %v", err)
	}
	new(keys.Volume).Wipe()
}

// No printing, logging or marshalling of a Root or a Volume shows a key.
func TestNeverPrinted(t *testing.T) {
	root := keys.VolumeRoot(seed(t))
	v := volume(t)
	var out bytes.Buffer
	values := []any{root, *root, v, *v, struct{ R *keys.Root }{root}, struct{ R keys.Root }{*root}, struct{ V *keys.Volume }{v},
		struct{ V keys.Volume }{*v}, []keys.Root{*root}, map[string]*keys.Volume{"v": v}}
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%o", "%b"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	// fmt can't call methods on unexported fields: pointers are what keeps these.
	for _, value := range []any{struct{ r *keys.Root }{root}, &struct{ v *keys.Volume }{v}} {
		fmt.Fprintf(&out, "%v %+v %#v\n", value, value, value)
		values = append(values, value)
	}
	for _, value := range values {
		slog.New(slog.NewJSONHandler(&out, nil)).Info("keys", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("keys", "value", value)
	}
	fmt.Fprintln(&out, root.String(), v.String(), root.LogValue(), v.LogValue(), fmt.Errorf("root %v of %v", root, v))
	got := out.String()
	for _, b := range [][]byte{root[:4], v.Data[:4], v.Lease[:4]} {
		for _, leak := range []string{string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("% x", b),
			strings.Trim(fmt.Sprint(b), "[]"), strings.Trim(fmt.Sprintf("%o", b), "[]"), strings.Trim(fmt.Sprintf("%b", b), "[]"),
			strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}"), strings.ReplaceAll(strings.Trim(fmt.Sprint(b), "[]"), " ", ",")} {
			if strings.Contains(got, leak) {
				t.Errorf("printed %q", leak)
			}
		}
	}
	if n := strings.Count(got, secret.Redacted); n < 100 {
		t.Errorf("%d times redacted", n)
	}
	for _, value := range values[:8] {
		if text, err := json.Marshal(value); !errors.Is(err, secret.ErrMarshal) {
			t.Errorf("json of %T: got %s, %v", value, text, err)
		}
		if err := gob.NewEncoder(&out).Encode(value); !errors.Is(err, secret.ErrMarshal) {
			t.Errorf("gob of %T: got %v", value, err)
		}
	}
}

// What the golden file has for the seed is what other BIP-39 tools give.
func TestGoldenSeed(t *testing.T) {
	const want = "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf70" +
		"5489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840"
	if got := hex.EncodeToString(seed(t)[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkDeriveVolume(b *testing.B) {
	root := keys.VolumeRoot(seed(b))
	for b.Loop() {
		if _, err := keys.DeriveVolume(root); err != nil {
			b.Fatal(err)
		}
	}
}
