package client

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// This file has what an administrator asks about the files of the client's namespace.

// NSJump ends the data file that is being written and begins the next one.
func (c *base) NSJump(ctx context.Context) error {
	out, err := c.do(ctx, once, "NSJUMP")
	return c.ok("NSJUMP", out, err)
}

// Reload makes the server read a namespace from its disk anew.
func (c *base) Reload(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	out, err := c.do(ctx, repeat, "RELOAD", name)
	return c.ok("RELOAD", out, err)
}

// Flush removes all data of the client's namespace, which has to be private and opened
// with its password; else it is zdb.ErrAccessDenied. The original answers OK and removes
// nothing.
func (c *base) Flush(ctx context.Context) error {
	out, err := c.do(ctx, once, "FLUSH")
	return c.ok("FLUSH", out, err)
}

// IndexDirty returns the ids of the files that were changed since ResetIndexDirty, or
// since the server started: for who copies them elsewhere.
func (c *base) IndexDirty(ctx context.Context) ([]uint32, error) {
	out, err := c.do(ctx, repeat, "INDEX", "DIRTY")
	if err != nil {
		return nil, err
	}
	files, ok := decodeFiles(out.reply)
	if !ok {
		return nil, c.unexpected("INDEX DIRTY", out.reply)
	}
	return files, nil
}

// ResetIndexDirty empties the list of IndexDirty.
func (c *base) ResetIndexDirty(ctx context.Context) error {
	out, err := c.do(ctx, once, "INDEX", "DIRTY", "RESET")
	return c.ok("INDEX DIRTY RESET", out, err)
}

// decodeFiles takes an array of file ids.
func decodeFiles(reply any) ([]uint32, bool) {
	rows, ok := reply.([]any)
	if !ok {
		return nil, false
	}
	files := make([]uint32, 0, len(rows))
	for _, row := range rows {
		file, ok := row.(int64)
		if !ok || file < 0 || file > math.MaxUint32 {
			return nil, false
		}
		files = append(files, uint32(file))
	}
	return files, true
}

// FirstRecord is the offset of the first record of a data file.
const FirstRecord = 28

// RawRecord is a record of a data file as it is stored.
type RawRecord struct {
	Key       []byte
	Value     []byte // nil of a delete marker
	Deleted   bool   // it is a delete marker
	Truncated bool   // the original's compaction left its head only
	Time      time.Time
	ValueCRC  uint32 // CRC-32C of the value, from 0 and not inverted at the end
	Previous  int64  // offset of the record before; 0: none in this file
}

// Flags of a record.
const (
	flagDeleted   = 1
	flagTruncated = 2
)

// DataRaw returns the record at an offset of a data file of the client's namespace.
//
// Errors: zdb.ErrNoMoreData behind the end of the file, zdb.ErrNotFound when there is no
// such file, zdb.ErrCorrupt when no whole record is there. The original answers delete
// markers and empty values with the latter two.
func (c *base) DataRaw(ctx context.Context, file uint32, offset int64) (RawRecord, error) {
	if offset < FirstRecord {
		return RawRecord{}, fmt.Errorf("offset %d is before the first record of a data file", offset)
	}
	out, err := c.do(ctx, repeat, "DATA", "RAW", strconv.FormatUint(uint64(file), 10), strconv.FormatInt(offset, 10))
	if err != nil {
		return RawRecord{}, err
	}
	r, ok := decodeRaw(out.reply)
	if !ok {
		return RawRecord{}, c.unexpected("DATA RAW", out.reply)
	}
	return r, nil
}

// decodeRaw takes *6: key, previous offset, CRC as 0x and 8 hex digits, flags, unix time, value or nil.
func decodeRaw(reply any) (RawRecord, bool) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 6 {
		return RawRecord{}, false
	}
	key, keyOK := parts[0].([]byte)
	previous, previousOK := parts[1].(int64)
	hex, hexOK := parts[2].([]byte)
	flags, flagsOK := parts[3].(int64)
	unix, timeOK := parts[4].(int64)
	value, valueOK := parts[5].([]byte)
	if !keyOK || !previousOK || !hexOK || !flagsOK || !timeOK || checkKey(key) != nil || previous < 0 ||
		len(hex) != len("0x00000000") || string(hex[:2]) != "0x" || flags&^(flagDeleted|flagTruncated) != 0 {
		return RawRecord{}, false
	}
	deleted := flags&flagDeleted != 0
	if valueOK == deleted || !valueOK && parts[5] != nil || len(value) > zdb.MaxValueBytes {
		return RawRecord{}, false
	}
	crc, err := strconv.ParseUint(string(hex[2:]), 16, 32)
	if err != nil {
		return RawRecord{}, false
	}
	return RawRecord{
		Key: key, Value: value, Deleted: deleted, Truncated: flags&flagTruncated != 0,
		Time: time.Unix(unix, 0), ValueCRC: uint32(crc), Previous: previous,
	}, true
}
