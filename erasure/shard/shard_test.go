package shard

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testCodec() *Codec {
	var name, key [32]byte
	for i := range name {
		name[i], key[i] = byte(i), byte(100+i)
	}
	return NewCodec(&name, &key)
}

func testHeader(bodyBytes int) Header {
	return Header{
		Ref:         Ref{Object: [16]byte([]byte("0123456789abcdef")), Stripe: 7, Index: 3},
		Data:        4,
		Parity:      2,
		BodyBytes:   uint32(bodyBytes),
		ShardBytes:  512 << 10,
		ObjectBytes: 16 << 20,
		Sum:         Sum{1, 2, 3},
	}
}

func seal(t testing.TB, c *Codec, h Header, body []byte) []byte {
	t.Helper()
	value := make([]byte, ValueBytes(len(body)))
	copy(value[BodyOffset:], body)
	if err := c.Seal(value, h, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return value
}

// A sealed shard opens to what was sealed, and two writes share no bytes.
func TestRoundTrip(t *testing.T) {
	c := testCodec()
	for _, size := range []int{1, 256, 4096, 512 << 10} {
		body := bytes.Repeat([]byte{0xa5}, size)
		h := testHeader(size)
		v1, v2 := seal(t, c, h, body), seal(t, c, h, body)
		if bytes.Equal(v1[:SaltBytes], v2[:SaltBytes]) || bytes.Equal(v1[SaltBytes:BodyOffset], v2[SaltBytes:BodyOffset]) {
			t.Fatalf("size %d: two writes of one shard look alike", size)
		}
		got, gotBody, err := c.Open(h.Ref, v1)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(h, got); d != "" || !bytes.Equal(body, gotBody) {
			t.Fatalf("size %d: %s", size, d)
		}
	}
}

// No changed bit, no cut, no other name, no other key is accepted.
func TestOpenRejects(t *testing.T) {
	c := testCodec()
	body := []byte("a shard of some bytes")
	h := testHeader(len(body))
	good := seal(t, c, h, body)
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := c.Open(h.Ref, bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d flipped: got %v, want ErrCorrupt", bit, err)
		}
	}
	for n := range good {
		if _, _, err := c.Open(h.Ref, bytes.Clone(good[:n])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d: got %v, want ErrCorrupt", n, err)
		}
	}
	if _, _, err := c.Open(h.Ref, append(bytes.Clone(good), 0)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("longer: got %v", err)
	}
	other := []Ref{h.Ref, h.Ref, h.Ref}
	other[0].Stripe++
	other[1].Index++
	other[2].Object[0]++
	for _, r := range other {
		if _, _, err := c.Open(r, bytes.Clone(good)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("as %+v: got %v, want ErrCorrupt", r, err)
		}
	}
	var a, b [32]byte
	if _, _, err := NewCodec(&a, &b).Open(h.Ref, bytes.Clone(good)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("other keys: got %v, want ErrCorrupt", err)
	}
}

// Seal refuses headers that Open would refuse, and buffers of the wrong size.
func TestSealRejects(t *testing.T) {
	c := testCodec()
	for name, change := range map[string]func(*Header){
		"no data":          func(h *Header) { h.Data = 0 },
		"too many shards":  func(h *Header) { h.Data, h.Parity = 200, 56 },
		"index":            func(h *Header) { h.Index = 6 },
		"empty":            func(h *Header) { h.BodyBytes = 0 },
		"larger than most": func(h *Header) { h.ShardBytes = h.BodyBytes - 1 },
		"negative object":  func(h *Header) { h.ObjectBytes = -1 },
		"buffer":           func(h *Header) { h.BodyBytes++ },
	} {
		h := testHeader(256)
		change(&h)
		if err := c.Seal(make([]byte, ValueBytes(256)), h, rand.Reader); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if err := c.Seal(make([]byte, ValueBytes(256)), testHeader(256), bytes.NewReader(nil)); err == nil {
		t.Error("sealed without a salt")
	}
}

// A genuine shard of a later format is told apart from damage.
func TestTooNew(t *testing.T) {
	c := testCodec()
	h := testHeader(256)
	value := make([]byte, ValueBytes(256))
	name := c.Name(h.Ref)
	aead, err := c.aead(value[:SaltBytes], name)
	if err != nil {
		t.Fatal(err)
	}
	h.encode(value[SaltBytes:])
	value[SaltBytes+4] = version + 1
	plain := value[SaltBytes : len(value)-TagBytes]
	aead.Seal(plain[:0], zeroNonce[:], plain, nil)
	if _, _, err := c.Open(h.Ref, value); !errors.Is(err, ErrTooNew) {
		t.Fatalf("got %v, want ErrTooNew", err)
	}
}

// Sums differ for any change of a body, of the order, of the stripe, of the object.
func TestSum(t *testing.T) {
	c := testCodec()
	object := [16]byte{1}
	bodies := [][]byte{[]byte("first"), []byte("other")}
	sum := func(object [16]byte, stripe uint32, bodies ...[]byte) Sum {
		s, err := c.Sum(object, stripe, bodies)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := sum(object, 0, bodies...)
	if sum(object, 0, bodies...) != want {
		t.Fatal("not a function of the bytes")
	}
	for name, got := range map[string]Sum{
		"body":   sum(object, 0, []byte("firsT"), bodies[1]),
		"order":  sum(object, 0, bodies[1], bodies[0]),
		"fewer":  sum(object, 0, bodies[0]),
		"stripe": sum(object, 1, bodies...),
		"object": sum([16]byte{2}, 0, bodies...),
	} {
		if got == want {
			t.Errorf("%s: same sum", name)
		}
	}
}

// The golden shard of version 1 opens, and its name is the one it was stored under.
func TestGolden(t *testing.T) {
	c := testCodec()
	body := []byte("the golden shard, version 1")
	h := testHeader(len(body))
	path := filepath.Join("testdata", "v1", "shard.bin")
	if *update {
		name := c.Name(h.Ref)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(name[:], seal(t, c, h, body)...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if name := c.Name(h.Ref); !bytes.Equal(file[:NameBytes], name[:]) {
		t.Fatalf("name is %x, was %x", name, file[:NameBytes])
	}
	salt := bytes.Clone(file[NameBytes:][:SaltBytes])
	value := bytes.Clone(file[NameBytes:])
	got, gotBody, err := c.Open(h.Ref, value)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, got); d != "" || !bytes.Equal(gotBody, body) {
		t.Fatalf("opens to %q %s", gotBody, d)
	}
	again := make([]byte, ValueBytes(len(body)))
	copy(again[BodyOffset:], body)
	if err := c.Seal(again, h, bytes.NewReader(salt)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, file[NameBytes:]) {
		t.Fatal("the same salt gives other bytes than it did")
	}
}

func FuzzOpen(f *testing.F) {
	c := testCodec()
	if golden, err := os.ReadFile(filepath.Join("testdata", "v1", "shard.bin")); err == nil {
		f.Add(golden[NameBytes:])
	}
	f.Add([]byte{})
	f.Add(make([]byte, Overhead+1))
	ref := testHeader(1).Ref
	f.Fuzz(func(t *testing.T, value []byte) {
		_, _, err := c.Open(ref, bytes.Clone(value))
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
			t.Fatalf("not our error: %v", err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	var b [HeaderBytes]byte
	h := testHeader(256)
	h.encode(b[:])
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		var again [HeaderBytes]byte
		h.encode(again[:])
		if !bytes.Equal(again[:], b[:HeaderBytes]) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{4 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			c, h := testCodec(), testHeader(size)
			value := make([]byte, ValueBytes(size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Seal(value, h, rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	const size = 512 << 10
	c, h := testCodec(), testHeader(size)
	value := seal(b, c, h, make([]byte, size))
	work := make([]byte, len(value))
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		copy(work, value)
		if _, _, err := c.Open(h.Ref, work); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	const size = 512 << 10
	c := testCodec()
	src := mathrand.NewChaCha8([32]byte{})
	bodies := make([][]byte, 4)
	for i := range bodies {
		bodies[i] = make([]byte, size)
		src.Read(bodies[i])
	}
	b.SetBytes(4 * size)
	for b.Loop() {
		if _, err := c.Sum([16]byte{}, 0, bodies); err != nil {
			b.Fatal(err)
		}
	}
}
