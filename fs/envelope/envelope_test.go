package envelope

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

var secret = [32]byte{1, 2, 3}

// A record opens with its secret, label and place only, and not when changed.
func TestOpenWhatWasSealed(t *testing.T) {
	salt := strings.NewReader(strings.Repeat("s", 32))
	sealed, err := Seal(&secret, "label", []byte("place"), []byte("record"), salt)
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) != len("record")+Overhead {
		t.Errorf("%d bytes", len(sealed))
	}
	if plain, err := Open(&secret, "label", []byte("place"), sealed); err != nil || string(plain) != "record" {
		t.Errorf("got %q, %v", plain, err)
	}
	other := [32]byte{9}
	for name, open := range map[string]func() error{
		"secret": func() error { _, err := Open(&other, "label", []byte("place"), sealed); return err },
		"label":  func() error { _, err := Open(&secret, "labels", []byte("place"), sealed); return err },
		"place":  func() error { _, err := Open(&secret, "label", []byte("elsewhere"), sealed); return err },
	} {
		if err := open(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := Open(&secret, "label", []byte("place"), bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := Open(&secret, "label", []byte("place"), sealed[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
}

// Without entropy nothing is sealed.
func TestSealNeedsSalt(t *testing.T) {
	if _, err := Seal(&secret, "label", nil, nil, strings.NewReader("short")); err == nil {
		t.Error("sealed")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(make([]byte, Overhead))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Open(&secret, "label", nil, b); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("got %v", err)
		}
	})
}
