// Package resp is the server's side of RESP2 as 0-db speaks it: it reads requests
// within limits and writes replies without copying long values.
//
// A request is an array of 1 to 1024 bulk strings of at most 8 MiB each:
//
//	*2\r\n $3\r\n GET\r\n $3\r\n key\r\n      (blanks and line ends for reading only)
//
// There are no inline commands. All that is malformed gives a *ProtocolError with the
// text that 0-db answers; unlike 0-db, whose session is then out of step, the
// connection is to be closed behind it.
//
// Bounds: a header line has at most 32 bytes, the arguments of one request
// MaxRequestBytes in all. Memory for arguments is taken from a Budget that all
// connections share, before it is allocated.
//
// Source of the limits and texts: threefoldtech/0-db, zdbd/redis.c (development-v2).
package resp

import (
	"strconv"

	"github.com/qsfs/qsfs/zdb"
)

const (
	// MaxRequestBytes is the most that the arguments of one request take together:
	// one value of the greatest length and the longest command around it.
	MaxRequestBytes = zdb.MaxValueBytes + 1<<20

	maxLineBytes    = 32
	readBufferBytes = 64 << 10
)

// ProtocolError is a malformed request; Text is the reply that goes ahead of the close.
type ProtocolError struct{ Text string }

func (e *ProtocolError) Error() string { return "resp: " + e.Text }

// AppendStatus appends a status reply.
func AppendStatus(b []byte, s string) []byte { return append(append(append(b, '+'), s...), "\r\n"...) }

// AppendError appends an error reply.
func AppendError(b []byte, text string) []byte {
	return append(append(append(b, '-'), text...), "\r\n"...)
}

// AppendInt appends an integer reply.
func AppendInt(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, ':'), n, 10), "\r\n"...)
}

// AppendBulkHead appends what goes ahead of n bytes of a bulk string; "\r\n" goes behind them.
func AppendBulkHead(b []byte, n int) []byte {
	return append(strconv.AppendInt(append(b, '$'), int64(n), 10), "\r\n"...)
}

// AppendBulk appends a bulk string.
func AppendBulk[T string | []byte](b []byte, p T) []byte {
	return append(append(AppendBulkHead(b, len(p)), p...), "\r\n"...)
}

// AppendNil appends the nil reply.
func AppendNil(b []byte) []byte { return append(b, "$-1\r\n"...) }

// AppendArray appends the head of an array of n replies.
func AppendArray(b []byte, n int) []byte {
	return append(strconv.AppendInt(append(b, '*'), int64(n), 10), "\r\n"...)
}
