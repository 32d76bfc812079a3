// Package segment knows where the bytes of every log segment are: still in the
// log, in a local file, or as shards on the nodes; and reads blocks from there.
//
// A segment is known by its ordinal. Its record, kept in the metadata store,
// says under which epoch and random id it was written and, once it is on the
// nodes, how it is laid out there.
//
// # Record (integers little endian; sizes in bytes)
//
//	offset  size  field
//	     0     1  version, 1
//	     1     4  epoch of the writer
//	     5    16  segment id
//	    21     8  size of the segment
//	    29     4  layout length L, 0 while the segment is not on the nodes
//	    33     L  layout, as package erasure encodes it
//
// # Object id of a segment on the nodes
//
// One byte 1, three zero bytes, the epoch (4 bytes, big endian) and the ordinal
// (8 bytes, big endian). Two writers never share an epoch, so a writer that was
// fenced off can't overwrite what its successor stored.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/wal"
)

// ErrCorruptRecord means a stored segment record does not decode.
var ErrCorruptRecord = errors.New("segment: corrupt record")

const (
	recordVersion   = 1
	recordHeadBytes = 33
	maxLayoutBytes  = 1 << 20
)

// Record is what the volume remembers of a segment.
type Record struct {
	Epoch     uint32
	ID        wal.SegmentID
	SizeBytes int64
	// Layout is where the segment is on the nodes; nil while it is not.
	Layout *erasure.Layout
}

// AppendTo appends the encoding of r to b.
func (r *Record) AppendTo(b []byte) []byte {
	b = append(b, recordVersion)
	b = binary.LittleEndian.AppendUint32(b, r.Epoch)
	b = append(b, r.ID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.SizeBytes))
	var layout []byte
	if r.Layout != nil {
		layout = r.Layout.AppendTo(nil)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(layout)))
	return append(b, layout...)
}

// DecodeRecord parses what AppendTo wrote.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) < recordHeadBytes || b[0] != recordVersion {
		return Record{}, fmt.Errorf("%w: %d bytes", ErrCorruptRecord, len(b))
	}
	r := Record{Epoch: binary.LittleEndian.Uint32(b[1:]), SizeBytes: int64(binary.LittleEndian.Uint64(b[21:]))}
	copy(r.ID[:], b[5:21])
	n := binary.LittleEndian.Uint32(b[29:])
	if n > maxLayoutBytes || int(n) != len(b)-recordHeadBytes || r.SizeBytes < 0 {
		return Record{}, fmt.Errorf("%w: layout of %d in %d bytes", ErrCorruptRecord, n, len(b))
	}
	if n > 0 {
		l, err := erasure.DecodeLayout(b[recordHeadBytes:])
		if err != nil {
			return Record{}, fmt.Errorf("%w: %w", ErrCorruptRecord, err)
		}
		r.Layout = &l
	}
	return r, nil
}

// ObjectID names a segment on the nodes.
func ObjectID(epoch uint32, ordinal uint64) erasure.ObjectID {
	var id erasure.ObjectID
	id[0] = 1
	binary.BigEndian.PutUint32(id[4:], epoch)
	binary.BigEndian.PutUint64(id[8:], ordinal)
	return id
}

// OrdinalOf returns the ordinal in a segment's object id; false for any other
// object.
func OrdinalOf(id erasure.ObjectID) (uint64, bool) {
	return binary.BigEndian.Uint64(id[8:]), id[0] == 1
}
