// Package zdb holds what every side of the 0-db protocol shares: limits, error
// sentinels and the error texts of the wire.
//
// 0-db (ZDB) is a key-value store reached through RESP2, the protocol of Redis:
// a request is an array of bulk strings, a reply is a status, an error, an
// integer, a bulk string, nil or an array. Data lives in namespaces. In one in user-key
// mode the client chooses the key, in one in sequential mode the server gives it: an id
// of 8 bytes, little endian.
//
//   - zdb/store is an embedded store of one namespace in one directory;
//   - zdb/server and zdb/resp put the protocol in front of such stores;
//   - zdb/client and zdb/endpoint reach a store, here or on another machine;
//   - zdb/conformance is the suite that all of these, and the C server, have to pass.
//
// Error replies of 0-db carry no code word: a client compares the whole text.
// The texts are the constants Text… of this package, taken from the C server
// threefoldtech/0-db (branch development-v2, engine 2.0.7); FromText turns a
// text into an error that wraps the sentinel a caller branches on.
//
// The package imports nothing of qsfs and knows nothing of what is stored.
package zdb

const (
	// MaxKeyBytes is the longest key in user-key mode; the shortest is 1 byte.
	MaxKeyBytes = 255
	// MaxValueBytes is the longest value, and the longest argument of a request.
	MaxValueBytes = 8 << 20
	// MaxArguments is the most arguments that one request has, its name included.
	MaxArguments = 1024
	// MaxNamespaceBytes is the longest name of a namespace.
	MaxNamespaceBytes = 128
	// MaxPasswordBytes is the longest password of a namespace or an administrator.
	MaxPasswordBytes = 128
	// DefaultPort is the TCP port that 0-db listens on unless told otherwise.
	DefaultPort = 9900
	// DefaultNamespace is the namespace a connection starts in.
	DefaultNamespace = "default"
)

// Space says how full a namespace is.
type Space struct {
	UsedBytes     int64  // live payload bytes
	LimitBytes    int64  // most live payload bytes allowed; 0 means no limit
	DiskFreeBytes int64  // free on the disk that holds the namespace
	Device        string // the same text means the same disk; empty means unknown
}
