package bytesize

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestParse proves that every unit means what GNU and IEC say, and that nothing else is taken for a size.
func TestParse(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int64
	}{
		{"0", 0}, {"4096", 4096}, {"4096b", 4096}, {"64K", 64 << 10}, {"64k", 64 << 10}, {"512MiB", 512 << 20}, {"512mib", 512 << 20},
		{"10GiB", 10 << 30}, {"10 GiB", 10 << 30}, {"1.5GiB", 3 << 29}, {"1.5GB", 1500000000}, {"1kB", 1000}, {"2T", 2 << 40},
		{"1PiB", 1 << 50}, {"7EiB", 7 << 60}, {" 1M ", 1 << 20}, {"0.5K", 512}, {"9223372036854775807", math.MaxInt64}, {"0.3b", 0},
	} {
		got, err := Parse(tc.text)
		if err != nil || got != tc.want {
			t.Errorf("Parse(%q) = %d, %v; want %d", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{
		"", " ", "GiB", "-1", "+1", "1X", "1KiBB", "1iB", "8EiB", "9223372036854775808", "1e9", ".5G", "5.G", "1.2.3", "1/2", "0x10", "1_000", "10 G i B",
		"999999999999999999999999999999999999999999999999999999999999999999999999",
	} {
		if got, err := Parse(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%q) = %d, %v; want ErrInvalid", text, got, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for size, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1258291: "1.2 MiB", 512 << 20: "512 MiB", 1<<20 - 1: "1 MiB", math.MaxInt64: "8 EiB", -2048: "-2 KiB",
	} {
		if got := Format(size); got != want {
			t.Errorf("Format(%d) = %q, want %q", size, got, want)
		}
	}
}

// TestExactRoundTrip proves that what a flag prints as its default, it reads back as the same number.
func TestExactRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Value(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size") >> rapid.IntRange(0, 62).Draw(t, "shift"))
		if rapid.Bool().Draw(t, "round") {
			want &^= 1<<20 - 1
		}
		var got Value
		if err := got.Set(want.String()); err != nil || got != want {
			t.Fatalf("%s read back as %d, %v", want.String(), got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "1", "10GiB", "1.5kb", "-", "..", "9e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := Parse(text); err == nil && n < 0 || err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("Parse(%q) = %d, %v", text, n, err)
		}
	})
}
