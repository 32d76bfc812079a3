package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/zdb"
)

type sample struct {
	header  Header
	nextID  uint64
	records []Record
}

var samples = map[string]sample{
	"user": {Header{UnixTime: 1700000000, Namespace: "home"}, 0, []Record{
		{[]byte("alpha"), []byte("one"), 1600000000},
		{[]byte{0, 0xff}, nil, -1},
		{bytes.Repeat([]byte("k"), 255), bytes.Repeat([]byte("value "), 100), 1 << 40},
		{[]byte("alpha"), []byte("again"), 1600000001},
	}},
	"sequential": {Header{Sequential: true, UnixTime: 1700000000, Namespace: "ids \xff"}, 9, []Record{
		{idKey(0), []byte("zero"), 1600000000},
		{idKey(3), nil, 1600000003},
		{idKey(7), []byte("seven"), 1600000007},
	}},
	"empty": {Header{}, 0, nil},
}

func (s *sample) encode(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, s.header)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	w.NextID = s.nextID
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(b []byte) (s sample, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return s, err
	}
	s.header = r.Header
	for {
		rec, err := r.Next()
		if err == io.EOF {
			s.nextID = r.NextID
			return s, nil
		}
		if err != nil {
			return s, err
		}
		s.records = append(s.records, rec)
	}
}

// The files in testdata are never made anew: those of version 1 have to open for ever.
func TestGolden(t *testing.T) {
	for name, want := range samples {
		b, err := os.ReadFile(filepath.Join("testdata", "v1", name+".qzdt"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range want.records {
			if want.records[i].Value == nil {
				want.records[i].Value = []byte{}
			}
		}
		if diff := cmp.Diff(got, want, cmp.AllowUnexported(sample{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !bytes.Equal(want.encode(t), b) {
			t.Errorf("%s: what is written now differs from version 1", name)
		}
	}
}

// A stream that is cut anywhere, or has any byte changed, is never taken for whole.
func TestDamage(t *testing.T) {
	for name, s := range samples {
		b := s.encode(t)
		for n := range b {
			if _, err := decode(b[:n]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
			for _, bit := range []byte{1, 0x80} {
				bad := bytes.Clone(b)
				bad[n] ^= bit
				if _, err := decode(bad); !errors.Is(err, ErrDamaged) && !errors.Is(err, zdb.ErrTooNew) {
					t.Fatalf("%s with byte %d changed: %v", name, n, err)
				}
			}
		}
		if _, err := decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a byte behind: %v", name, err)
		}
	}
	// Whole records of one stream in another, with an end that is whole as well.
	user := samples["user"]
	whole := user.encode(t)
	user.records = user.records[1:]
	less := user.encode(t)
	mixed := append(bytes.Clone(less[:len(less)-endBytes]), whole[len(whole)-endBytes:]...)
	if _, err := decode(mixed); !errors.Is(err, ErrDamaged) {
		t.Errorf("a record is missing: %v", err)
	}
	newer := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(newer[4:], 2)
	if _, err := decode(newer); !errors.Is(err, zdb.ErrTooNew) {
		t.Errorf("a newer version: %v", err)
	}
}

// What the format has no place for is refused when it is written.
func TestWriterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		header  Header
		nextID  uint64
		records []Record
	}{
		"no key":           {Header{}, 0, []Record{{}}},
		"long key":         {Header{}, 0, []Record{{Key: make([]byte, 256)}}},
		"long value":       {Header{}, 0, []Record{{Key: []byte("k"), Value: make([]byte, zdb.MaxValueBytes+1)}}},
		"short id":         {Header{Sequential: true}, 9, []Record{{Key: []byte("k")}}},
		"ids go back":      {Header{Sequential: true}, 9, []Record{{Key: idKey(2)}, {Key: idKey(1)}}},
		"id twice":         {Header{Sequential: true}, 9, []Record{{Key: idKey(2)}, {Key: idKey(2)}}},
		"next id too low":  {Header{Sequential: true}, 2, []Record{{Key: idKey(2)}}},
		"next id, no mode": {Header{}, 1, nil},
		"long name":        {Header{Namespace: strings.Repeat("n", 129)}, 0, nil},
	} {
		w, err := NewWriter(io.Discard, c.header)
		for _, r := range c.records {
			if err == nil {
				err = w.Write(r)
			}
		}
		if err == nil {
			w.NextID = c.nextID
			err = w.Close()
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzStream(f *testing.F) {
	for _, s := range samples {
		f.Add(s.encode(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, zdb.ErrTooNew) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		if !bytes.Equal(s.encode(t), b) {
			t.Fatalf("not canonical: %x", b)
		}
	})
}
