package zdb

// The error texts of the wire, without the leading '-'. Peers compare them whole,
// so they stay as upstream spells them, slips included. Source: libzdb and zdbd of
// threefoldtech/0-db, development-v2, and observed replies of a 2.0.7 build.
const (
	TextMalformedRequest = "Malformed request, array expected"
	TextMalformedQuery   = "Malformed query string"
	TextMissingArguments = "Missing arguments"
	TextTooManyArguments = "Too many arguments"
	TextPayloadTooBig    = "Payload too big"
	TextInternalMemory   = "Internal memory error"

	TextNotSupported        = "Command not supported"
	TextUnexpectedArguments = "Unexpected arguments"
	TextInvalidArgument     = "Invalid argument"
	TextInvalidArguments    = "Invalid arguments"
	TextArgumentTooLong     = "Argument too long"
	TextPermissionDenied    = "Permission denied"

	TextKeyNeeded       = "Invalid argument, key needed"
	TextKeyTooLarge     = "Key too large"
	TextInvalidKey      = "Invalid key"
	TextKeyNotFound     = "Key not found"
	TextUpdateOnly      = "Invalid key, only update authorized"
	TextReadOnly        = "Namespace is in read-only mode"
	TextWorm            = "Namespace is protected by worm mode"
	TextWormDelete      = "Cannot delete a key when namespace is in worm mode"
	TextNoSpace         = "No space left on this namespace"
	TextFull            = "Namespace definitely full"
	TextCannotWrite     = "Cannot write data right now"
	TextCannotIndex     = "Cannot write index right now"
	TextCannotDelete    = "Cannot delete key (data)"
	TextCannotDelIndex  = "Cannot delete key (index)"
	TextInternalError   = "Internal Error"
	TextNoMoreHistory   = "No more history"
	TextHistoryQuery    = "Invalid arguments (index query)"
	TextHistoryKey      = "Invalid arguments (invalid key)"
	TextNoKeysMatch     = "No keys match"
	TextNotInThisMode   = "Index running mode doesn't support this feature"
	TextFrozen          = "Namespace is temporarily frozen (read-write disabled)"
	TextLocked          = "Namespace is temporarily locked (read-only)"
	TextNoMoreData      = "No more data"
	TextInvalidCursor   = "Invalid key format"
	TextNamespaceGone   = "Your active namespace is not available anymore (probably removed)."
	TextNamespaceAbsent = "Namespace not found"

	TextNamespaceTooLong  = "Namespace too long"
	TextNamespaceExists   = "This namespace is not available"
	TextNameNotAllowed    = "This name is not allowed"
	TextCannotCreate      = "Could not create namespace"
	TextCannotDelDefault  = "Cannot remove default namespace"
	TextNamespaceNotExist = "This namespace doesn't exists"
	TextCannotDelActive   = "Cannot remove namespace you're currently using."
	TextCannotRemoveNS    = "Could not delete this namespace"
	TextInvalidProperty   = "Invalid property"
	TextCannotSetDefault  = "Cannot update default namespace"
	TextInvalidMode       = "Invalid property value (expected: user, seq)"
	TextModeInUse         = "Cannot change mode of used namespace"
	TextSingleMode        = "This server instance is configured to use a single runtime mode"
	TextFlushDenied       = "Flushing public namespace denied"
	TextServerError       = "Internal Server Error"

	TextUnauthorized       = "Unauthorized"
	TextTimeout            = "Timeout"
	TextInvalidTimeout     = "Invalid timeout"
	TextUnknownWatch       = "Unknown command to watch"
	TextNotACommand        = "This is not a valid command"
	TextUnknownIndex       = "Unknown INDEX subcommand"
	TextUnknownDirty       = "Unknown INDEX DIRTY subcommand"
	TextUnknownData        = "Unknown DATA subcommand"
	TextEOF                = "EOF"
	TextInvalidRequest     = "Invalid Request"
	TextUnexpectedInternal = "Unexpected Internal Error"

	TextMemory        = "Internal Memory Error"
	TextGenerator     = "Internal generator error"
	TextBulk          = "Internal Error (bulk)"
	TextKScanDisabled = "Command disabled in release code, not yet available"

	// TextTooManyClients is not the C server's: it greets a connection for which there
	// is no room.
	TextTooManyClients = "Too many clients"
	// TextNoReplication is not the C server's: it answers MIRROR and MASTER, which
	// this module does not have.
	TextNoReplication = "Replication is not supported by this server"

	TextPrivate         = "Namespace protected and private"
	TextAccessDenied    = "Access denied"
	TextPasswordTooLong = "Password too long"
	TextAuthDisabled    = "Authentication disabled"
	TextNoChallenge     = "No CHALLENGE requested, secure authentication not available"
	TextHashLength      = "Invalid hash length"
	TextOnlySecure      = "Only SECURE extra method supported"
)

// sentinels maps each text that a caller branches on to its sentinel.
var sentinels = map[string]error{
	TextPayloadTooBig:      ErrValueTooLarge,
	TextNotSupported:       ErrNotSupported,
	TextPermissionDenied:   ErrAccessDenied,
	TextKeyNeeded:          ErrKeyEmpty,
	TextKeyTooLarge:        ErrKeyTooLarge,
	TextInvalidKey:         ErrKeyTooLarge,
	TextKeyNotFound:        ErrNotFound,
	TextUpdateOnly:         ErrUpdateOnly,
	TextReadOnly:           ErrReadOnly,
	TextLocked:             ErrReadOnly,
	TextWorm:               ErrWorm,
	TextWormDelete:         ErrWorm,
	TextNoSpace:            ErrNoSpace,
	TextFull:               ErrNoSpace,
	TextCannotWrite:        ErrDisk,
	TextCannotIndex:        ErrDisk,
	TextCannotDelete:       ErrDisk,
	TextCannotDelIndex:     ErrDisk,
	TextInternalError:      ErrCorrupt,
	TextFrozen:             ErrFrozen,
	TextNoMoreData:         ErrNoMoreData,
	TextInvalidCursor:      ErrBadCursor,
	TextNoMoreHistory:      ErrNoMoreData,
	TextHistoryQuery:       ErrBadCursor,
	TextHistoryKey:         ErrOtherKey,
	TextNoKeysMatch:        ErrNotFound,
	TextNotInThisMode:      ErrWrongMode,
	TextSingleMode:         ErrWrongMode,
	TextKScanDisabled:      ErrNotSupported,
	TextNoReplication:      ErrNotSupported,
	TextFlushDenied:        ErrAccessDenied,
	TextUnauthorized:       ErrAccessDenied,
	TextServerError:        ErrDisk,
	TextCannotCreate:       ErrDisk,
	TextCannotRemoveNS:     ErrDisk,
	TextTimeout:            ErrTimeout,
	TextEOF:                ErrNoMoreData,
	TextInvalidRequest:     ErrNotFound,
	TextUnexpectedInternal: ErrCorrupt,
	TextTooManyClients:     ErrUnavailable,
	TextNamespaceGone:      ErrNamespaceNotFound,
	TextNamespaceAbsent:    ErrNamespaceNotFound,
	TextNamespaceNotExist:  ErrNamespaceNotFound,
	TextNamespaceExists:    ErrNamespaceExists,
	TextPrivate:            ErrAccessDenied,
	TextAccessDenied:       ErrAccessDenied,
}

// ReplyError is an error reply of a 0-db server.
type ReplyError struct {
	Text string // as on the wire, without the leading '-'
	kind error  // the sentinel, or nil when nobody branches on the text
}

// Error gives the server's own words.
func (e *ReplyError) Error() string { return "zdb: server says: " + e.Text }

// Unwrap gives the sentinel, if the text has one.
func (e *ReplyError) Unwrap() error { return e.kind }

// FromText makes an error of the text of an error reply. errors.Is finds the
// sentinel of a known text; an unknown text gives a plain *ReplyError.
func FromText(text string) error {
	return &ReplyError{Text: text, kind: sentinels[text]}
}
