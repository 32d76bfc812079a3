package zdb

import (
	"errors"
	"testing"
)

// A text that a caller branches on gives its sentinel, whole texts only.
func TestFromText(t *testing.T) {
	for text, want := range sentinels {
		if err := FromText(text); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
	for _, text := range []string{"", "No space", "No space left on this namespace ", "ERR unknown command"} {
		err := FromText(text)
		var r *ReplyError
		if !errors.As(err, &r) || r.Text != text || errors.Unwrap(err) != nil {
			t.Errorf("%q: got %#v", text, err)
		}
	}
}
