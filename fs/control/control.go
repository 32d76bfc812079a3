// Package control is how other processes of this machine speak to the daemon that has a volume mounted: status, sync and
// unmount, as HTTP/1.1 with JSON over a unix socket.
//
// # The socket
//
// One per mounted volume, mode 0600, in a folder of mode 0700. The server asks the kernel who connects (SO_PEERCRED) and
// speaks only to its own user and to root. A socket file that nobody listens on, left by a daemon that was killed, is
// replaced. The volume's own lock, not the socket, is what keeps a second daemon away.
//
// # Protocol, version 1
//
// The version is the first element of each path; an unknown path or version is a 404 of kind "unknown_call". Replies and
// request bodies are JSON, keys in snake_case. A reader ignores keys it does not know; fields are added, never changed.
//
//	GET  /v1/info      → Info: who this daemon is. Answers at once, whatever the volume is doing.
//	GET  /v1/status    → Status: {"version":1, ...the fields of fs.Status}
//	POST /v1/sync      → a stream of events; ends when everything written before the call is on the nodes
//	POST /v1/unmount   body UnmountRequest → a stream of events; ends when the volume is unmounted, flushed and closed
//
// A stream is one JSON object a line (application/x-ndjson):
//
//	{"type":"progress","done_bytes":1048576,"total_bytes":4194304}    at most five a second, the last state is never left out
//	{"type":"unmounted"}                                              the kernel let go of the mount point; closing follows
//	{"type":"done","staged_bytes":0}                                  the end, done
//	{"type":"error","kind":"too_few_nodes","message":"...","hint":"..."}   the end, not done
//
// A stream without activity sends its last progress again every 10 seconds, so that each side notices when the other has
// gone. A client that goes away cancels its sync; an unmount, once begun, goes on without it. A call that fails before it
// streams has a status from 400 on and {"kind":...,"message":...,"hint":...} as its body. The kinds are the table in
// errors.go; a client turns them into the sentinels of package fs again.
//
// # Bounds
//
// 64 connections, 16 KiB of request header, 64 KiB of request body or line of a stream, 4 MiB of reply. A client must send
// its request, and take each line of a stream, within 5 seconds; else it is taken for gone.
package control

import (
	"time"

	"github.com/qsfs/qsfs/fs"
)

// Version is the version of the protocol this package speaks.
const Version = 1

const (
	maxConnections  = 64
	maxHeaderBytes  = 16 << 10
	maxRequestBytes = 64 << 10
	maxReplyBytes   = 4 << 20
)

// timings are the server's intervals. Tests shorten them.
type timings struct {
	request   time.Duration // to receive a request, and to hand over one line of a stream
	idle      time.Duration // of a connection between two calls
	progress  time.Duration // between two progress lines, at least
	heartbeat time.Duration // between two lines of a stream, at most
}

var defaultTimings = timings{request: 5 * time.Second, idle: 30 * time.Second, progress: 200 * time.Millisecond, heartbeat: 10 * time.Second}

// Info says which daemon answers: facts that do not change while it runs.
type Info struct {
	Version    int    `json:"version"`
	Name       string `json:"name"`       // of the volume
	Mountpoint string `json:"mountpoint"` // absolute
	StateDir   string `json:"state_dir"`  // of the volume, absolute
	PID        int    `json:"pid"`
	Program    string `json:"program"` // the daemon's own version, for people
}

// Status is the reply to a status call.
type Status struct {
	Version int `json:"version"`
	fs.Status
}

// UnmountRequest says how to unmount. The zero value waits for nobody to use the mount any more, or says who does.
type UnmountRequest struct {
	// Lazy takes the mount point away at once, also while it is in use: programs that have files open keep them, and
	// the daemon ends when the last one is closed.
	Lazy bool `json:"lazy"`
}

// UnmountReply is what is left to tell after an unmount.
type UnmountReply struct {
	// StagedBytes are in the local log and not yet on the nodes; they are uploaded at the next mount. -1: not known,
	// because the daemon still waits for open files to be closed.
	StagedBytes int64 `json:"staged_bytes"`
}

// event is one line of a stream.
type event struct {
	Type        string `json:"type"`
	DoneBytes   *int64 `json:"done_bytes,omitempty"`
	TotalBytes  *int64 `json:"total_bytes,omitempty"`
	StagedBytes *int64 `json:"staged_bytes,omitempty"`
	Kind        string `json:"kind,omitempty"` // of an error, as in failure; the two below too
	Message     string `json:"message,omitempty"`
	Hint        string `json:"hint,omitempty"`
}

// failure is an error on the wire.
type failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}
