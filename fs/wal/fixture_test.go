package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	testKey = [32]byte{0: 1, 7: 2, 31: 3}
	ctx     = context.Background()
)

// record is a frame as a test gave it to the log.
type record struct {
	kind  Kind
	owner Owner
	data  []byte
}

func (r record) equal(q record) bool {
	return r.kind == q.kind && r.owner == q.owner && bytes.Equal(r.data, q.data)
}

func (r record) String() string { return fmt.Sprintf("%v %v, %d bytes", r.kind, r.owner, len(r.data)) }

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

func textBytes(r *rand.Rand, n int) []byte {
	words := []string{"volume ", "segment ", "of ", "the ", "log ", "stripe\n", "quantum ", "seldom ", "frame "}
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.Bytes()[:n]
}

// randomRecord makes a frame of up to about maxBytes, compressible or not.
func randomRecord(r *rand.Rand, maxBytes int) record {
	n := r.IntN(maxBytes)
	var rec record
	if rec.data = randomBytes(r, n); r.IntN(2) == 0 {
		rec.data = textBytes(r, n)
	}
	switch r.IntN(4) {
	case 0:
		rec.kind = KindTxn
	case 1:
		rec.kind = KindLazyTxn
	default:
		rec.kind, rec.owner = KindBlock, Owner{r.Uint64(), r.Uint64()}
	}
	return rec
}

// put appends the record and returns its address, if it is a block, and the position behind it.
func (r record) put(l *Log) (Addr, Position, error) {
	if r.kind == KindBlock {
		a, err := l.AppendBlock(r.owner, r.data)
		return a, Position{a.Segment, a.Offset + a.FrameBytes}, err
	}
	pos, err := l.AppendTxn(r.data, r.kind == KindLazyTxn)
	return Addr{}, pos, err
}

func testOptions(fs vfs.FS, seed uint64) Options {
	return Options{
		FS: fs, Dir: "log", Key: testKey, Epoch: 7, SegmentBytes: 8 << 10,
		Rand: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}),
		Now:  func() time.Time { return time.Unix(1_800_000_000, 123).UTC() },
	}
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Discard)
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return b
}

// collect turns entries back into records; blocks are opened from the file's bytes.
func collect(t testing.TB, file []byte, into *[]record) func(Entry) error {
	h, err := ReadHeader(bytes.NewReader(file), &testKey)
	must(t, err)
	c, err := NewCipher(&testKey, h.ID)
	must(t, err)
	return func(e Entry) error {
		if e.Addr.Offset+e.Addr.FrameBytes != e.After.Offset || e.Addr.Segment != e.After.Segment {
			t.Fatalf("entry at %v ends at %v", e.Addr, e.After)
		}
		if e.Kind != KindBlock {
			*into = append(*into, record{kind: e.Kind, data: bytes.Clone(e.Payload)})
			return nil
		}
		data, owner, err := c.OpenBlockOwner(nil, e.Addr, file[e.Addr.Offset:e.After.Offset])
		must(t, err)
		*into = append(*into, record{KindBlock, owner, data})
		return nil
	}
}

// replayAll reads the whole log in dir as records.
func replayAll(t testing.TB, fs vfs.FS, dir string) ([]record, Recovered, error) {
	t.Helper()
	var got []record
	perSegment := map[uint64]func(Entry) error{}
	found, err := Replay(fs, dir, &testKey, Position{}, func(e Entry) error {
		fn := perSegment[e.Addr.Segment]
		if fn == nil {
			fn = collect(t, readFile(t, fs, Path(dir, e.Addr.Segment)), &got)
			perSegment[e.Addr.Segment] = fn
		}
		return fn(e)
	})
	return got, found, err
}

// samePrefix fails unless got is a prefix of want, at least atLeast long.
func samePrefix(t testing.TB, what string, got, want []record, atLeast int) {
	t.Helper()
	if len(got) < atLeast {
		t.Fatalf("%s: %d records, %d were synced", what, len(got), atLeast)
	}
	if len(got) > len(want) {
		t.Fatalf("%s: %d records, only %d were appended", what, len(got), len(want))
	}
	for i := range got {
		if !got[i].equal(want[i]) {
			t.Fatalf("%s: record %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}
