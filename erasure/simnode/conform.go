package simnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/qsfs/qsfs/zdb"
)

// Conform tests that what open returns, empty at first, behaves as a storage node
// does: the suite that all nodes pass, in memory or real.
func Conform(t *testing.T, open func(t *testing.T) Backend) {
	ctx := t.Context()
	key := []byte{0, 0xff, '\r', '\n', 7} // keys and values are any bytes

	t.Run("absent", func(t *testing.T) {
		n := open(t)
		if _, err := n.Get(ctx, key); !errors.Is(err, zdb.ErrNotFound) {
			t.Errorf("get: %v, want ErrNotFound", err)
		}
		if err := n.Del(ctx, key); !errors.Is(err, zdb.ErrNotFound) {
			t.Errorf("del: %v, want ErrNotFound", err)
		}
	})
	t.Run("set get overwrite del", func(t *testing.T) {
		n := open(t)
		for _, want := range [][]byte{[]byte("one"), bytes.Repeat([]byte{0, '\r', '\n', 0xff}, 1<<16), []byte("x")} {
			if err := n.Set(ctx, key, want); err != nil {
				t.Fatal(err)
			}
			got, err := n.Get(ctx, key)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(want))
			}
		}
		if err := n.Del(ctx, key); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Get(ctx, key); !errors.Is(err, zdb.ErrNotFound) {
			t.Fatalf("after del: %v, want ErrNotFound", err)
		}
	})
	t.Run("bytes belong to their owner", func(t *testing.T) {
		n := open(t)
		value := []byte("value")
		if err := n.Set(ctx, key, value); err != nil {
			t.Fatal(err)
		}
		value[0] = 'X'
		got, err := n.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		got[1] = 'X'
		if again, err := n.Get(ctx, key); err != nil || string(again) != "value" {
			t.Fatalf("got %q and %v", again, err)
		}
	})
	t.Run("key and value limits", func(t *testing.T) {
		n := open(t)
		if err := n.Set(ctx, nil, []byte("v")); err == nil {
			t.Error("empty key was stored")
		}
		if err := n.Set(ctx, make([]byte, zdb.MaxKeyBytes+1), []byte("v")); err == nil {
			t.Error("key above the limit was stored")
		}
		if err := n.Set(ctx, bytes.Repeat([]byte("k"), zdb.MaxKeyBytes), []byte("v")); err != nil {
			t.Errorf("longest key: %v", err)
		}
		if err := n.Set(ctx, key, make([]byte, zdb.MaxValueBytes+1)); err == nil {
			t.Error("value above the limit was stored")
		}
	})
	t.Run("ended context", func(t *testing.T) {
		n := open(t)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := n.Get(ended, key); err == nil || errors.Is(err, zdb.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if err := n.Set(ended, key, []byte("v")); err == nil {
			t.Error("set was acknowledged")
		}
	})
	t.Run("concurrent", func(t *testing.T) {
		n := open(t)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				key := fmt.Appendf(nil, "key %d", w)
				for i := range 20 {
					want := fmt.Appendf(nil, "value %d of %d", i, w)
					if err := n.Set(ctx, key, want); err != nil {
						t.Error(err)
						return
					}
					if got, err := n.Get(ctx, key); err != nil || !bytes.Equal(got, want) {
						t.Errorf("got %q and %v, want %q", got, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}
