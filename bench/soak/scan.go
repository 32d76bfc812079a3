package main

import (
	"errors"
	"fmt"

	"github.com/qsfs/qsfs/bench/session"
)

// page is one SCAN: the cursor of the next, and the lengths of the values listed.
func (c *client) page(after []byte) (next []byte, items map[string]int64, err error) {
	items = map[string]int64{}
	next, err = c.s.Page(after, func(key []byte, valueBytes int64) error {
		if _, twice := items[string(key)]; twice {
			return fmt.Errorf("%w: %q is listed twice", session.ErrWrong, key)
		}
		items[string(key)] = valueBytes
		return nil
	})
	return next, items, err
}

// compareListing lists a namespace whose clients have ended: it must be what they stored.
func compareListing(sh *shared, sp space, clients []*client) (err error) {
	want := map[string]int64{}
	for _, c := range clients {
		if c.space != sp {
			continue
		}
		for k, v := range c.values {
			if v.version > 0 {
				want[string(c.names[k])] = int64(v.sizeBytes)
			}
		}
	}
	lister := newClient(sh, 0, sp, 0)
	if err := lister.connect(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lister.s.Close()) }()
	for after := []byte(nil); ; {
		next, items, err := lister.page(after)
		if errors.Is(err, session.ErrNoMore) {
			break
		}
		if err != nil {
			return fmt.Errorf("listing of %s: %w", sp.name, err)
		}
		for key, n := range items {
			if w, ok := want[key]; !ok || w != n {
				return fmt.Errorf("listing of %s: %w: %q with %d bytes, stored: %v, %d bytes", sp.name, session.ErrWrong, key, n, ok, w)
			}
			delete(want, key)
		}
		after = next
	}
	for key := range want {
		return fmt.Errorf("listing of %s: %w: %d keys are missing, one is %q", sp.name, session.ErrWrong, len(want), key)
	}
	return nil
}
