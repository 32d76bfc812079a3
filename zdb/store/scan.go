package store

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/qsfs/qsfs/zdb"
)

// CursorBytes is the length of a scan cursor.
const CursorBytes = 17

// Cursor names an entry that a scan gave out. Only the store makes them.
type Cursor [CursorBytes]byte

// Item is one entry of a scan.
type Item struct {
	Key []byte
	Info

	store storeID
	order uint64
}

// Cursor is where a scan goes on behind this entry. A copy of the item gives it also when the
// key is valid no more.
func (i Item) Cursor() Cursor { return i.store.cursor(len(i.Key), i.order, i.ValueBytes) }

func (id storeID) cursor(keyBytes int, order uint64, valueBytes int) (c Cursor) {
	c[0] = byte(keyBytes)
	binary.LittleEndian.PutUint32(c[1:], uint32(order>>32))
	binary.LittleEndian.PutUint32(c[5:], uint32(valueBytes))
	binary.LittleEndian.PutUint32(c[9:], uint32(order))
	copy(c[13:], id.cursorCheck(c[:13]))
	return c
}

func (id storeID) cursorCheck(b []byte) []byte {
	m := hmac.New(sha256.New, append([]byte("scan cursor "), id[:]...))
	m.Write(b)
	return m.Sum(nil)[:4]
}

// KeyCursor is the cursor that a scan gives out with a key; zdb.ErrNotFound when there is none.
func (s *Store) KeyCursor(ctx context.Context, key []byte) (Cursor, error) {
	e, err := s.lookup(ctx, key)
	if err != nil {
		return Cursor{}, err
	}
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	return s.id.cursor(len(key), s.order(key, &e), int(e.ValueBytes)), nil
}

// parseCursor gives the place in the order that a cursor names; zdb.ErrBadCursor when this
// store did not make it.
func (s *Store) parseCursor(c []byte) (uint64, error) {
	if len(c) != CursorBytes || c[0] == 0 || !hmac.Equal(s.id.cursorCheck(c[:13]), c[13:]) ||
		binary.LittleEndian.Uint32(c[5:]) > zdb.MaxValueBytes {
		return 0, zdb.ErrBadCursor
	}
	return uint64(binary.LittleEndian.Uint32(c[1:]))<<32 | uint64(binary.LittleEndian.Uint32(c[9:])), nil
}

// ScanOptions says where and which way a scan goes. The zero value starts at the
// first entry and goes on to the last.
type ScanOptions struct {
	After   []byte // a cursor: start behind that entry; nil means at the end the scan comes from
	Reverse bool
}

// Scan gives the entries in the order of their last write, of their ids in a sequential store,
// until fn returns false.
// It sees the store as it was at the start. The item is valid during the call.
func (s *Store) Scan(ctx context.Context, o ScanOptions, fn func(Item) bool) error {
	s.indexMu.RLock()
	defer s.indexMu.RUnlock()
	if s.closed || s.ix == nil {
		return zdb.ErrClosed
	}
	var after uint64
	if o.After != nil {
		var err error
		if after, err = s.parseCursor(o.After); err != nil {
			return err
		}
	}
	it, err := s.ix.db.NewIterWithContext(ctx, prefixRange(prefixOrder))
	if err != nil {
		return s.scanError(err)
	}
	defer it.Close()
	var ok bool
	var seek [9]byte
	switch {
	case o.After == nil && o.Reverse:
		ok = it.Last()
	case o.After == nil:
		ok = it.First()
	case o.Reverse:
		ok = it.SeekLT(orderKey(seek[:0], after))
	default:
		if ok = it.SeekGE(orderKey(seek[:0], after)); ok && bytes.Equal(it.Key(), orderKey(seek[:0], after)) {
			ok = it.Next()
		}
	}
	for ; ok; ok = step(it, o.Reverse) {
		if err := ctx.Err(); err != nil {
			return err
		}
		order, err := parseOrderKey(it.Key())
		if err != nil {
			return s.scanError(err)
		}
		key, info, err := decodeScanItem(it.Value())
		if err != nil {
			return s.scanError(err)
		}
		if !fn(Item{Key: key, Info: info, store: s.id, order: order}) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return s.scanError(err)
	}
	return nil
}

func step(it interface {
	Next() bool
	Prev() bool
}, reverse bool) bool {
	if reverse {
		return it.Prev()
	}
	return it.Next()
}

func (s *Store) scanError(err error) error {
	s.noteReadError()
	s.markDamaged(err)
	return fmt.Errorf("%w: scan: %w", zdb.ErrDisk, err)
}
