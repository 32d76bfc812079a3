package main

import (
	"encoding/binary"
	"math/bits"
)

// A key is made of its number, so that it need not be kept: 8 bytes that no other number
// has and from which it can be told again, then 8 to 16 bytes more. All of them look random.
const (
	minKeyBytes = 16
	maxKeyBytes = 24
)

// The finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, 2014), which is a permutation, and its way back.
const (
	mixA  = 0xbf58476d1ce4e5b9
	mixB  = 0x94d049bb133111eb
	gamma = 0x9e3779b97f4a7c15
)

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * mixA
	x = (x ^ x>>27) * mixB
	return x ^ x>>31
}

// inverse is the number that gives 1 with an odd one. Each step of Newton's method
// doubles the bits that are right, of which 3 are at the start.
func inverse(odd uint64) uint64 {
	x := odd
	for range 5 {
		x *= 2 - odd*x
	}
	return x
}

var inverseA, inverseB = inverse(mixA), inverse(mixB)

func unmix(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * inverseB
	x = (x ^ x>>27 ^ x>>54) * inverseA
	return x ^ x>>30 ^ x>>60
}

// maker makes the keys and values of a seed.
type maker struct {
	seed       uint64
	valueBytes int
}

// key appends the key of a number.
func (m maker) key(b []byte, number uint64) []byte {
	first := mix(number ^ m.seed)
	second := mix(first + gamma)
	end := len(b) + minKeyBytes + int(second%(maxKeyBytes-minKeyBytes+1))
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint64(b, second)
	b = binary.LittleEndian.AppendUint64(b, mix(second+gamma))
	return b[:end]
}

// number is that of a key, if it is one of these.
func (m maker) number(key []byte) (uint64, bool) {
	if len(key) < minKeyBytes {
		return 0, false
	}
	number := unmix(binary.LittleEndian.Uint64(key)) ^ m.seed
	var b [maxKeyBytes]byte
	return number, string(m.key(b[:0], number)) == string(key)
}

// value appends the value of a number in a version, which differs from all others in its
// first 8 bytes.
func (m maker) value(b []byte, number uint64, version int) []byte {
	end := len(b) + m.valueBytes
	for x := mix(mix(number^m.seed) + uint64(version)); len(b) < end; x += gamma {
		b = binary.LittleEndian.AppendUint64(b, mix(x))
	}
	return b[:end]
}

// shuffled goes through the numbers below count in an order that looks random: each once,
// because the factor is a prime number greater than any count.
func shuffled(i, count uint64) uint64 {
	const prime = 1<<61 - 1
	hi, lo := bits.Mul64(i, prime)
	_, rest := bits.Div64(hi%count, lo, count)
	return rest
}
