package session

import (
	"errors"
	"fmt"
)

// ErrNoMore is the end of a listing.
var ErrNoMore = errors.New("no more data")

const (
	maxPageEntries = 1 << 16
	maxCursorBytes = 64
	maxKeyBytes    = 255
)

// Page is one SCAN: it gives the entries behind a cursor, nil for the first ones, and the
// cursor for the next page. The key is valid during the call only.
func (s *Session) Page(after []byte, each func(key []byte, valueBytes int64) error) (next []byte, err error) {
	args := [][]byte{[]byte("SCAN")}
	if after != nil {
		args = append(args, after)
	}
	if err := s.Send(args...); err != nil {
		return nil, err
	}
	re, err := s.Reply()
	if errors.Is(err, ErrServer) && re.Text == "No more data" {
		return nil, ErrNoMore
	}
	if err != nil {
		return nil, err
	}
	if re.Kind != '*' || re.N != 2 {
		return nil, fmt.Errorf("%w: %c%s for a page", ErrWrong, re.Kind, re.Text)
	}
	if next, err = s.Bulk(nil, maxCursorBytes); err != nil {
		return nil, err
	}
	if re, err = s.Expect('*'); err != nil {
		return nil, err
	}
	if re.N < 1 || re.N > maxPageEntries {
		return nil, fmt.Errorf("%w: a page of %d", ErrWrong, re.N)
	}
	var key []byte
	for range re.N {
		if item, err := s.Expect('*'); err != nil || item.N != 3 {
			return nil, fmt.Errorf("item of %d fields: %w", item.N, errors.Join(ErrWrong, err))
		}
		if key, err = s.Bulk(key[:0], maxKeyBytes); err != nil {
			return nil, err
		}
		length, err := s.Expect(':')
		if err != nil {
			return nil, err
		}
		if _, err := s.Expect(':'); err != nil { // the time
			return nil, err
		}
		if err := each(key, length.N); err != nil {
			return nil, err
		}
	}
	return next, nil
}
