package erasure

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/qsfs/qsfs/erasure/shard"
)

// ShardRef names a shard of an object.
type ShardRef struct {
	Stripe uint32
	Shard  uint8
}

func (r ShardRef) compare(o ShardRef) int {
	return cmp.Or(cmp.Compare(r.Stripe, o.Stripe), cmp.Compare(r.Shard, o.Shard))
}

// Layout is all that is needed, besides the keys, to read an object back.
type Layout struct {
	Object    ObjectID
	SizeBytes int64
	Geometry
	Nodes []NodeID // shard j of stripe i lies on Nodes[(i+j) % len(Nodes)]

	// Sums are those of the stripes, see shard.Sum; a shard with another sum is
	// refused. Find does not know them: empty then.
	Sums []shard.Sum

	// Missing are the shards not on their node, in ascending order.
	Missing []ShardRef
}

// Stripes returns how many stripes the object has.
func (l *Layout) Stripes() int { return l.stripes(l.SizeBytes) }

// DegradedStripes returns how many stripes have a shard missing.
func (l *Layout) DegradedStripes() int {
	n := 0
	for i, r := range l.Missing {
		if i == 0 || r.Stripe != l.Missing[i-1].Stripe {
			n++
		}
	}
	return n
}

// Node returns the node that the shard lies on.
func (l *Layout) Node(r ShardRef) NodeID {
	return l.Nodes[(int64(r.Stripe)+int64(r.Shard))%int64(len(l.Nodes))]
}

// IsMissing says whether the shard is listed as missing.
func (l *Layout) IsMissing(r ShardRef) bool {
	_, found := slices.BinarySearchFunc(l.Missing, r, ShardRef.compare)
	return found
}

// AddMissing lists the shard as missing, so that Fill writes it again. It returns
// whether the list changed. A ref that is not of this object is ignored.
func (l *Layout) AddMissing(r ShardRef) bool {
	i, found := slices.BinarySearchFunc(l.Missing, r, ShardRef.compare)
	if found || int64(r.Stripe) >= int64(l.Stripes()) || int(r.Shard) >= l.Shards() {
		return false
	}
	l.Missing = slices.Insert(l.Missing, i, r)
	return true
}

// Clone returns a copy that shares nothing with l.
func (l *Layout) Clone() Layout {
	c := *l
	c.Nodes, c.Sums, c.Missing = slices.Clone(l.Nodes), slices.Clone(l.Sums), slices.Clone(l.Missing)
	return c
}

// Locate returns the data shard that holds the object's byte at off, where in the
// shard it is, and how many bytes of the object the shard has. off is at least 0
// and less than SizeBytes.
func (l *Layout) Locate(off int64) (stripe, index int, offInShard int64, shardBytes int) {
	stripe = int(off / l.stripeBytes())
	body := int64(l.bodyBytes(l.SizeBytes, stripe))
	rest := off - int64(stripe)*l.stripeBytes()
	index = int(rest / body)
	return stripe, index, rest % body, l.dataBytes(stripe, index)
}

// dataBytes returns how many bytes of the object the data shard has; those behind
// them are padding.
func (l *Layout) dataBytes(stripe, index int) int {
	body := int64(l.bodyBytes(l.SizeBytes, stripe))
	from := int64(stripe)*l.stripeBytes() + int64(index)*body
	return int(min(body, max(0, l.SizeBytes-from)))
}

// header returns what the header of the shard must say, but for the sum.
func (l *Layout) header(stripe, index int) shard.Header {
	return shard.Header{
		Ref:         shard.Ref{Object: l.Object, Stripe: uint32(stripe), Index: uint8(index)},
		Data:        uint8(l.Data),
		Parity:      uint8(l.Parity),
		BodyBytes:   uint32(l.bodyBytes(l.SizeBytes, stripe)),
		ShardBytes:  uint32(l.ShardBytes),
		ObjectBytes: l.SizeBytes,
	}
}

// Check returns an error that is ErrInvalid unless l can be a layout.
func (l *Layout) Check() error {
	if err := l.checkObject(l.SizeBytes); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if len(l.Nodes) != l.Shards() {
		return fmt.Errorf("%w: layout of %d nodes for %d shards", ErrInvalid, len(l.Nodes), l.Shards())
	}
	for i, id := range l.Nodes {
		if id != NoNode && slices.Contains(l.Nodes[:i], id) {
			return fmt.Errorf("%w: layout has node %d twice", ErrInvalid, id)
		}
	}
	stripes := l.Stripes()
	if len(l.Sums) != 0 && len(l.Sums) != stripes {
		return fmt.Errorf("%w: layout has %d sums for %d stripes", ErrInvalid, len(l.Sums), stripes)
	}
	for i, r := range l.Missing {
		if int64(r.Stripe) >= int64(stripes) || int(r.Shard) >= l.Shards() {
			return fmt.Errorf("%w: layout misses shard %d of stripe %d, which it cannot have", ErrInvalid, r.Shard, r.Stripe)
		}
		if i > 0 && l.Missing[i-1].compare(r) >= 0 {
			return fmt.Errorf("%w: missing shards of layout are not in order", ErrInvalid)
		}
	}
	return nil
}

const (
	layoutMagic      = "QLAY"
	layoutVersion    = 1
	layoutFixedBytes = 36
	flagSums         = 1
)

// AppendTo appends the encoded layout to b. The layout must pass Check.
func (l *Layout) AppendTo(b []byte) []byte {
	var flags byte
	if len(l.Sums) > 0 {
		flags |= flagSums
	}
	b = append(b, layoutMagic...)
	b = append(b, layoutVersion, byte(l.Data), byte(l.Parity), flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(l.ShardBytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.SizeBytes))
	b = append(b, l.Object[:]...)
	for _, id := range l.Nodes {
		b = binary.LittleEndian.AppendUint16(b, uint16(id))
	}
	for i := range l.Sums {
		b = append(b, l.Sums[i][:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.Missing)))
	for _, r := range l.Missing {
		b = append(binary.LittleEndian.AppendUint32(b, r.Stripe), r.Shard)
	}
	return b
}

// DecodeLayout decodes a layout that is all of b. Its errors are ErrInvalid or ErrTooNew.
func DecodeLayout(b []byte) (Layout, error) {
	bad := func(what string) (Layout, error) {
		return Layout{}, fmt.Errorf("%w: encoded layout of %d bytes: %s", ErrInvalid, len(b), what)
	}
	if len(b) < 5 || string(b[:4]) != layoutMagic {
		return bad("no magic")
	}
	if b[4] > layoutVersion {
		return Layout{}, fmt.Errorf("layout of version %d: %w", b[4], ErrTooNew)
	}
	if b[4] != layoutVersion {
		return bad("version")
	}
	if len(b) < layoutFixedBytes {
		return bad("cut short")
	}
	if b[7]&^flagSums != 0 {
		return bad("unknown flags")
	}
	l := Layout{
		Object:    ObjectID(b[20:36]),
		SizeBytes: int64(binary.LittleEndian.Uint64(b[12:])),
		Geometry:  Geometry{Data: int(b[5]), Parity: int(b[6]), ShardBytes: int(binary.LittleEndian.Uint32(b[8:]))},
	}
	if err := l.checkObject(l.SizeBytes); err != nil {
		return Layout{}, fmt.Errorf("encoded layout: %w", err)
	}
	rest := b[layoutFixedBytes:]
	sums := 0
	if b[7]&flagSums != 0 {
		sums = l.Stripes()
	}
	if len(rest) < 2*l.Shards()+shard.SumBytes*sums+4 {
		return bad("cut short")
	}
	l.Nodes = make([]NodeID, l.Shards())
	for i := range l.Nodes {
		l.Nodes[i] = NodeID(binary.LittleEndian.Uint16(rest[2*i:]))
	}
	rest = rest[2*l.Shards():]
	if sums > 0 {
		l.Sums = make([]shard.Sum, sums)
		for i := range l.Sums {
			l.Sums[i] = shard.Sum(rest[shard.SumBytes*i:])
		}
		rest = rest[shard.SumBytes*sums:]
	}
	missing := int64(binary.LittleEndian.Uint32(rest))
	rest = rest[4:]
	if int64(len(rest)) != 5*missing {
		return bad("length of the missing shards")
	}
	if missing > 0 {
		l.Missing = make([]ShardRef, missing)
		for i := range l.Missing {
			l.Missing[i] = ShardRef{Stripe: binary.LittleEndian.Uint32(rest[5*i:]), Shard: rest[5*i+4]}
		}
	}
	if err := l.Check(); err != nil {
		return Layout{}, err
	}
	return l, nil
}
