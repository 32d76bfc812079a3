// Package exit says how a verb of qsfs ended: one table from errors to exit codes and hints, and the lines that tell it.
//
// On standard error a failed verb writes
//
//	qsfs: error: MESSAGE
//	qsfs: hint: HINT              when there is one
//
// and with --json, as the last line and instead of the two,
//
//	{"type":"exit_error","code":13,"message":"MESSAGE","hint":"HINT"}
//
// The numbers are a promise to scripts: they never change their meaning.
package exit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/qsfs/qsfs/fs"
)

// Code is a process's exit status.
type Code int

// What each exit code means is in Meanings, and in the EXIT STATUS section of each verb's help.
const (
	OK           Code = 0
	Other        Code = 1
	Usage        Code = 2
	Partial      Code = 3
	NotFound     Code = 10
	Locked       Code = 11
	WrongKey     Code = 12
	TooFewNodes  Code = 13
	Damaged      Code = 14
	NoSpace      Code = 15
	NotPermitted Code = 16
	TooNew       Code = 17
	Mountpoint   Code = 18
	Interrupted  Code = 130
)

// Meaning is one row of the table of exit codes.
type Meaning struct {
	Code Code
	Text string
}

// Meanings is every exit code of qsfs, in the order of the numbers.
var Meanings = []Meaning{
	{OK, "ok"},
	{Other, "any other error"},
	{Usage, "wrong usage: a flag, an argument or the configuration file"},
	{Partial, "done, but some items failed"},
	{NotFound, "volume, node or grid not found"},
	{Locked, "locked by another writer"},
	{WrongKey, "wrong key, passphrase or phrase"},
	{TooFewNodes, "too few nodes reachable"},
	{Damaged, "damage found and not repaired"},
	{NoSpace, "no space left"},
	{NotPermitted, "not permitted"},
	{TooNew, "the format is newer than this program"},
	{Mountpoint, "the mount point cannot be used"},
	{Interrupted, "interrupted"},
}

// Error is an error that already knows its exit code, and what the user can do.
type Error struct {
	Code   Code
	Advice string // what Hint gives; may be empty
	Err    error
}

// Error gives the message alone: the hint is told on its own line.
func (e *Error) Error() string { return e.Err.Error() }

// Hint gives what the user can do.
func (e *Error) Hint() string { return e.Advice }

// Unwrap gives the error beneath.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error with a code and a hint.
func New(code Code, hint, format string, args ...any) error {
	return &Error{Code: code, Advice: hint, Err: fmt.Errorf(format, args...)}
}

// UsageError makes an error of wrong usage.
func UsageError(hint, format string, args ...any) error {
	return New(Usage, hint, format, args...)
}

// WithHint adds a hint to an error that has none yet; its code stays.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	code, have := Of(err)
	if have != "" {
		hint = have
	}
	return &Error{Code: code, Advice: hint, Err: err}
}

// Of gives the exit code and the hint of an error. The outermost Error decides, then the table of sentinels.
func Of(err error) (Code, string) {
	if err == nil {
		return OK, ""
	}
	if own, ok := errors.AsType[*Error](err); ok {
		if own.Advice != "" {
			return own.Code, own.Advice
		}
		return own.Code, hintOf(own.Err)
	}
	code, hint := Other, ""
	for _, row := range sentinels {
		if errors.Is(err, row.sentinel) {
			code, hint = row.code, row.hint
			break
		}
	}
	if told := hintOf(err); told != "" {
		hint = told
	}
	return code, hint
}

// hintOf gives the hint an error brings along, from this process or from the daemon's.
func hintOf(err error) string {
	if hint := fs.HintOf(err); hint != "" {
		return hint
	}
	if told, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return told.Hint()
	}
	return ""
}

// Report writes how a verb failed and gives the code to exit with. A nil error writes nothing.
func Report(stderr io.Writer, program string, asJSON bool, err error) Code {
	if err == nil {
		return OK
	}
	code, hint := Of(err)
	message := oneLine(err.Error())
	if asJSON {
		line, marshalErr := json.Marshal(struct {
			Type    string `json:"type"`
			Code    Code   `json:"code"`
			Message string `json:"message"`
			Hint    string `json:"hint"`
		}{"exit_error", code, message, hint})
		if marshalErr == nil {
			fmt.Fprintf(stderr, "%s\n", line)
			return code
		}
	}
	fmt.Fprintf(stderr, "%s: error: %s\n", program, message)
	if hint != "" {
		fmt.Fprintf(stderr, "%s: hint: %s\n", program, oneLine(hint))
	}
	return code
}

// oneLine keeps a message on its line: joined errors and what a server said may hold line breaks or control characters.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
