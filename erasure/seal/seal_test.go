package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha512"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testKey() *[32]byte {
	var k [32]byte
	for i := range k {
		k[i] = byte(i)
	}
	return &k
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func text(n int) []byte {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards mix black quartz and jade in twelve deep jugs")
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

// The derivation, nonce and mask are those of the package comment: rebuilt here from HMAC and AES alone.
func TestCipherFollowsItsSpecification(t *testing.T) {
	key, id := testKey(), [16]byte{9, 8, 7}
	extract := hmac.New(sha512.New, make([]byte, 64))
	extract.Write(key[:])
	expand := hmac.New(sha512.New, extract.Sum(nil))
	expand.Write([]byte("qsfs/v1/segment"))
	expand.Write(id[:])
	expand.Write([]byte{1})
	okm := expand.Sum(nil)

	c, err := NewCipher(key, id)
	if err != nil {
		t.Fatal(err)
	}
	const offset = 0x0102030405060708
	block, _ := aes.NewCipher(okm[:32])
	gcm, _ := cipher.NewGCM(block)
	want := gcm.Seal(nil, []byte{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, []byte("plain"), []byte("ad"))
	if got := c.Seal(nil, offset, []byte("plain"), []byte("ad")); !bytes.Equal(got, want) {
		t.Fatalf("sealed %x, want %x", got, want)
	}
	mask, _ := aes.NewCipher(okm[32:])
	pad := []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
	mask.Encrypt(pad, pad)
	got := make([]byte, 8)
	c.Mask(offset, got)
	if !bytes.Equal(got, pad[:8]) {
		t.Fatalf("mask %x, want %x", got, pad[:8])
	}
}

// A frame opens only with its own key, id, offset and associated data, and unchanged.
func TestOpenRefusesWhatWasNotSealedThere(t *testing.T) {
	c, _ := NewCipher(testKey(), [16]byte{1})
	sealed := c.Seal(nil, 100, []byte("sixteen tons of it"), []byte("header"))
	if plain, err := c.Open(nil, 100, sealed, []byte("header")); err != nil || string(plain) != "sixteen tons of it" {
		t.Fatalf("opened %q, %v", plain, err)
	}
	other, _ := NewCipher(testKey(), [16]byte{2})
	otherKey, _ := NewCipher(&[32]byte{1}, [16]byte{1})
	for name, try := range map[string]func() ([]byte, error){
		"offset":  func() ([]byte, error) { return c.Open(nil, 101, sealed, []byte("header")) },
		"ad":      func() ([]byte, error) { return c.Open(nil, 100, sealed, []byte("Header")) },
		"segment": func() ([]byte, error) { return other.Open(nil, 100, sealed, []byte("header")) },
		"key":     func() ([]byte, error) { return otherKey.Open(nil, 100, sealed, []byte("header")) },
		"short":   func() ([]byte, error) { return c.Open(nil, 100, sealed[:15], []byte("header")) },
		"empty":   func() ([]byte, error) { return c.Open(nil, 100, nil, []byte("header")) },
	} {
		t.Run(name, func(t *testing.T) {
			if plain, err := try(); !errors.Is(err, ErrCorrupt) || plain != nil {
				t.Fatalf("got %q, %v; want ErrCorrupt", plain, err)
			}
		})
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := c.Open(nil, 100, bad, []byte("header")); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("flip at %d: %v", i, err)
		}
	}
}

func TestPack(t *testing.T) {
	half := append(random(3, 32<<10), make([]byte, 32<<10)...)
	for _, tc := range []struct {
		name string
		raw  []byte
		want Codec
	}{
		{"empty", nil, CodecNone},
		{"one byte", []byte{7}, CodecNone},
		{"below the least", make([]byte, minPackBytes-1), CodecNone},
		{"the least", make([]byte, minPackBytes), CodecLZ4},
		{"random 4 KiB", random(1, 4<<10), CodecNone},
		{"random 64 KiB", random(1, 64<<10), CodecNone},
		{"random 1 MiB", random(1, MaxRawBytes), CodecNone},
		{"text 4 KiB", text(4 << 10), CodecLZ4},
		{"text 64 KiB", text(64 << 10), CodecLZ4},
		{"text 1 MiB", text(MaxRawBytes), CodecLZ4},
		{"zeros 1 MiB", make([]byte, MaxRawBytes), CodecLZ4},
		{"half random", half, CodecLZ4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			packed, codec := Pack([]byte("head"), tc.raw)
			if codec != tc.want {
				t.Fatalf("codec %d, want %d", codec, tc.want)
			}
			if !bytes.HasPrefix(packed, []byte("head")) {
				t.Fatal("dst was not kept")
			}
			packed = packed[4:]
			if codec == CodecLZ4 && len(packed) > worthBytes(len(tc.raw)) {
				t.Fatalf("%d of %d bytes does not pay", len(packed), len(tc.raw))
			}
			raw, err := Unpack([]byte("head"), packed, codec, len(tc.raw))
			if err != nil || !bytes.Equal(raw[4:], tc.raw) {
				t.Fatalf("unpacked %d bytes, %v", len(raw), err)
			}
			for _, wrong := range []int{-1, len(tc.raw) - 1, len(tc.raw) + 1, MaxRawBytes + 1} {
				if _, err := Unpack(nil, packed, codec, wrong); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%d raw bytes taken: %v", wrong, err)
				}
			}
			if _, err := Unpack(nil, packed, 2, len(tc.raw)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("codec 2: %v", err)
			}
		})
	}
}

func TestPackPanicsAboveItsBound(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	Pack(nil, make([]byte, MaxRawBytes+1))
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("pools drop items on purpose here")
	}
	c, _ := NewCipher(testKey(), [16]byte{1})
	raw, dst, out := text(64<<10), make([]byte, 0, 128<<10), make([]byte, 0, 128<<10)
	packed, codec := Pack(nil, raw)
	n := testing.AllocsPerRun(50, func() {
		dst, _ = Pack(dst[:0], raw)
		out = c.Seal(out[:0], 5, dst, dst[:8])
		c.Mask(5, out)
		out, _ = Unpack(out[:0], packed, codec, len(raw))
	})
	if n > 1 { // a garbage collection may empty a pool in between
		t.Fatalf("%v allocations", n)
	}
}

// What version 1 sealed opens for ever.
func TestGolden(t *testing.T) {
	const file = "testdata/v1/sealed.hex"
	c, _ := NewCipher(testKey(), [16]byte{0xAA, 0xBB})
	raw := text(1000)
	if *update {
		packed, codec := Pack(nil, raw)
		if codec != CodecLZ4 {
			t.Fatal("text did not compress")
		}
		if err := os.MkdirAll("testdata/v1", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(hex.EncodeToString(c.Seal(nil, 4096, packed, []byte("golden")))+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	line, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString(strings.TrimSpace(string(line)))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := c.Open(nil, 4096, sealed, []byte("golden"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unpack(nil, packed, CodecLZ4, len(raw))
	if err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("got %q, %v", got, err)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, raw := range [][]byte{text(1000), make([]byte, 3000), random(1, 100)} {
		packed, codec := Pack(nil, raw)
		f.Add(packed, uint8(codec), len(raw))
	}
	f.Add([]byte("000000000000000000"), uint8(CodecLZ4), 0) // crashed lz4 v4.1.33
	f.Fuzz(func(t *testing.T, packed []byte, codec uint8, raw int) {
		got, err := Unpack(nil, packed, Codec(codec), raw)
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Fatalf("foreign error %v", err)
		case err == nil && len(got) != raw:
			t.Fatalf("%d bytes, want %d", len(got), raw)
		}
	})
}

func FuzzPack(f *testing.F) {
	f.Add(text(5000))
	f.Add(random(2, 20000))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > MaxRawBytes {
			return
		}
		packed, codec := Pack(nil, raw)
		got, err := Unpack(nil, packed, codec, len(raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	for name, raw := range map[string][]byte{"text": text(64 << 10), "random": random(1, 64<<10), "text4K": text(4 << 10), "random4K": random(1, 4<<10), "text300": text(300), "random300": random(1, 300)} {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, 128<<10)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = Pack(dst[:0], raw)
			}
			b.ReportMetric(float64(len(dst))/float64(len(raw)), "ratio")
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	raw := text(64 << 10)
	packed, codec := Pack(nil, raw)
	dst := make([]byte, 0, 128<<10)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		dst, _ = Unpack(dst[:0], packed, codec, len(raw))
	}
}

func BenchmarkSeal64KiB(b *testing.B) {
	c, _ := NewCipher(testKey(), [16]byte{1})
	raw, dst := random(1, 64<<10), make([]byte, 0, 128<<10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		dst = c.Seal(dst[:0], 5, raw, raw[:8])
	}
}
