package lease

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	testKey    = [32]byte{0: 1, 31: 9}
	goldenFile = "testdata/v1/record"
	golden     = Record{Epoch: 7, WriterID: []byte("0123456789abcdef"), Holder: "host (process 42)", Counter: 99}
)

// counting is a source of bytes that are known beforehand.
type counting struct{ next byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = c.next
		c.next++
	}
	return len(b), nil
}

func mustSeal(t testing.TB, r Record) []byte {
	t.Helper()
	b, err := Seal(&r, &testKey, &counting{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The stored form does not change: what version 1 wrote opens, and is written still.
func TestGolden(t *testing.T) {
	got := mustSeal(t, golden)
	if *update {
		if err := os.WriteFile(goldenFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("a record is written as\n%x, was\n%x", got, want)
	}
	r, err := Open(want, &testKey)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(golden, *r, cmp.AllowUnexported(Record{})); d != "" {
		t.Error(d)
	}
}

// Any change to a stored value is refused.
func TestDamage(t *testing.T) {
	value := mustSeal(t, golden)
	for i := range value {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(value)
			bad[i] ^= bit
			if _, err := Open(bad, &testKey); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
	}
	for n := range value {
		if _, err := Open(value[:n], &testKey); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := Open(append(bytes.Clone(value), 0), &testKey); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := Open(make([]byte, 1<<20), &testKey); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a megabyte: %v", err)
	}
	other := testKey
	other[5] ^= 1
	if _, err := Open(value, &other); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another key: %v", err)
	}
}

// What is sealed with the right key but is no record that this release writes.
func TestDecode(t *testing.T) {
	plain := func(edit func(b []byte) []byte) []byte {
		b := append(binary.LittleEndian.AppendUint16([]byte("QLEA"), version), `{"epoch":1,"writer_id":"MDEyMzQ1Njc4OWFiY2RlZg=="}`...)
		return edit(b)
	}
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"good", func(b []byte) []byte { return b }, nil},
		{"empty", func([]byte) []byte { return nil }, ErrCorrupt},
		{"magic", func(b []byte) []byte { b[0]++; return b }, ErrCorrupt},
		{"version 0", func(b []byte) []byte { b[4] = 0; return b }, ErrCorrupt},
		{"version 2", func(b []byte) []byte { b[4] = 2; return b }, ErrTooNew},
		{"version 2 and no JSON", func(b []byte) []byte { b[4] = 2; return b[:6] }, ErrTooNew},
		{"no JSON", func(b []byte) []byte { return b[:6] }, ErrCorrupt},
		{"half the JSON", func(b []byte) []byte { return b[:20] }, ErrCorrupt},
		{"negative epoch", func(b []byte) []byte { return append(b[:6], `{"epoch":-1}`...) }, ErrCorrupt},
		{"no writer", func(b []byte) []byte { return append(b[:6], `{"epoch":1}`...) }, ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := decode(plain(c.edit)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	long := golden
	long.Holder = strings.Repeat("x", maxBytes)
	if _, err := Seal(&long, &testKey, &counting{}); err == nil {
		t.Error("a holder of 4 KiB was sealed")
	}
	long.Holder = strings.Repeat("x", maxBytes-200)
	if _, err := Open(mustSeal(t, long), &testKey); err != nil {
		t.Errorf("a long holder: %v", err)
	}
	if _, err := Seal(&Record{WriterID: []byte("short")}, &testKey, &counting{}); err == nil {
		t.Error("a short writer id was sealed")
	}
	if _, err := Seal(&golden, &testKey, strings.NewReader("few")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without random bytes: %v", err)
	}
}

// Nothing of a record is seen from outside.
func TestSealed(t *testing.T) {
	value := mustSeal(t, golden)
	for _, s := range []string{"host", "epoch", "QLEA", "0123456789abcdef", "MDEyMzQ1Njc4"} {
		if bytes.Contains(value, []byte(s)) {
			t.Errorf("a stored record shows %q", s)
		}
	}
}

func FuzzOpen(f *testing.F) {
	value := mustSeal(f, golden)
	f.Add(value)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Open(b, &testKey); err == nil && !bytes.Equal(b, value) {
			t.Errorf("forged: %x", b)
		} else if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("not our error: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("QLEA\x01\x00" + `{"epoch":7,"writer_id":"MDEyMzQ1Njc4OWFiY2RlZg==","holder":"h","counter":9,"released":true}`))
	f.Add([]byte("QLEA\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
				t.Errorf("not our error: %v", err)
			}
			return
		}
		if len(r.WriterID) != writerIDBytes {
			t.Errorf("writer id of %d bytes", len(r.WriterID))
		}
		again, err := Seal(r, &testKey, &counting{})
		if err != nil {
			return // longer than what is written
		}
		q, err := Open(again, &testKey)
		if err != nil || !q.equal(r) || q.Holder != r.Holder {
			t.Errorf("%+v came back as %+v, %v", r, q, err)
		}
	})
}
