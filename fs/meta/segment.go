package meta

import "fmt"

// maxRecordKeyBytes is the longest key of a volume record.
const maxRecordKeyBytes = maxKeyBytes - 1

// PutSegment keeps a record of the caller's about a segment of the log, in place of an earlier one. lazy goes to the Journal.
func (s *Store) PutSegment(ordinal uint64, record []byte, lazy bool) error {
	return s.put(appendKey(nil, kindSegment, ordinal), record, lazy)
}

// Segment returns the record of a segment, or ErrNotExist.
func (s *Store) Segment(ordinal uint64) ([]byte, error) {
	return s.opaque(appendKey(nil, kindSegment, ordinal))
}

// DeleteSegment forgets the record of a segment; there need be none.
func (s *Store) DeleteSegment(ordinal uint64, lazy bool) error {
	return s.update(lazy, func(t *txn) error {
		t.del(appendKey(t.key[:0], kindSegment, ordinal))
		return nil
	})
}

// Segments calls fn with the record of each segment, in order, until it returns false. The record is valid during fn,
// which may change the store.
func (s *Store) Segments(fn func(ordinal uint64, record []byte) bool) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return scan(s.db, []byte{kindSegment}, []byte{kindSegment + 1}, func(key, value []byte) (bool, error) {
		if err := checkKey(key); err != nil {
			return false, err
		}
		ordinal, _ := keyNumbers(key)
		record, err := decodeOpaque(value)
		if err != nil {
			return false, fmt.Errorf("segment %d: %w", ordinal, err)
		}
		return fn(ordinal, record), nil
	})
}

// PutRecord keeps a record of the caller's about the volume, in place of an earlier one. lazy goes to the Journal.
func (s *Store) PutRecord(key string, record []byte, lazy bool) error {
	if key == "" || len(key) > maxRecordKeyBytes {
		return ErrInvalid
	}
	return s.put(append([]byte{kindRecord}, key...), record, lazy)
}

// Record returns a record of the volume, or ErrNotExist.
func (s *Store) Record(key string) ([]byte, error) {
	return s.opaque(append([]byte{kindRecord}, key...))
}

// DeleteRecord forgets a record of the volume; there need be none.
func (s *Store) DeleteRecord(key string, lazy bool) error {
	if key == "" || len(key) > maxRecordKeyBytes {
		return ErrInvalid
	}
	return s.update(lazy, func(t *txn) error {
		t.del(append([]byte{kindRecord}, key...))
		return nil
	})
}

func (s *Store) put(key, record []byte, lazy bool) error {
	if len(record) > MaxRecordBytes {
		return ErrTooBig
	}
	return s.update(lazy, func(t *txn) error {
		t.value = appendOpaque(t.value[:0], record)
		t.set(key, t.value)
		return nil
	})
}

func (s *Store) opaque(key []byte) ([]byte, error) {
	if err := s.gate.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	value, ok, err := s.get(key, nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNotExist
	}
	return decodeOpaque(value)
}
