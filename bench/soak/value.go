package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/qsfs/qsfs/bench/session"
)

// value is what a client stored: which of its values, how long. From that the bytes can
// be told again, so that every one that is read can be compared without being kept.
type value struct {
	client, version uint32 // version 0: the key is not there
	sizeBytes       int
}

const (
	stampBytes    = 8
	minValueBytes = 100
	poolBytes     = 4 << 20
)

// pool is the data that values are cut from. They are at most half as long.
type pool []byte

func newPool(seed uint64) pool {
	rng := rand.New(rand.NewPCG(seed, 0))
	p := make(pool, 0, poolBytes)
	for len(p) < poolBytes {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64())
	}
	return p
}

// parts are the bytes of a value: a stamp that no other value has, and a piece of the pool.
func (p pool) parts(v value) (stamp [stampBytes]byte, body []byte) {
	binary.LittleEndian.PutUint32(stamp[:], v.client)
	binary.LittleEndian.PutUint32(stamp[4:], v.version)
	n := v.sizeBytes - stampBytes
	mixed := (uint64(v.client)<<32 | uint64(v.version)) * 0x9e3779b97f4a7c15
	at := int((mixed >> 20) % uint64(len(p)-n))
	return stamp, p[at : at+n]
}

// randomSize is between minValueBytes and maxBytes, each order of magnitude as often as the others.
func randomSize(rng *rand.Rand, maxBytes int) int {
	return int(minValueBytes * math.Pow(float64(maxBytes)/minValueBytes, rng.Float64()))
}

// checker compares a value that comes in pieces.
type checker struct {
	want  value
	stamp [stampBytes]byte
	body  []byte
	at    int
}

func (p pool) check(v value) *checker {
	c := &checker{want: v}
	c.stamp, c.body = p.parts(v)
	return c
}

// next takes the next piece.
func (c *checker) next(piece []byte) error {
	for len(piece) > 0 {
		want := c.body
		if c.at < stampBytes {
			want = c.stamp[c.at:]
		} else {
			want = want[c.at-stampBytes:]
		}
		n := min(len(want), len(piece))
		if n == 0 {
			return fmt.Errorf("%w: longer than %d bytes", session.ErrWrong, c.want.sizeBytes)
		}
		if string(want[:n]) != string(piece[:n]) {
			return fmt.Errorf("%w: not version %d of client %d, within %d bytes at %d", session.ErrWrong, c.want.version, c.want.client, n, c.at)
		}
		c.at += n
		piece = piece[n:]
	}
	return nil
}

// readValue reads a bulk and compares it, or nil where none is stored.
func readValue(s *session.Session, p pool, v value) error {
	re, err := s.Expect('$')
	if err != nil {
		return err
	}
	if v.version == 0 {
		if re.N != -1 {
			return fmt.Errorf("%w: %d bytes for a key that is not there", session.ErrWrong, re.N)
		}
		return nil
	}
	if re.N != int64(v.sizeBytes) {
		return fmt.Errorf("%w: %d bytes, %d stored", session.ErrWrong, re.N, v.sizeBytes)
	}
	c := p.check(v)
	for left := v.sizeBytes; left > 0; {
		if _, err := s.R.Peek(1); err != nil {
			return err
		}
		piece, err := s.R.Peek(min(left, s.R.Buffered()))
		if err != nil {
			return err
		}
		if err := c.next(piece); err != nil {
			return err
		}
		left -= len(piece)
		if _, err := s.R.Discard(len(piece)); err != nil {
			return err
		}
	}
	_, err = s.R.Discard(len("\r\n"))
	return err
}
