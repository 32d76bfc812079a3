package superblock

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/fs/envelope"
	"github.com/qsfs/qsfs/identity/keys"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenFile = "testdata/v1/superblock"

func testKeys(t testing.TB, first byte) *keys.Volume {
	t.Helper()
	root := keys.Root{0: first, 63: 1}
	k, err := keys.DeriveVolume(&root)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func golden(k *keys.Volume) *Superblock {
	at := time.Date(2026, 11, 20, 12, 0, 0, 5, time.UTC)
	return &Superblock{
		VolumeID: k.ID[:], Name: "home", Epoch: 7, Generation: 42, WriterID: []byte("0123456789abcdef"), Writer: "host (process 42)",
		CreatedAt: at, WrittenAt: at.Add(time.Hour), Data: 4, Parity: 2, ShardBytes: 512 << 10,
		Nodes:    []Node{{ID: 0, URL: "zdb://a:9900/ns", Group: "farm1", Password: "secret"}, {ID: 9, URL: "dir:///b"}},
		Manifest: []byte("a layout"), ReplaySegment: 11, ReplayOffset: 80,
		Tail:        []Segment{{Ordinal: 11, Epoch: 6, Record: []byte("a record")}, {Ordinal: 12, Epoch: 7}},
		NextOrdinal: 13, UsedBytes: 1 << 40, Inodes: 12345,
	}
}

type constant byte

func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

func mustSeal(t testing.TB, s *Superblock, k *keys.Volume) []byte {
	t.Helper()
	b, err := Seal(s, k, constant(5))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What version 1 wrote opens, with every field, and is written still.
func TestGolden(t *testing.T) {
	k := testKeys(t, 1)
	want := golden(k)
	if *update {
		if err := os.WriteFile(goldenFile, mustSeal(t, want, k), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"stored": stored, "written now": mustSeal(t, want, k)} {
		got, err := Open(value, want.Slot(), k)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if !bytes.Equal(value, stored) {
			t.Errorf("%s: other bytes than before", name)
		}
	}
	if got := fmt.Sprintf("%x", Name(&k.Superblock, 3)); *update {
		if err := os.WriteFile(goldenFile+"-name-of-slot-3", []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if b, err := os.ReadFile(goldenFile + "-name-of-slot-3"); err != nil || string(b) != got+"\n" {
		t.Errorf("the name of slot 3 is %s, was %s (%v)", got, b, err)
	}
}

// Another slot, another volume's key, a later or earlier superblock of the same
// slot and any changed byte do not open.
func TestRefused(t *testing.T) {
	k := testKeys(t, 1)
	s := golden(k)
	value := mustSeal(t, s, k)
	for slot := range Slots {
		if slot == s.Slot() {
			continue
		}
		if _, err := Open(value, slot, k); !errors.Is(err, ErrCorrupt) {
			t.Errorf("in slot %d: %v", slot, err)
		}
	}
	if _, err := Open(value, s.Slot(), testKeys(t, 2)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another key: %v", err)
	}
	// One byte in each part, and a few more on the way: each needs an AEAD pass only.
	for i := 0; i < len(value); i += 1 + len(value)/4000 {
		bad := bytes.Clone(value)
		bad[i] ^= 0x10
		if _, err := Open(bad, s.Slot(), k); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, envelope.Overhead, envelope.Overhead + headBytes, len(value) - 1} {
		if _, err := Open(value[:n], s.Slot(), k); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := Open(append(bytes.Clone(value), 0), s.Slot(), k); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := Open(make([]byte, maxValueBytes+1), s.Slot(), k); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too long: %v", err)
	}
}

// Who has the symmetric key alone, or has broken one of the two signatures,
// can't make a superblock.
func TestForged(t *testing.T) {
	k, other := testKeys(t, 1), testKeys(t, 2)
	s := golden(k)
	good := plainOf(t, s, k)
	theirs := plainOf(t, s, &keys.Volume{ID: k.ID, Superblock: k.Superblock, Signer: other.Signer})
	if len(theirs) != len(good) {
		t.Fatal("signatures differ in length")
	}
	sigAt := len(good) - int(binary.LittleEndian.Uint32(good[10:]))
	const halfHeadRoom = 8 + 64 // Ed25519 and what stands before it, see package sign
	for _, c := range []struct {
		name  string
		plain func() []byte
		want  error
	}{
		{"good", func() []byte { return good }, nil},
		{"another signer", func() []byte { return theirs }, ErrCorrupt},
		{"first half forged", func() []byte {
			return append(append(bytes.Clone(good[:sigAt]), theirs[sigAt:sigAt+halfHeadRoom]...), good[sigAt+halfHeadRoom:]...)
		}, ErrCorrupt},
		{"second half forged", func() []byte {
			return append(bytes.Clone(good[:sigAt+halfHeadRoom]), theirs[sigAt+halfHeadRoom:]...)
		}, ErrCorrupt},
		{"no signature", func() []byte {
			b := bytes.Clone(good[:sigAt])
			binary.LittleEndian.PutUint32(b[10:], 0)
			return b
		}, ErrCorrupt},
		{"body changed", func() []byte {
			b := bytes.Clone(good)
			b[headBytes+20] ^= 1
			return b
		}, ErrCorrupt},
		{"signed by ours for another purpose", func() []byte {
			body := good[:sigAt]
			sig, err := k.Signer.Sign("another", append(bytes.Clone(body[:10]), body[headBytes:]...))
			if err != nil {
				t.Fatal(err)
			}
			return append(bytes.Clone(body), sig...)
		}, ErrCorrupt},
		{"body longer than said", func() []byte { return append(bytes.Clone(good), 0) }, ErrCorrupt},
		{"huge lengths", func() []byte {
			b := bytes.Clone(good)
			binary.LittleEndian.PutUint32(b[6:], 0xffffffff)
			binary.LittleEndian.PutUint32(b[10:], 0xffffffff)
			return b
		}, ErrCorrupt},
		{"magic", func() []byte { b := bytes.Clone(good); b[0]++; return b }, ErrCorrupt},
		{"version 0", func() []byte { b := bytes.Clone(good); b[4] = 0; return b }, ErrCorrupt},
		{"version 2", func() []byte { b := bytes.Clone(good); b[4] = 2; return b }, ErrTooNew},
		{"version 2 of another shape", func() []byte { return append([]byte("QSUP\x02\x00"), make([]byte, headBytes)...) }, ErrTooNew},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := decode(c.plain(), s.Slot(), k); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	// Signed and sealed by us, for another volume.
	alien := *s
	alien.VolumeID = other.ID[:]
	if _, err := Open(mustSeal(t, &alien, k), s.Slot(), k); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another volume's: %v", err)
	}
}

// plainOf is the plaintext of a sealed superblock.
func plainOf(t testing.TB, s *Superblock, k *keys.Volume) []byte {
	t.Helper()
	value := mustSeal(t, s, k)
	plain, err := envelope.Open(&k.Superblock, valueLabel, Name(&k.Superblock, s.Slot()), value)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// An older generation that is played back in its own slot opens, and is told
// from the newest by its number.
func TestNewer(t *testing.T) {
	at := func(epoch uint32, generation uint64) *Superblock {
		return &Superblock{Epoch: epoch, Generation: generation}
	}
	for _, c := range []struct {
		a, b *Superblock
		want bool
	}{
		{at(1, 1), nil, true}, {nil, at(1, 1), false}, {nil, nil, false},
		{at(1, 2), at(1, 1), true}, {at(1, 1), at(1, 2), false}, {at(1, 1), at(1, 1), false},
		{at(2, 1), at(1, 9), true}, {at(1, 9), at(2, 1), false},
	} {
		if got := c.a.Newer(c.b); got != c.want {
			t.Errorf("%+v newer than %+v: %v", c.a, c.b, got)
		}
	}
}

// The last four generations of the last four writers have slots of their own.
func TestSlots(t *testing.T) {
	seen := map[int]bool{}
	for epoch := range uint32(epochSlots) {
		for generation := range uint64(generationSlots) {
			s := Superblock{Epoch: 100 + epoch, Generation: 7 + generation}
			if slot := s.Slot(); slot < 0 || slot >= Slots || seen[slot] {
				t.Errorf("epoch %d, generation %d: slot %d", s.Epoch, s.Generation, slot)
			} else {
				seen[slot] = true
			}
		}
	}
	k := testKeys(t, 1)
	names := map[string]bool{}
	for slot := range Slots {
		name := Name(&k.Superblock, slot)
		if len(name) != 32 || names[string(name)] {
			t.Errorf("slot %d has the name %x", slot, name)
		}
		names[string(name)] = true
	}
}

func TestLimits(t *testing.T) {
	k := testKeys(t, 1)
	s := golden(k)
	s.Manifest = make([]byte, maxBodyBytes)
	if _, err := Seal(s, k, constant(1)); err == nil {
		t.Error("a body above the limit was sealed")
	}
	s.Manifest = make([]byte, maxBodyBytes/4*3-3<<10)
	value := mustSeal(t, s, k)
	if len(value) > 8<<20 {
		t.Errorf("%d bytes do not fit into a node's value", len(value))
	}
	if _, err := Open(value, s.Slot(), k); err != nil {
		t.Errorf("the largest: %v", err)
	}
	if _, err := Seal(golden(k), k, strings.NewReader("few")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without random bytes: %v", err)
	}
}

// Nothing of a superblock is seen from outside.
func TestSealed(t *testing.T) {
	k := testKeys(t, 1)
	value := mustSeal(t, golden(k), k)
	for _, s := range []string{"home", "zdb://", "secret", "host", "volume_id", "QSUP", string(k.ID[:])} {
		if bytes.Contains(value, []byte(s)) {
			t.Errorf("a stored superblock shows %q", s)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := testKeys(f, 1)
	s := golden(k)
	value, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value, uint8(s.Slot()))
	f.Add(value[:100], uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, slot uint8) {
		_, err := Open(b, int(slot), k)
		if err == nil && (!bytes.Equal(b, value) || int(slot) != s.Slot()) {
			t.Errorf("forged: %x", b)
		} else if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("not our error: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	k := testKeys(f, 1)
	s := golden(k)
	plain := plainOf(f, s, k)
	f.Add(plain)
	f.Add([]byte("QSUP\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(b, s.Slot(), k)
		switch {
		case err == nil && !bytes.Equal(b, plain):
			t.Errorf("forged: %x", b)
		case err == nil:
			if j, _ := json.Marshal(got); !bytes.Equal(j, b[headBytes:headBytes+len(j)]) {
				t.Errorf("not canonical: %s", j)
			}
		case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew):
			t.Errorf("not our error: %v", err)
		}
	})
}
