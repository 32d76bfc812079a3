package wal

import "errors"

var (
	// ErrCorrupt means bytes that are not what was sealed: damage, a wrong key or a wrong place.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrTorn means a segment ends without an end frame. In the last segment of a log that is how a crash looks, and the
	// log ends there; elsewhere it is damage, unless the next segment says that it was cut there.
	ErrTorn = errors.New("wal: torn segment")
	// ErrTooNew means a segment of a later version of the format.
	ErrTooNew = errors.New("wal: segment of a newer version")
	// ErrTooLarge means a block or transaction above its bound. The caller splits it.
	ErrTooLarge = errors.New("wal: frame too large")
	// ErrNotHeld means that the block's segment is no longer in memory, so its file is complete: read it there.
	ErrNotHeld = errors.New("wal: segment not in memory")
	// ErrNoSpace means the disk is full. Nothing is lost: the frames wait in memory and the next Sync tries again.
	ErrNoSpace = errors.New("wal: no space left for the log")
	// ErrFailed means the disk failed and what was not durable by then cannot be made so. It is final.
	ErrFailed = errors.New("wal: log disk failed")
	// ErrClosed means the log was closed.
	ErrClosed = errors.New("wal: closed")
	// ErrExists means there is a segment already where the log was to begin.
	ErrExists = errors.New("wal: segment exists")
)
