package sealfs

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var testKey = [32]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// counting is a reader of known bytes for file ids.
type counting struct {
	mu   sync.Mutex
	next byte
}

func (c *counting) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		p[i] = c.next
		c.next++
	}
	return len(p), nil
}

func newTestFS(t testing.TB) (*FS, *vfs.MemFS) {
	t.Helper()
	mem := vfs.NewMem()
	return New(mem, testKey, Options{}), mem
}

func text(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// fataler is a *testing.T, *testing.B or *rapid.T.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes pieces with a sync after each that is followed by nil, closes, and gives the plaintext.
func put(t fataler, fs vfs.FS, name string, pieces ...[]byte) []byte {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	var all []byte
	for _, p := range pieces {
		if p == nil {
			must(t, f.Sync())
			continue
		}
		_, err := f.Write(bytes.Clone(p))
		must(t, err)
		all = append(all, p...)
	}
	must(t, f.Close())
	return all
}

func raw(t fataler, fs vfs.FS, name string) []byte {
	t.Helper()
	b, err := readAll(fs, name)
	must(t, err)
	return b
}

func readAll(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func store(t fataler, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(bytes.Clone(b))
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

type errorer interface {
	Errorf(format string, args ...any)
}

// watchedAEAD fails the test when a nonce seals a second time.
type watchedAEAD struct {
	cipher.AEAD
	t    errorer
	mu   sync.Mutex
	seen map[string]string
}

func (w *watchedAEAD) Seal(dst, nonce, plain, ad []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[string(nonce)]; ok {
		w.t.Errorf("nonce %x seals twice", nonce)
	}
	// Nonces of one offset differ in their kind, but an offset must not come twice either.
	if kind, ok := w.seen["offset"+string(nonce[:8])]; ok {
		w.t.Errorf("offset %x is sealed twice (%s)", nonce[:8], kind)
	}
	w.seen[string(nonce)] = ""
	w.seen["offset"+string(nonce[:8])] = fmt.Sprint(nonce[8])
	return w.AEAD.Seal(dst, nonce, plain, ad)
}

// watch puts a watchedAEAD into a file being written.
func watch(t errorer, f vfs.File) {
	w := f.(*writeFile).w
	var c *fileCipher
	switch w := w.(type) {
	case *fixedWriter:
		c = w.cipher
	case *streamWriter:
		c = w.cipher
	}
	c.aead = &watchedAEAD{AEAD: c.aead, t: t, seen: map[string]string{}}
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
