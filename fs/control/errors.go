package control

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/qsfs/qsfs/fs"
)

// ErrNotRunning means no daemon listens on the socket: the volume is not mounted, or its daemon was killed.
var ErrNotRunning = errors.New("control: no daemon listens")

// ErrInUse means a daemon already listens on the socket.
var ErrInUse = errors.New("control: another daemon listens on the socket")

// ErrBusy means the mount point can't be unmounted because programs use it. The message names them.
var ErrBusy = errors.New("mount point is busy")

// ErrUnknownCall means the daemon does not know the call: it is older or newer than the client.
var ErrUnknownCall = errors.New("control: the daemon does not know this call: it is of another version than this program")

// ErrProtocol means the peer's reply is not of this protocol.
var ErrProtocol = errors.New("control: not a reply of a qsfs daemon")

// kinds is the table of errors that keep their identity between processes. The first that matches is sent.
var kinds = []struct {
	kind     string
	sentinel error
}{
	{"canceled", context.Canceled},
	{"busy", ErrBusy},
	{"unknown_call", ErrUnknownCall},
	{"volume_not_found", fs.ErrVolumeNotFound},
	{"locked", fs.ErrLocked},
	{"wrong_key", fs.ErrWrongKey},
	{"too_new", fs.ErrTooNew},
	{"damaged", fs.ErrDamaged},
	{"too_few_nodes", fs.ErrTooFewNodes},
	{"no_space", fs.ErrNoSpace},
	{"not_permitted", fs.ErrNotPermitted},
	{"mountpoint", fs.ErrMountpoint},
	{"no_space", syscall.ENOSPC},
	{"busy", syscall.EBUSY},
}

// failureOf gives an error's form on the wire.
func failureOf(err error) *failure {
	f := &failure{Kind: "other", Message: err.Error(), Hint: fs.HintOf(err)}
	for _, k := range kinds {
		if errors.Is(err, k.sentinel) {
			f.Kind = k.kind
			break
		}
	}
	if f.Hint == "" {
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			f.Hint = hinted.Hint()
		}
	}
	return f
}

// Error is an error the daemon told of. It unwraps to the sentinel of its kind.
type Error struct {
	Kind    string // as on the wire; "other" when it has no sentinel
	Message string
	Advice  string // what the user can do; may be empty
}

// Error gives the daemon's message.
func (e *Error) Error() string { return e.Message }

// Hint gives what the user can do, when the daemon said so.
func (e *Error) Hint() string { return e.Advice }

// Unwrap gives the sentinel of the error's kind, or nil when this program does not know the kind.
func (e *Error) Unwrap() error {
	for _, k := range kinds {
		if k.kind == e.Kind {
			return k.sentinel
		}
	}
	return nil
}

func (f *failure) err() error {
	message := strings.TrimSpace(f.Message)
	if message == "" {
		message = "the daemon gave no reason (" + f.Kind + ")"
	}
	return &Error{Kind: f.Kind, Message: message, Advice: f.Hint}
}
