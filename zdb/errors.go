package zdb

import "errors"

var (
	// ErrNotFound means the namespace has no such key. It is an answer, not a fault.
	ErrNotFound = errors.New("zdb: key not found")
	// ErrNamespaceNotFound means the node has no such namespace, or has it no longer.
	ErrNamespaceNotFound = errors.New("zdb: namespace not found")
	// ErrNamespaceExists means NSNEW met a namespace of that name; it can be selected.
	ErrNamespaceExists = errors.New("zdb: namespace exists already")
	// ErrNoSpace means the namespace's limit or the node's disk is full. Reads and
	// deletes go on; a later write may succeed.
	ErrNoSpace = errors.New("zdb: no space left")
	// ErrReadOnly means this session or the whole namespace takes no writes now.
	ErrReadOnly = errors.New("zdb: namespace is read-only")
	// ErrFrozen means the administrator stopped reads and writes of the namespace.
	ErrFrozen = errors.New("zdb: namespace is frozen")
	// ErrWorm means the namespace is write-once: no overwrite, no delete.
	ErrWorm = errors.New("zdb: namespace is write-once")
	// ErrAccessDenied means the password is missing or wrong, or that the command is
	// the administrator's. Trying again does not help.
	ErrAccessDenied = errors.New("zdb: access denied")
	// ErrNotZDB means the peer answers, but not as a 0-db does.
	ErrNotZDB = errors.New("zdb: peer does not speak the 0-db protocol")
	// ErrNotSupported means the peer speaks 0-db but does not know this command.
	ErrNotSupported = errors.New("zdb: command not supported")
	// ErrCorrupt means a stored record failed its checksum or cannot be read. The
	// value is lost on this node; writing the key again heals it.
	ErrCorrupt = errors.New("zdb: stored record is corrupt")
	// ErrKeyTooLarge means a key above MaxKeyBytes.
	ErrKeyTooLarge = errors.New("zdb: key too large")
	// ErrKeyEmpty means a key of no bytes, which user-key mode does not have.
	ErrKeyEmpty = errors.New("zdb: key is empty")
	// ErrValueTooLarge means a value above MaxValueBytes.
	ErrValueTooLarge = errors.New("zdb: value too large")
	// ErrBadCursor means a scan cursor that this namespace did not give out.
	ErrBadCursor = errors.New("zdb: invalid scan cursor")
	// ErrUpdateOnly means a key that a sequential namespace has not: it gives the keys itself.
	ErrUpdateOnly = errors.New("zdb: only a key that is there can be written in a sequential namespace")
	// ErrOtherKey means a history cursor that leads to a record of another key.
	ErrOtherKey = errors.New("zdb: history cursor of another key")
	// ErrWrongMode means data or a command of the other mode: user keys where ids are given, or the reverse.
	ErrWrongMode = errors.New("zdb: not in this mode of a namespace")
	// ErrTimeout means that what WAIT waits for did not happen in the time given. It is an answer, not a fault.
	ErrTimeout = errors.New("zdb: not within the time")
	// ErrNoMoreData means that a scan, the history of a key or a data file reached its end.
	ErrNoMoreData = errors.New("zdb: no more data")
	// ErrLocked means another process uses the data directory.
	ErrLocked = errors.New("zdb: data directory in use by another process")
	// ErrDisk means the node could not write or read its disk. The write may or may
	// not survive; it was not acknowledged.
	ErrDisk = errors.New("zdb: node's disk failed")
	// ErrUnavailable means the node cannot be reached now, or failed so often of
	// late that it is not asked. A later try may succeed.
	ErrUnavailable = errors.New("zdb: node unavailable")
	// ErrTooNew means stored data has a format newer than this program.
	ErrTooNew = errors.New("zdb: format newer than this program")
	// ErrClosed means the store, client or server was closed.
	ErrClosed = errors.New("zdb: closed")
)
