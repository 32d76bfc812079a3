package client

import (
	"context"
	"time"
)

// Sequential is one namespace in sequential mode on one server: the server gives the
// keys, ids that grow but are not dense. All methods may be used by many goroutines at
// once.
type Sequential struct{ *base }

// OpenSequential is Open for a namespace in sequential mode; one in the other mode is
// zdb.ErrWrongMode. With Options.CreateNamespace a missing one is made in this mode.
func OpenSequential(ctx context.Context, target Target, options Options) (*Sequential, error) {
	b, err := openBase(ctx, target, options, ModeSequential)
	if err != nil {
		return nil, err
	}
	return &Sequential{b}, nil
}

// Append stores a value under a new id. It is sent once: when the connection breaks
// before the reply, the error is zdb.ErrUnavailable and the value may be stored under an
// id that nobody was told.
func (c *Sequential) Append(ctx context.Context, value []byte) (uint64, error) {
	return c.AppendAt(ctx, value, time.Time{})
}

// AppendAt is Append with the time that is stored, in whole seconds; the zero time means
// now. Only an administrator may give one.
func (c *Sequential) AppendAt(ctx context.Context, value []byte, at time.Time) (uint64, error) {
	args, err := setArguments(nil, value, at)
	if err != nil {
		return 0, err
	}
	out, err := c.do(ctx, once, "SET", args...)
	if err != nil {
		return 0, err
	}
	key, _ := out.reply.([]byte)
	id, ok := decodeID(key)
	if !ok {
		return 0, c.unexpected("SET", out.reply)
	}
	return id, nil
}

// Update stores another value under an id; zdb.ErrUpdateOnly when the namespace has
// not given that id, or its value was deleted.
func (c *Sequential) Update(ctx context.Context, id uint64, value []byte) error {
	return c.UpdateAt(ctx, id, value, time.Time{})
}

// UpdateAt is Update with the time that is stored, as with AppendAt.
func (c *Sequential) UpdateAt(ctx context.Context, id uint64, value []byte, at time.Time) error {
	return c.set(ctx, encodeID(id), value, at)
}

// Get returns the value of an id, or zdb.ErrNotFound. The caller owns the value.
func (c *Sequential) Get(ctx context.Context, id uint64) ([]byte, error) {
	return c.get(ctx, encodeID(id))
}

// Del deletes the value of an id, or returns zdb.ErrNotFound. The id is not given again.
func (c *Sequential) Del(ctx context.Context, id uint64) error {
	return c.del(ctx, encodeID(id), time.Time{})
}

// DelAt is Del with the time that is stored with the delete marker. Only an
// administrator may give one.
func (c *Sequential) DelAt(ctx context.Context, id uint64, at time.Time) error {
	return c.del(ctx, encodeID(id), at)
}

// Exists reports whether an id has a value.
func (c *Sequential) Exists(ctx context.Context, id uint64) (bool, error) {
	return c.exists(ctx, encodeID(id))
}

// Check makes the server read a value and compare its checksum, as Client.Check does.
func (c *Sequential) Check(ctx context.Context, id uint64) error {
	return c.check(ctx, encodeID(id))
}

// Length returns the size of a value in bytes, or zdb.ErrNotFound.
func (c *Sequential) Length(ctx context.Context, id uint64) (int, error) {
	return c.length(ctx, encodeID(id))
}

// KeyTime returns when a value was written, or zdb.ErrNotFound.
func (c *Sequential) KeyTime(ctx context.Context, id uint64) (time.Time, error) {
	return c.keyTime(ctx, encodeID(id))
}

// MGet returns the values of ids in their order, as Client.MGet does.
func (c *Sequential) MGet(ctx context.Context, ids ...uint64) ([][]byte, error) {
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = encodeID(id)
	}
	return c.mget(ctx, keys)
}

// KeyCursor returns the cursor that a scan would have given behind an id, or zdb.ErrNotFound.
func (c *Sequential) KeyCursor(ctx context.Context, id uint64) ([]byte, error) {
	return c.keyCursor(ctx, encodeID(id))
}
