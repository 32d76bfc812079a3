package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/qsfs/qsfs/identity/secret"
)

type vault struct {
	secret.Hidden
	Key  [8]byte
	Text string
}

// A type that embeds Hidden shows none of its fields, by value or by pointer, on its own or in another's exported field.
func TestHiddenIsNeverPrinted(t *testing.T) {
	v := vault{Key: [8]byte{'l', 'e', 'a', 'k', 1, 2, 3, 4}, Text: "hunter2"}
	outer := struct{ V vault }{v}
	for _, value := range []any{v, &v, outer, &outer, []vault{v}, map[string]vault{"v": v}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b"} {
			t.Run(fmt.Sprintf("%T %s", value, verb), func(t *testing.T) {
				got := fmt.Sprintf(verb, value)
				if !strings.Contains(got, secret.Redacted) || strings.Contains(got, "hunter2") || strings.Contains(got, "108") {
					t.Errorf("got %q", got)
				}
			})
		}
	}
	for name, value := range map[string]fmt.Stringer{"value": v, "pointer": &v} {
		if got := value.String(); got != secret.Redacted {
			t.Errorf("String of a %s: got %q", name, got)
		}
	}
}

// slog's handlers print Redacted, or the refusal to marshal, and no field.
func TestHiddenInLogs(t *testing.T) {
	v := vault{Text: "hunter2"}
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("opened", "vault", v, "pointer", &v, "nested", struct{ V vault }{v})
	}
	if got := out.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, secret.Redacted) {
		t.Errorf("got %s", got)
	}
}

func TestHiddenIsNotMarshalled(t *testing.T) {
	v := vault{Text: "hunter2"}
	if out, err := json.Marshal(struct{ V *vault }{&v}); !errors.Is(err, secret.ErrMarshal) || out != nil {
		t.Errorf("json: got %q, %v, want ErrMarshal", out, err)
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(v); !errors.Is(err, secret.ErrMarshal) || strings.Contains(out.String(), "hunter2") {
		t.Errorf("gob: got %q, %v, want ErrMarshal", out.String(), err)
	}
}

// A Box in an unexported field shows an address at most, whatever the verb, and is empty for all copies at once.
func TestBox(t *testing.T) {
	type pair [2][8]byte
	v := &pair{{'l', 'e', 'a', 'k'}}
	box := secret.NewBox(v)
	same := box
	outer := struct{ box secret.Box[pair] }{box}
	for _, value := range []any{box, &box, outer, &outer, []any{outer}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%e"} {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, "leak") || strings.Contains(got, "108 101 97") ||
				strings.Contains(got, "6c6561") || strings.Contains(got, "0x6c, 0x65") {
				t.Errorf("%T %s: got %q", value, verb, got)
			}
		}
	}
	if box.Get() != v {
		t.Error("not the value that was put in")
	}
	same.Empty()
	same.Empty()
	if box.Get() != nil || *v != (pair{}) {
		t.Errorf("after Empty: got %v, value %v", box.Get(), *v)
	}
	var none secret.Box[pair]
	none.Empty()
	if none.Get() != nil {
		t.Error("the zero Box is not empty")
	}
}

func TestWipe(t *testing.T) {
	b := []byte("a secret")
	secret.Wipe(b)
	if !bytes.Equal(b, make([]byte, 8)) {
		t.Errorf("got %q", b)
	}
	secret.Wipe(nil)
}
