package main

import (
	"errors"
	"fmt"
)

// errNoMore is the end of a listing.
var errNoMore = errors.New("no more data")

const maxPageEntries = 1 << 16

// page is one SCAN: the cursor of the next, and the lengths of the values listed.
func (c *client) page(after []byte) (next []byte, items map[string]int64, err error) {
	args := [][]byte{[]byte("SCAN")}
	if after != nil {
		args = append(args, after)
	}
	if err := c.s.send(args, nil); err != nil {
		return nil, nil, err
	}
	re, err := c.s.reply()
	if errors.Is(err, errServer) && re.text == "No more data" {
		return nil, nil, errNoMore
	}
	if err != nil {
		return nil, nil, err
	}
	if re.kind != '*' || re.n != 2 {
		return nil, nil, fmt.Errorf("%w: %c%s for a page", errWrong, re.kind, re.text)
	}
	if next, err = c.s.bulk(64); err != nil {
		return nil, nil, err
	}
	if re, err = c.s.expect('*'); err != nil {
		return nil, nil, err
	}
	if re.n < 1 || re.n > maxPageEntries {
		return nil, nil, fmt.Errorf("%w: a page of %d", errWrong, re.n)
	}
	items = make(map[string]int64, re.n)
	for range re.n {
		if item, err := c.s.expect('*'); err != nil || item.n != 3 {
			return nil, nil, fmt.Errorf("item of %d fields: %w", item.n, errors.Join(errWrong, err))
		}
		key, err := c.s.bulk(255)
		if err != nil {
			return nil, nil, err
		}
		length, err := c.s.expect(':')
		if err != nil {
			return nil, nil, err
		}
		if _, err := c.s.expect(':'); err != nil {
			return nil, nil, err
		}
		if _, twice := items[string(key)]; twice {
			return nil, nil, fmt.Errorf("%w: %q is listed twice", errWrong, key)
		}
		items[string(key)] = length.n
	}
	return next, items, nil
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
	defer func() { err = errors.Join(err, lister.s.close()) }()
	for after := []byte(nil); ; {
		next, items, err := lister.page(after)
		if errors.Is(err, errNoMore) {
			break
		}
		if err != nil {
			return fmt.Errorf("listing of %s: %w", sp.name, err)
		}
		for key, n := range items {
			if w, ok := want[key]; !ok || w != n {
				return fmt.Errorf("listing of %s: %w: %q with %d bytes, stored: %v, %d bytes", sp.name, errWrong, key, n, ok, w)
			}
			delete(want, key)
		}
		after = next
	}
	for key := range want {
		return fmt.Errorf("listing of %s: %w: %d keys are missing, one is %q", sp.name, errWrong, len(want), key)
	}
	return nil
}
