package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/endpoint"
	"github.com/qsfs/qsfs/zdb/transfer"
)

// Exit codes, the same for all programs of qsfs.
const (
	exitOK           = 0
	exitOther        = 1
	exitUsage        = 2
	exitPartly       = 3
	exitNotFound     = 10
	exitLocked       = 11
	exitDamage       = 14
	exitNoSpace      = 15
	exitNotPermitted = 16
	exitTooNew       = 17
	exitInterrupted  = 130
)

const exitStatusHelp = `EXIT STATUS
  0 ok, 1 other error, 2 usage, 11 data directory in use by another process,
  14 damage found, 15 no space, 16 not permitted, 17 data newer than this program`

// failure is an error with its exit code and what the user can do.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) *failure {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...), hint: `run "zdbd --help"`}
}

// classify gives an error its code and hint.
func classify(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled):
		return &failure{exitInterrupted, errors.New("interrupted"), ""}
	case errors.Is(err, zdb.ErrLocked):
		return &failure{exitLocked, err, "another zdbd serves this directory; stop it or choose another one"}
	case errors.Is(err, zdb.ErrWrongMode):
		return &failure{exitOther, err, "start with --mode mixed, or choose another --data"}
	case errors.Is(err, zdb.ErrTooNew):
		return &failure{exitTooNew, err, "use the zdbd that wrote this data, or a newer one"}
	case errors.Is(err, transfer.ErrDamaged):
		return &failure{exitDamage, err, "what came before is stored and good; export again"}
	case errors.Is(err, transfer.ErrOtherData):
		return &failure{exitOther, err, "import into an empty namespace, or give the values other ids with --new-ids"}
	case errors.Is(err, endpoint.ErrInvalid):
		return &failure{exitUsage, err, ""}
	case errors.Is(err, endpoint.ErrPermissions):
		return &failure{exitNotPermitted, err, "a password file must belong to you and be readable by you alone: chmod 600"}
	case errors.Is(err, zdb.ErrAccessDenied):
		return &failure{exitNotPermitted, err, "give the namespace's password with ?password-file=PATH in the URL, the admin's with --admin-file"}
	case errors.Is(err, zdb.ErrCorrupt):
		return &failure{exitDamage, err, "nothing was changed; restore the named file, or start with an empty --data and let the data be repaired from other nodes"}
	case errors.Is(err, zdb.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &failure{exitNoSpace, err, "free space on the disk of --data"}
	case errors.Is(err, fs.ErrPermission):
		return &failure{exitNotPermitted, err, "check owner and mode of the path, or the port number"}
	case errors.Is(err, zdb.ErrNamespaceNotFound):
		return &failure{exitNotFound, err, ""}
	case errors.Is(err, syscall.EADDRINUSE):
		return &failure{exitOther, err, "another program listens there; choose another --listen"}
	}
	return &failure{exitOther, err, ""}
}

func (f *failure) print(w io.Writer, asJSON bool) {
	if asJSON {
		b, _ := json.Marshal(struct {
			Type    string `json:"type"`
			Code    int    `json:"code"`
			Message string `json:"message"`
			Hint    string `json:"hint,omitempty"`
		}{"exit_error", f.code, f.err.Error(), f.hint})
		fmt.Fprintf(w, "%s\n", b)
		return
	}
	fmt.Fprintf(w, "zdbd: error: %v\n", f.err)
	if f.hint != "" {
		fmt.Fprintf(w, "zdbd: hint: %s\n", f.hint)
	}
}
