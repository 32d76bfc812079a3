// Package secret gives a type the habits of a secret.
//
// A struct that embeds Hidden prints as Redacted with every verb of fmt and in log/slog, and refuses to be
// marshalled to text or JSON: an error shows a bug where an empty field would lose a key without a word.
//
// fmt can't call methods on a value in an unexported field of a struct that is itself printed: it prints the fields
// beneath, and with a verb that does not fit (%s of a pointer) it also follows one pointer. Box keeps a secret two
// pointers away, where fmt never gets. What can't live in a Box is held by pointer and printed with %v, if at all.
package secret

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
)

// Redacted is what stands where a secret would have been printed.
const Redacted = "[redacted]"

// ErrMarshal means a secret was about to be marshalled. It is a bug of the caller: a key file or a wrapped key is
// the way to keep a secret.
var ErrMarshal = errors.New("secret: a secret is not marshalled")

// Hidden is embedded by the types whose values are never printed.
type Hidden struct{}

// Format prints Redacted, whatever the verb.
func (Hidden) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Redacted) }

// String returns Redacted.
func (Hidden) String() string { return Redacted }

// GoString returns Redacted.
func (Hidden) GoString() string { return Redacted }

// LogValue returns Redacted.
func (Hidden) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns ErrMarshal; encoding/json asks it too.
func (Hidden) MarshalText() ([]byte, error) { return nil, ErrMarshal }

// GobEncode returns ErrMarshal.
func (Hidden) GobEncode() ([]byte, error) { return nil, ErrMarshal }

// Box holds a secret value where fmt does not find it, even in an unexported field. The zero Box is empty. Copies of
// a Box share the value.
type Box[T any] struct {
	Hidden
	value **T
}

// NewBox puts value, not a copy of it, in a Box.
func NewBox[T any](value *T) Box[T] { return Box[T]{value: &value} }

// Get returns the value, or nil when the Box is empty, or was emptied by any of its copies.
func (b Box[T]) Get() *T {
	if b.value == nil {
		return nil
	}
	return *b.value
}

// Empty zeroes the value and takes it out of b and its copies. Nobody may be using it.
func (b Box[T]) Empty() {
	if v := b.Get(); v != nil {
		var zero T
		*v = zero
		runtime.KeepAlive(v)
		*b.value = nil
	}
}

// Wipe zeroes b. The garbage collector may have left copies of it elsewhere (a grown stack, an appended slice);
// Go offers nothing against that, so secrets live in arrays that are made once and passed by pointer.
//
//go:noinline
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(&b)
}
