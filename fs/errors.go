package fs

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/qsfs/qsfs/erasure"
	"github.com/qsfs/qsfs/fs/lease"
	"github.com/qsfs/qsfs/fs/meta"
	"github.com/qsfs/qsfs/fs/sealfs"
	"github.com/qsfs/qsfs/fs/segment"
	"github.com/qsfs/qsfs/fs/superblock"
	"github.com/qsfs/qsfs/fs/wal"
	"github.com/qsfs/qsfs/zdb"
)

// What a user meets. Each has an exit code in the command line's table; errors
// that wrap them may carry a hint, see HintOf.
var (
	ErrVolumeNotFound = errors.New("volume not found")
	ErrVolumeExists   = errors.New("volume exists already")
	ErrLocked         = errors.New("volume is in use by another writer")
	ErrWrongKey       = errors.New("wrong key or phrase")
	ErrTooFewNodes    = errors.New("too few nodes")
	ErrDamaged        = errors.New("damaged")
	ErrNoSpace        = errors.New("no space left")
	ErrNotPermitted   = errors.New("not permitted")
	ErrTooNew         = errors.New("format newer than this program")
	ErrMountpoint     = errors.New("mount point unusable")
	// ErrForked means another machine wrote the volume while this folder still
	// had changes of its own that never reached the nodes.
	ErrForked = errors.New("volume was written elsewhere since")
	// ErrReadOnly means that the volume takes no more changes; Status says why.
	ErrReadOnly = errors.New("volume is read-only")
)

// ErrNotNode means that what answers at a node's address is no 0-db.
var ErrNotNode = errors.New("not a storage node")

var errClosing = errors.New("volume is being closed")

// cause is the innermost error, for one short line; the last of several.
func cause(err error) error {
	for {
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			if u.Unwrap() == nil {
				return err
			}
			err = u.Unwrap()
		case interface{ Unwrap() []error }:
			all := u.Unwrap()
			if len(all) == 0 {
				return err
			}
			err = all[len(all)-1]
		default:
			return err
		}
	}
}

// hinted is an error with advice for the user.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

func withHint(err error, format string, args ...any) error {
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// HintOf returns what the user can do about err, or "".
func HintOf(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// errnoTable is the one place where errors become what the kernel understands;
// the first row that matches wins, and what has no row is EIO.
var errnoTable = []struct {
	err   error
	errno syscall.Errno
}{
	{meta.ErrNotExist, syscall.ENOENT},
	{meta.ErrExist, syscall.EEXIST},
	{meta.ErrNotDir, syscall.ENOTDIR},
	{meta.ErrIsDir, syscall.EISDIR},
	{meta.ErrNotEmpty, syscall.ENOTEMPTY},
	{meta.ErrNameTooLong, syscall.ENAMETOOLONG},
	{meta.ErrTooManyLinks, syscall.EMLINK},
	{meta.ErrNoXattr, syscall.ENODATA},
	{meta.ErrXattrExists, syscall.EEXIST},
	{meta.ErrXattrTooBig, syscall.E2BIG},
	{meta.ErrXattrsFull, syscall.ENOSPC},
	{meta.ErrInvalid, syscall.EINVAL},
	{meta.ErrFileTooBig, syscall.EFBIG},
	{meta.ErrNoData, syscall.ENXIO},
	{meta.ErrReadOnly, syscall.EROFS},
	{meta.ErrStale, syscall.ESTALE},
	{ErrReadOnly, syscall.EROFS},
	{lease.ErrLost, syscall.EROFS},
	{ErrNoSpace, syscall.ENOSPC},
	{wal.ErrNoSpace, syscall.ENOSPC},
	{erasure.ErrNoSpace, syscall.ENOSPC},
	{zdb.ErrNoSpace, syscall.ENOSPC},
	{syscall.ENOSPC, syscall.ENOSPC},
	{context.Canceled, syscall.EINTR},
}

func errnoOf(err error) syscall.Errno {
	for _, row := range errnoTable {
		if errors.Is(err, row.err) {
			return row.errno
		}
	}
	return syscall.EIO
}

// publicTable turns what lower packages know into what a user meets.
var publicTable = []struct{ err, public error }{
	{lease.ErrHeld, ErrLocked},
	{lease.ErrNoQuorum, ErrTooFewNodes},
	{lease.ErrTooNew, ErrTooNew},
	{superblock.ErrTooNew, ErrTooNew},
	{wal.ErrTooNew, ErrTooNew},
	{zdb.ErrTooNew, ErrTooNew},
	{meta.ErrTooNew, ErrTooNew},
	{erasure.ErrTooNew, ErrTooNew},
	{sealfs.ErrTooNew, ErrTooNew},
	{erasure.ErrTooFewNodes, ErrTooFewNodes},
	{erasure.ErrUnavailable, ErrTooFewNodes},
	{erasure.ErrNoSpace, ErrNoSpace},
	{wal.ErrNoSpace, ErrNoSpace},
	{syscall.ENOSPC, ErrNoSpace},
	{zdb.ErrLocked, ErrLocked},
	{zdb.ErrAccessDenied, ErrNotPermitted},
	{erasure.ErrCorrupt, ErrDamaged},
	{wal.ErrCorrupt, ErrDamaged},
	{meta.ErrCorrupt, ErrDamaged},
	{sealfs.ErrCorrupt, ErrDamaged},
	{segment.ErrCorruptRecord, ErrDamaged},
}

// public wraps err so that it matches the sentinel a user meets.
func public(err error) error {
	if err == nil {
		return nil
	}
	for _, row := range publicTable {
		if errors.Is(err, row.err) && !errors.Is(err, row.public) {
			return fmt.Errorf("%w: %w", row.public, err)
		}
	}
	return err
}
