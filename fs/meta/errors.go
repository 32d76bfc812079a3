package meta

import "errors"

// What an operation can say. The FUSE adapter has one errno for each.
var (
	ErrNotExist     = errors.New("meta: no such entry")                           // ENOENT
	ErrExist        = errors.New("meta: entry exists")                            // EEXIST
	ErrNotDir       = errors.New("meta: not a directory")                         // ENOTDIR
	ErrIsDir        = errors.New("meta: is a directory")                          // EISDIR
	ErrNotEmpty     = errors.New("meta: directory not empty")                     // ENOTEMPTY
	ErrNameTooLong  = errors.New("meta: name too long")                           // ENAMETOOLONG
	ErrTooManyLinks = errors.New("meta: too many links")                          // EMLINK
	ErrNoXattr      = errors.New("meta: no such extended attribute")              // ENODATA
	ErrXattrExists  = errors.New("meta: extended attribute exists")               // EEXIST
	ErrXattrTooBig  = errors.New("meta: extended attribute too big")              // E2BIG
	ErrXattrsFull   = errors.New("meta: too many extended attributes")            // ENOSPC
	ErrInvalid      = errors.New("meta: invalid argument")                        // EINVAL
	ErrStale        = errors.New("meta: no such inode")                           // ESTALE
	ErrFileTooBig   = errors.New("meta: file too big")                            // EFBIG
	ErrNoData       = errors.New("meta: no data at or after the offset")          // ENXIO
	ErrTooBig       = errors.New("meta: record too big for a transaction")        // the caller's mistake
	ErrCorrupt      = errors.New("meta: corrupt metadata")                        // EIO: run a check, restore
	ErrTooNew       = errors.New("meta: format newer than this program")          // EIO: use a newer program
	ErrClosed       = errors.New("meta: store closed")                            // EIO
	ErrReadOnly     = errors.New("meta: no journal attached, store is read-only") // EROFS
	ErrFailed       = errors.New("meta: store failed, reopen and replay")         // EIO: the log has the change, this process could not apply it
)
