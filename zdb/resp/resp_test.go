package resp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/qsfs/qsfs/zdb"
)

type source struct{ io.Reader }

func (source) SetReadDeadline(time.Time) error { return nil }

func newReader(r io.Reader) *Reader {
	return NewReader(source{r}, ReaderOptions{Budget: NewBudget(0)})
}

func encode(args ...string) string {
	b := AppendArray(nil, len(args))
	for _, a := range args {
		b = AppendBulk(b, a)
	}
	return string(b)
}

// Requests come out as they went in, however the bytes arrive.
func TestRequests(t *testing.T) {
	long := strings.Repeat("v", 300<<10)
	want := [][]string{{"PING"}, {"SET", "key", long}, {"SET", "k", ""}, append([]string{"MGET"}, strings.Split(strings.Repeat("key,", 1022)+"k", ",")...),
		{"SET", strings.Repeat("k", 255), strings.Repeat("x", zdb.MaxValueBytes)}}
	var in strings.Builder
	for _, w := range want {
		in.WriteString(encode(w...))
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"at once":    func(r io.Reader) io.Reader { return r },
		"halves":     iotest.HalfReader,
		"with error": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(wrap(strings.NewReader(in.String())))
			for _, w := range want {
				req, err := r.Next(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, a := range req.Args {
					got = append(got, string(a))
				}
				req.Release()
				if diff := cmp.Diff(got, w); diff != "" {
					t.Fatal(diff)
				}
			}
			if _, err := r.Next(context.Background()); err != io.EOF {
				t.Fatalf("got %v at the end", err)
			}
		})
	}
}

// Each malformed request has its text.
func TestMalformed(t *testing.T) {
	many := "*1025\r\n" + strings.Repeat("$1\r\nx\r\n", 1025)
	big := strings.Repeat("x", 5<<20)
	for _, c := range []struct{ name, in, want string }{
		{"inline", "PING\r\n", zdb.TextMalformedRequest},
		{"no argument", "*0\r\n", zdb.TextMissingArguments},
		{"negative count", "*-1\r\n", zdb.TextInternalMemory},
		{"too many", many, zdb.TextTooManyArguments},
		{"huge count", "*99999999999\r\n", zdb.TextTooManyArguments},
		{"count overflow", "*99999999999999999999\r\n", zdb.TextMalformedQuery},
		{"no number", "*x\r\n", zdb.TextMalformedQuery},
		{"empty number", "*\r\n", zdb.TextMalformedQuery},
		{"only minus", "*-\r\n", zdb.TextMalformedQuery},
		{"bare newline", "*1\n$4\nPING\n", zdb.TextMalformedQuery},
		{"endless line", "*" + strings.Repeat("0", 100), zdb.TextMalformedQuery},
		{"integer argument", "*1\r\n:1\r\n", zdb.TextMalformedQuery},
		{"nil argument", "*2\r\n$3\r\nGET\r\n$-1\r\n", zdb.TextMalformedQuery},
		{"too long", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n", zdb.TextPayloadTooBig},
		{"too long together", encode("SET", big, big), zdb.TextPayloadTooBig},
		{"no end", "*1\r\n$4\r\nPINGxx", zdb.TextMalformedQuery},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newReader(strings.NewReader(c.in)).Next(context.Background())
			var p *ProtocolError
			if !errors.As(err, &p) || p.Text != c.want {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, in := range []string{"*", "*1\r\n", "*1\r\n$4\r\nPI", "*1\r\n$4\r\nPING\r"} {
		if _, err := newReader(strings.NewReader(in)).Next(context.Background()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q: %v", in, err)
		}
	}
}

// A reader with a limit of its own takes a request up to it.
func TestMaxBytes(t *testing.T) {
	for _, c := range []struct {
		value int
		good  bool
	}{{96, true}, {97, false}, {8 << 20, false}} {
		r := NewReader(source{strings.NewReader(encode("SET", "k", strings.Repeat("v", c.value)))}, ReaderOptions{Budget: NewBudget(0), MaxBytes: 100})
		req, err := r.Next(context.Background())
		req.Release()
		var p *ProtocolError
		if c.good != (err == nil) || !c.good && (!errors.As(err, &p) || p.Text != zdb.TextPayloadTooBig) {
			t.Errorf("%d: %v", c.value, err)
		}
	}
}

// A request waits for the budget, and gives it back.
func TestBudget(t *testing.T) {
	b := NewBudget(0)
	ctx, cancel := context.WithCancel(context.Background())
	one, err := b.Get(ctx, MaxRequestBytes)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Get(ctx, MaxRequestBytes)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	r := NewReader(source{strings.NewReader(encode("SET", "k", strings.Repeat("v", 1000)))}, ReaderOptions{Budget: b})
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v beyond the budget", err)
	}
	one.Release()
	two.Release()
	two.Release() // once more is nothing
	for range 10 {
		x, err := b.Get(context.Background(), MaxRequestBytes)
		if err != nil {
			t.Fatal(err)
		}
		x.Release()
	}
}

func FuzzReader(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1", "requests"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newReader(bytes.NewReader(in))
		var out []byte
		for {
			req, err := r.Next(context.Background())
			if err != nil {
				var p *ProtocolError
				if !errors.As(err, &p) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			out = AppendArray(out, len(req.Args))
			for _, a := range req.Args {
				out = AppendBulk(out, a)
			}
			req.Release()
		}
		again := newReader(bytes.NewReader(out))
		for {
			req, err := again.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("what we write we can't read: %v", err)
			}
			req.Release()
		}
	})
}
