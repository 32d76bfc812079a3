// Package bytesize reads and writes sizes as people do on a command line: 512MiB, 1.5GB, 64K, 4096.
//
// A number without a unit is bytes. K, M, G, T, P and E alone, and with iB, are powers of 1024, as in GNU programs;
// with B they are powers of 1000 (IEC 80000-13). Upper and lower case are the same. A fraction is allowed when the
// result is cut to a whole byte. Nothing is negative and nothing passes 2^63-1.
package bytesize

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// ErrInvalid means the text is not a size.
var ErrInvalid = errors.New("not a size")

const prefixes = "kmgtpe"

// Parse reads a size and gives it in bytes.
func Parse(text string) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if len(s) > 64 {
		return 0, fmt.Errorf("%w: longer than 64 characters", ErrInvalid)
	}
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	number, unit := s, ""
	if end >= 0 {
		number, unit = s[:end], strings.TrimSpace(s[end:])
	}
	factor, ok := unitBytes(unit)
	value, isNumber := new(big.Rat).SetString(number)
	if !ok || !isNumber || number == "" || strings.HasPrefix(number, ".") || strings.HasSuffix(number, ".") {
		return 0, fmt.Errorf("%w: %q (write 4096, 512MiB, 1.5GB or 10GiB)", ErrInvalid, text)
	}
	value.Mul(value, new(big.Rat).SetInt(factor))
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if !whole.IsInt64() {
		return 0, fmt.Errorf("%w: %q is more than 8 EiB", ErrInvalid, text)
	}
	return whole.Int64(), nil
}

func unitBytes(unit string) (*big.Int, bool) {
	if unit == "" || unit == "b" {
		return big.NewInt(1), true
	}
	power := strings.IndexByte(prefixes, unit[0])
	if power < 0 {
		return nil, false
	}
	exponent := big.NewInt(int64(power + 1))
	switch unit[1:] {
	case "", "ib":
		return new(big.Int).Exp(big.NewInt(1024), exponent, nil), true
	case "b":
		return new(big.Int).Exp(big.NewInt(1000), exponent, nil), true
	}
	return nil, false
}

// Format writes a size for people: "0 B", "999 B", "1.2 MiB", "512 MiB".
func Format(sizeBytes int64) string {
	if sizeBytes < 0 {
		return "-" + Format(max(-sizeBytes, 0))
	}
	if sizeBytes < 1024 {
		return strconv.FormatInt(sizeBytes, 10) + " B"
	}
	value, unit := float64(sizeBytes)/1024, 0
	// 1023.95 would print as 1024.0: it is the next unit's 1.0.
	for value >= 1023.95 && unit < len(prefixes)-1 {
		value /= 1024
		unit++
	}
	number := strconv.FormatFloat(value, 'f', 1, 64)
	return strings.TrimSuffix(number, ".0") + " " + strings.ToUpper(prefixes[unit:unit+1]) + "iB"
}

// Exact writes a size so that Parse gives the same number back: the largest unit that divides it.
func Exact(sizeBytes int64) string {
	unit := -1
	for sizeBytes != 0 && sizeBytes%1024 == 0 && unit < len(prefixes)-1 {
		sizeBytes /= 1024
		unit++
	}
	if unit < 0 {
		return strconv.FormatInt(sizeBytes, 10)
	}
	return strconv.FormatInt(sizeBytes, 10) + strings.ToUpper(prefixes[unit:unit+1]) + "iB"
}

// Value is a size as a command line flag.
type Value int64

// Set reads the flag's text.
func (v *Value) Set(text string) error {
	n, err := Parse(text)
	if err != nil {
		return err
	}
	*v = Value(n)
	return nil
}

// String gives the size exactly.
func (v *Value) String() string { return Exact(int64(*v)) }

// Type names the value in help texts.
func (v *Value) Type() string { return "size" }
