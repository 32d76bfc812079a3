package main

// Each group of this many numbers has one key that is overwritten, one that is deleted
// and one that is overwritten just ahead of kill -9.
const (
	groupKeys  = 10
	overwrite  = 3
	remove     = 7
	lateUpdate = 5
)

// maxLate bounds what is overwritten ahead of kill -9: more than the server leaves to be
// replayed.
const maxLate = 500_000

// state is what must be stored: it follows from how far the run has come.
type state struct {
	maker
	keys                       uint64
	overwritten, deleted, late bool
}

// version of a number's value; 0 where it is not there.
func (s *state) version(number uint64) int {
	switch {
	case number >= s.keys:
		return 0
	case number%groupKeys == overwrite && s.overwritten, number%groupKeys == lateUpdate && number/groupKeys < s.lates() && s.late:
		return 2
	case number%groupKeys == remove && s.deleted:
		return 0
	}
	return 1
}

// in is how many numbers below keys there are of a kind.
func (s *state) in(kind uint64) uint64 { return (s.keys + groupKeys - 1 - kind) / groupKeys }

// lates is how many are overwritten ahead of kill -9.
func (s *state) lates() uint64 { return min(s.in(lateUpdate), maxLate) }

// live is how many there must be.
func (s *state) live() uint64 {
	if s.deleted {
		return s.keys - s.in(remove)
	}
	return s.keys
}

// present is the i-th of the keys that are there, in an order that looks random.
func (s *state) present(i uint64) uint64 {
	number := shuffled(i%s.keys, s.keys)
	for s.version(number) == 0 {
		number = (number + 1) % s.keys
	}
	return number
}

// absent is a key that was deleted, or one that never was.
func (s *state) absent(i uint64) uint64 {
	if gone := s.in(remove); s.deleted && i%2 == 0 {
		return shuffled(i/2%gone, gone)*groupKeys + remove
	}
	return s.keys + shuffled(i/2%s.keys, s.keys)
}
