package workload

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Data says what is written.
type Data string

// Kinds of data.
const (
	Random Data = "random" // does not compress
	Text   Data = "text"   // words, compresses to about a half
)

const (
	poolBytes  = 8 << 20
	stampBytes = 4 << 10 // every so many bytes a counter makes the data differ from all before
)

// source gives an endless sequence of pieces without repetition, cheaply enough not to be what is measured.
type source struct {
	pool  []byte
	at    int
	stamp uint64
}

func newSource(data Data, seed uint64) (*source, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	pool := make([]byte, 0, poolBytes+64)
	switch data {
	case Random:
		for len(pool) < poolBytes {
			pool = binary.LittleEndian.AppendUint64(pool, rng.Uint64())
		}
	case Text:
		words := make([][]byte, 2000)
		for i := range words {
			word := make([]byte, 2+rng.IntN(9))
			for j := range word {
				word[j] = "etaoinshrdlucmfwypvbgkjqxz"[min(rng.IntN(26), rng.IntN(26))]
			}
			words[i] = word
		}
		for len(pool) < poolBytes {
			pool = append(pool, words[min(rng.IntN(len(words)), rng.IntN(len(words)))]...)
			pool = append(pool, " \n"[rng.IntN(20)/19])
		}
	default:
		return nil, fmt.Errorf("unknown kind of data %q: %s or %s", data, Random, Text)
	}
	return &source{pool: pool[:poolBytes], stamp: rng.Uint64()}, nil
}

// next gives n bytes, at most poolBytes; they are valid until the next call.
func (s *source) next(n int) []byte {
	if s.at+n > len(s.pool) {
		s.at = 0
	}
	p := s.pool[s.at : s.at+n]
	s.at += n
	for i := 0; i+8 <= n; i += stampBytes {
		s.stamp++
		binary.LittleEndian.PutUint64(p[i:], s.stamp)
	}
	return p
}
