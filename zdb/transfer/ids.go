package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrOtherData means that a sequential target has, below its next id, other values than the
// stream, or that somebody else writes there: the ids can't come out equal.
var ErrOtherData = errors.New("transfer: the target has other data, so the ids can't come out equal")

func idKey(id uint64) []byte { return binary.LittleEndian.AppendUint64(nil, id) }

// newIDs appends all values and tells which ids they got.
func (m *importer) newIDs(ctx context.Context) error {
	for {
		r, err := m.t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		stored, _, err := m.to.Set(ctx, nil, r.Value, r.UnixTime)
		if err != nil {
			return fmt.Errorf("value of id %d: %w", binary.LittleEndian.Uint64(r.Key), err)
		}
		if len(stored) != idBytes {
			return fmt.Errorf("the target gave a key of %d bytes for a new value", len(stored))
		}
		if err := m.o.NewIDs(binary.LittleEndian.Uint64(r.Key), binary.LittleEndian.Uint64(stored)); err != nil {
			return err
		}
		m.done(&r, true)
	}
}

// sameIDs makes the target's ids those of the stream: what is there already is compared,
// what comes behind is appended.
func (m *importer) sameIDs(ctx context.Context) error {
	known, err := m.to.NextID(ctx) // below it the target has its say
	if err != nil {
		return err
	}
	next := uint64(0) // id that comes next in the order of ids
	for {
		r, err := m.t.Next()
		if errors.Is(err, io.EOF) {
			// What the target has behind the source's next id is other data.
			return m.gap(ctx, next, max(m.t.NextID, known), known)
		}
		if err != nil {
			return err
		}
		id := binary.LittleEndian.Uint64(r.Key)
		if err := m.gap(ctx, next, id, known); err != nil {
			return err
		}
		changed := id >= known
		if changed {
			err = m.appendAs(ctx, id, r.Value, r.UnixTime)
		} else {
			err = m.compare(ctx, id, r.Value)
		}
		if err != nil {
			return err
		}
		m.done(&r, changed)
		next = id + 1
	}
}

// compare says whether the target has the same value.
func (m *importer) compare(ctx context.Context, id uint64, want []byte) error {
	got, err := m.to.Get(ctx, idKey(id))
	switch {
	case isGone(err):
		return fmt.Errorf("id %d is used up there, without a value: %w", id, ErrOtherData)
	case err != nil:
		return fmt.Errorf("value of id %d: %w", id, err)
	case !bytes.Equal(got, want):
		return fmt.Errorf("id %d has another value there: %w", id, ErrOtherData)
	}
	return nil
}

// appendAs appends a value, which must get this id.
func (m *importer) appendAs(ctx context.Context, id uint64, value []byte, unixTime int64) error {
	stored, _, err := m.to.Set(ctx, nil, value, unixTime)
	if err != nil {
		return fmt.Errorf("value of id %d: %w", id, err)
	}
	if bytes.Equal(stored, idKey(id)) {
		return nil
	}
	err = fmt.Errorf("a new value got key %x instead of id %d; somebody else writes there: %w", stored, id, ErrOtherData)
	return errors.Join(err, m.to.Del(ctx, stored))
}

// gap sees to it that the ids from one up to another have no value, but are used up.
func (m *importer) gap(ctx context.Context, from, to, known uint64) error {
	for id := from; id < to; id++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if id < known {
			got, err := m.to.Get(ctx, idKey(id))
			switch {
			case isGone(err):
				continue
			case err != nil:
				return fmt.Errorf("value of id %d: %w", id, err)
			case len(got) > 0 || id != known-1:
				return fmt.Errorf("id %d has a value there and none in the stream: %w", id, ErrOtherData)
			}
			// The last one, and empty: an import was interrupted in this gap.
		} else {
			if err := m.appendAs(ctx, id, nil, 0); err != nil {
				return err
			}
			m.result.Filled++
		}
		if err := m.to.Del(ctx, idKey(id)); err != nil {
			return fmt.Errorf("use up id %d: %w", id, err)
		}
	}
	return nil
}
