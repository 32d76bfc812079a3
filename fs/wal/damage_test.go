package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenRecords are what testdata/v1/segment.qseg holds.
func goldenRecords() []record {
	r := rand.New(rand.NewPCG(11, 22))
	return []record{
		{kind: KindTxn, data: []byte("a transaction")},
		{KindBlock, Owner{Ino: 0x0102030405060708, FileOffset: 65536}, []byte("a small block")},
		{kind: KindLazyTxn, data: []byte("bookkeeping")},
		{KindBlock, Owner{Ino: 2}, randomBytes(r, 300)},
		{KindBlock, Owner{Ino: 3}, nil},
		{kind: KindTxn, data: randomBytes(r, 600)},
		// From here on what is sealed depends on the version of lz4.
		{KindBlock, Owner{Ino: 4, FileOffset: 1 << 40}, textBytes(r, 700)},
		{kind: KindTxn, data: textBytes(r, 900)},
	}
}

const uncompressedGolden = 6

// goldenLog writes goldenRecords and returns the complete file and where each record ends.
func goldenLog(t testing.TB) (file []byte, ends []uint32) {
	fs := vfs.NewMem()
	o := testOptions(fs, 77)
	o.Next, o.Prev, o.PrevEnd = 5, SegmentID{1, 2, 3}, 4711
	l := mustOpen(t, o)
	for _, rec := range goldenRecords() {
		_, pos, err := rec.put(l)
		must(t, err)
		ends = append(ends, pos.Offset)
	}
	must(t, l.Close(ctx))
	return readFile(t, fs, Path("log", 5)), ends
}

func readGolden(t testing.TB) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", "v1", "segment.qseg"))
	must(t, err)
	return b
}

// A segment of version 1 is read for ever, and still written byte for byte the same.
func TestGolden(t *testing.T) {
	file, ends := goldenLog(t)
	if *update {
		must(t, os.MkdirAll(filepath.Join("testdata", "v1"), 0o755))
		must(t, os.WriteFile(filepath.Join("testdata", "v1", "segment.qseg"), file, 0o644))
	}
	golden := readGolden(t)
	if n := ends[uncompressedGolden-1]; !bytes.Equal(file[:n], golden[:n]) {
		t.Fatal("the same records are written differently")
	}
	var got []record
	res, err := Scan(bytes.NewReader(golden), int64(len(golden)), &testKey, 0, collect(t, golden, &got))
	must(t, err)
	samePrefix(t, "golden", got, goldenRecords(), len(goldenRecords()))
	want := Header{
		ID: res.Header.ID, Epoch: 7, Ordinal: 5, Prev: SegmentID{1, 2, 3}, PrevEnd: 4711,
		CreatedAt: testOptions(nil, 0).Now(),
	}
	if res.Header != want || !res.Complete || int(res.End) != len(golden) || SegmentID(golden[8:24]) != res.Header.ID {
		t.Fatalf("got %+v, want %+v", res, want)
	}
}

// checkDamaged scans a file that is not what was written: it must not pass, and must not show anything else.
func checkDamaged(t *testing.T, what string, file []byte, want []record) ScanResult {
	t.Helper()
	var got []record
	res, err := Scan(bytes.NewReader(file), int64(len(file)), &testKey, 0, func(e Entry) error {
		return collect(t, file, &got)(e)
	})
	if !errors.Is(err, ErrTorn) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
		t.Fatalf("%s: %v", what, err)
	}
	samePrefix(t, what, got, want, 0)
	// Without opening blocks, transactions still are the right ones, none left out.
	txns := slices.DeleteFunc(slices.Clone(want), func(r record) bool { return r.kind == KindBlock })
	var seen []record
	_, err = ScanWith(bytes.NewReader(file), int64(len(file)), &testKey, 0, ScanOptions{TrustBlocks: true}, func(e Entry) error {
		if e.Kind != KindBlock {
			seen = append(seen, record{kind: e.Kind, data: bytes.Clone(e.Payload)})
		}
		return nil
	})
	atLeast := 0
	if err == nil {
		atLeast = len(txns)
	}
	samePrefix(t, what+", trusting blocks", seen, txns, atLeast)
	return res
}

// Every flipped bit of a segment is noticed.
func TestFlips(t *testing.T) {
	file, _ := goldenLog(t)
	for i := range file {
		for bit := range 8 {
			if raceEnabled && bit != i%8 {
				continue // ten times slower, and nothing here is concurrent
			}
			bad := bytes.Clone(file)
			bad[i] ^= 1 << bit
			checkDamaged(t, fmt.Sprintf("bit %d of byte %d", bit, i), bad, goldenRecords())
		}
	}
}

// Every truncation is a torn end at the last whole frame, also with zeros or noise in place of what is gone.
func TestTruncations(t *testing.T) {
	file, ends := goldenLog(t)
	r := rand.New(rand.NewPCG(1, 4))
	for n := range file {
		if raceEnabled && n%5 != 0 {
			continue
		}
		whole := uint32(0)
		if n >= headerBytes {
			whole = headerBytes
		}
		for _, end := range ends {
			if int(end) <= n {
				whole = end
			}
		}
		for tail, bad := range map[string][]byte{
			"nothing": file[:n],
			"zeros":   append(bytes.Clone(file[:n]), make([]byte, len(file)-n+100)...),
			"noise":   append(bytes.Clone(file[:n]), randomBytes(r, len(file)-n+100)...),
		} {
			if bytes.HasPrefix(bad, file) || tail != "nothing" && len(bad) > n && bad[n] == file[n] {
				continue // the byte that should be damaged is the same by chance
			}
			what := fmt.Sprintf("%d bytes and then %s", n, tail)
			if res := checkDamaged(t, what, bad, goldenRecords()); res.End != whole {
				t.Fatalf("%s: ends at %d, want %d", what, res.End, whole)
			}
		}
	}
	for _, tail := range [][]byte{make([]byte, 1000), randomBytes(r, 1000)} {
		long := append(bytes.Clone(file), tail...)
		res, err := Scan(bytes.NewReader(long), int64(len(long)), &testKey, 0, nil)
		if err != nil || !res.Complete || int(res.End) != len(file) {
			t.Fatalf("with %d bytes behind the end frame: %+v, %v", len(tail), res, err)
		}
	}
}

// Frames open only where they were written: not elsewhere in their segment, not in another one.
func TestMovedFrames(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testOptions(fs, 5))
	r := rand.New(rand.NewPCG(1, 4))
	var want []record
	for range 4 { // two segments of two blocks and two transactions, all of one size
		rec := record{KindBlock, Owner{}, randomBytes(r, 100)}
		txn := record{kind: KindTxn, data: randomBytes(r, 100+ownerBytes-prevTxnBytes)}
		_, _, err := rec.put(l)
		must(t, err)
		_, _, err = txn.put(l)
		must(t, err)
		if want = append(want, rec, txn); len(want) == 4 {
			_, err = l.Cut(ctx)
			must(t, err)
		}
	}
	must(t, l.Close(ctx))
	one, two := readFile(t, fs, Path("log", 0)), readFile(t, fs, Path("log", 1))
	const frame = frameOverhead + ownerBytes + 100
	at := func(file []byte, i int) []byte { return file[headerBytes+i*frame:][:frame] }
	for i := range 4 {
		for j := range 4 {
			bad := bytes.Clone(one)
			if i != j {
				copy(at(bad, i), at(one, j))
				copy(at(bad, j), at(one, i))
				checkDamaged(t, fmt.Sprintf("frames %d and %d swapped", i, j), bad, want[:4])
			}
			bad = bytes.Clone(one)
			copy(at(bad, i), at(two, j))
			checkDamaged(t, fmt.Sprintf("frame %d is frame %d of another segment", i, j), bad, want[:4])
		}
		bad := slices.Delete(bytes.Clone(one), headerBytes+i*frame, headerBytes+(i+1)*frame)
		checkDamaged(t, fmt.Sprintf("frame %d left out", i), bad, want[:4])
	}
	bad := append(bytes.Clone(one[:headerBytes]), two[headerBytes:]...)
	checkDamaged(t, "header of another segment", bad, want[:4])

	// Someone who guesses the lengths may make a masked header skip frames: unnoticed by who does not open blocks, but for
	// the chain of transactions.
	forged := bytes.Clone(one)
	length := uint32(ownerBytes + 100)
	skip := uint32(ownerBytes + 100 + 2*frame)
	for i, x := range [3]byte{byte((length ^ skip) >> 16), byte((length ^ skip) >> 8), byte(length ^ skip)} {
		forged[headerBytes+i] ^= x
	}
	for i, x := range [3]byte{byte((100 ^ (100 + 2*frame)) >> 16), byte((100 ^ (100 + 2*frame)) >> 8), byte(100 ^ (100+2*frame)&0xFF)} {
		forged[headerBytes+5+i] ^= x
	}
	n := 0
	_, err := ScanWith(bytes.NewReader(forged), int64(len(forged)), &testKey, 0, ScanOptions{TrustBlocks: true}, func(e Entry) error {
		if n++; e.Kind == KindTxn || e.Addr.FrameBytes != 3*frame {
			t.Fatalf("the forged header was not taken: %+v", e)
		}
		return nil
	})
	if !errors.Is(err, ErrTorn) || n != 1 {
		t.Fatalf("a transaction was left out: %d entries, %v", n, err)
	}

	// Exchanged whole files.
	for _, ordinal := range []uint64{0, 1} {
		f, err := fs.Create(Path("log", ordinal), vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.Write(bytes.Clone([][]byte{two, one}[ordinal]))
		must(t, err)
		must(t, f.Close())
	}
	if got, _, err := replayAll(t, fs, "log"); !errors.Is(err, ErrCorrupt) || len(got) != 0 {
		t.Fatalf("exchanged files gave %d records, %v", len(got), err)
	}
}

func TestOtherKeysAndVersions(t *testing.T) {
	file, _ := goldenLog(t)
	other := testKey
	other[5]++
	if _, err := ReadHeader(bytes.NewReader(file), &other); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	file[7] = 2
	if _, err := ReadHeader(bytes.NewReader(file), &testKey); !errors.Is(err, ErrTooNew) {
		t.Fatal(err)
	}
	if _, err := Scan(bytes.NewReader(file), MaxSegmentBytes+1, &testKey, 0, nil); err == nil {
		t.Fatal("scanned")
	}
}

// What fn and the reader say is passed on, not taken for the log's end.
func TestScanPassesErrorsOn(t *testing.T) {
	file, ends := goldenLog(t)
	stop := errors.New("enough")
	res, err := Scan(bytes.NewReader(file), int64(len(file)), &testKey, 0, func(e Entry) error {
		if e.After.Offset == ends[2] {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || errors.Is(err, ErrTorn) || res.End != ends[1] {
		t.Fatalf("%+v, %v", res, err)
	}
	for ok := range int64(len(file)) {
		_, err := Scan(badReader{bytes.NewReader(file), ok, stop}, int64(len(file)), &testKey, 0, nil)
		if !errors.Is(err, stop) || errors.Is(err, ErrTorn) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("reading fails at %d: %v", ok, err)
		}
	}
	if _, err := Scan(bytes.NewReader(file), int64(len(file)), &testKey, uint32(len(file))+1, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("from behind the end: %v", err)
	}
	res, err = Scan(bytes.NewReader(file), int64(len(file)), &testKey, uint32(len(file)), nil)
	if err != nil || !res.Complete {
		t.Fatalf("from the end: %+v, %v", res, err)
	}
}

// badReader fails for what lies at or behind byte ok.
type badReader struct {
	*bytes.Reader
	ok  int64
	err error
}

func (r badReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.ok {
		return 0, r.err
	}
	return r.Reader.ReadAt(p, off)
}
