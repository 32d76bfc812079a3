// Package workload does to a directory what people do to a file system, and measures
// how fast it went. It knows directories only, not what is behind them.
//
// A workload leaves out of its time what prepares it and what takes its files away.
// Data never repeats, so that no target gains by recognising it.
package workload

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	pieceBytes = 1 << 20 // of sequential writes and reads
	smallBytes = 4 << 10
	perFolder  = 1000 // small files in one folder
)

// ErrWrongBytes means that a file did not read back as it was written.
var ErrWrongBytes = errors.New("read back other bytes than were written")

// Settings say how much is done.
type Settings struct {
	SizeMiB int // of the large file
	Files   int // small files
	Fsyncs  int // small writes with fsync
	Data    Data
	Seed    uint64

	// DropCaches empties the kernel's page cache before a read; nil leaves it.
	DropCaches func() error
	Now        func() time.Time // nil means time.Now
}

// Sample is one measurement: so many units in so much time.
type Sample struct {
	Units   float64
	Elapsed time.Duration
}

// PerSecond is the rate.
func (s Sample) PerSecond() float64 { return s.Units / max(s.Elapsed.Seconds(), 1e-9) }

// Workload is one thing done and measured.
type Workload struct {
	Name string // for reports and flags
	Unit string // of the rate
	Text string // what is done, in words

	prepare func(ctx context.Context, dir string) error
	run     func(ctx context.Context, dir string) (Sample, error)
}

// Prepare makes what the workload needs in dir. What it stirs up should settle before Run.
func (w Workload) Prepare(ctx context.Context, dir string) error {
	if w.prepare == nil {
		return nil
	}
	if err := w.prepare(ctx, dir); err != nil {
		return fmt.Errorf("prepare workload %s: %w", w.Name, err)
	}
	return nil
}

// Run does the workload in dir, which was prepared. Only the file to read stays there, for the next round.
func (w Workload) Run(ctx context.Context, dir string) (Sample, error) {
	sample, err := w.run(ctx, dir)
	if err != nil {
		return Sample{}, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	return sample, nil
}

// runner is what the workloads of one run share.
type runner struct {
	s      Settings
	source *source
	sums   map[string]uint32 // checksums of the large files, by path
}

// All gives the workloads in the order in which a round does them.
func All(s Settings) ([]Workload, error) {
	if s.SizeMiB < 1 || s.Files < 1 || s.Fsyncs < 1 {
		return nil, errors.New("size, files and fsyncs must be at least 1")
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	source, err := newSource(s.Data, s.Seed)
	if err != nil {
		return nil, err
	}
	r := &runner{s: s, source: source, sums: map[string]uint32{}}
	cold := "page cache dropped before"
	if s.DropCaches == nil {
		cold = "page cache as it is"
	}
	return []Workload{
		{"write-fsync", "MiB/s", fmt.Sprintf("write %d MiB in pieces of 1 MiB, then fsync and close", s.SizeMiB), nil, r.writeFsync},
		{"read", "MiB/s", fmt.Sprintf("read %d MiB written before, %s", s.SizeMiB, cold), r.prepareRead, r.read},
		{"write", "MiB/s", fmt.Sprintf("write %d MiB in pieces of 1 MiB, then close", s.SizeMiB), nil, r.write},
		{"create", "files/s", fmt.Sprintf("create, write and close %d files of 4 KiB, %d in a folder", s.Files, perFolder), nil, r.create},
		{"fsync", "ops/s", fmt.Sprintf("append 4 KiB and fsync, %d times", s.Fsyncs), nil, r.fsync},
	}, nil
}

func (r *runner) writeFsync(ctx context.Context, dir string) (Sample, error) {
	return r.writeLarge(ctx, dir, true)
}

func (r *runner) write(ctx context.Context, dir string) (Sample, error) {
	return r.writeLarge(ctx, dir, false)
}

func (r *runner) writeLarge(ctx context.Context, dir string, fsync bool) (sample Sample, err error) {
	path := filepath.Join(dir, "large")
	defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	start := r.s.Now()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Sample{}, err
	}
	for range r.s.SizeMiB {
		if err = ctx.Err(); err != nil {
			break
		}
		if _, err = f.Write(r.source.next(pieceBytes)); err != nil {
			break
		}
	}
	if err == nil && fsync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return Sample{}, err
	}
	return Sample{Units: float64(r.s.SizeMiB), Elapsed: r.s.Now().Sub(start)}, nil
}

func readPath(dir string) string { return filepath.Join(dir, "large-read") }

// prepareRead writes the file to read, once in each directory.
func (r *runner) prepareRead(ctx context.Context, dir string) error {
	if _, ok := r.sums[dir]; ok {
		return nil
	}
	sum, err := r.writeKnown(ctx, readPath(dir))
	if err != nil {
		return err
	}
	r.sums[dir] = sum
	return nil
}

// read reads the prepared file, and then checks its bytes, untimed: a target that is
// fast and wrong must not win.
func (r *runner) read(ctx context.Context, dir string) (Sample, error) {
	path := readPath(dir)
	want, ok := r.sums[dir]
	if !ok {
		return Sample{}, errors.New("not prepared")
	}
	if r.s.DropCaches != nil {
		if err := r.s.DropCaches(); err != nil {
			return Sample{}, err
		}
	}
	start := r.s.Now()
	f, err := os.Open(path)
	if err != nil {
		return Sample{}, err
	}
	piece := make([]byte, pieceBytes)
	var total int64
	for {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = f.Read(piece)
		total += int64(n)
		if err != nil {
			break
		}
	}
	if err == io.EOF {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return Sample{}, err
	}
	elapsed := r.s.Now().Sub(start)
	if total != int64(r.s.SizeMiB)<<20 {
		return Sample{}, fmt.Errorf("%w: %d bytes of %d", ErrWrongBytes, total, int64(r.s.SizeMiB)<<20)
	}
	if err := r.verify(ctx, path, want); err != nil {
		return Sample{}, err
	}
	return Sample{Units: float64(r.s.SizeMiB), Elapsed: elapsed}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeKnown writes the large file anew and gives its checksum.
func (r *runner) writeKnown(ctx context.Context, path string) (uint32, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	sum := crc32.New(castagnoli)
	w := io.MultiWriter(f, sum)
	for range r.s.SizeMiB {
		if err = ctx.Err(); err != nil {
			break
		}
		if _, err = w.Write(r.source.next(pieceBytes)); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return sum.Sum32(), errors.Join(err, f.Close())
}

func (r *runner) verify(ctx context.Context, path string, want uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, readerOf(ctx, f), make([]byte, pieceBytes)); err != nil {
		return err
	}
	if sum.Sum32() != want {
		return fmt.Errorf("%w: checksum of %s", ErrWrongBytes, filepath.Base(path))
	}
	return nil
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func readerOf(ctx context.Context, r io.Reader) io.Reader { return ctxReader{ctx, r} }

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (r *runner) create(ctx context.Context, dir string) (sample Sample, err error) {
	root := filepath.Join(dir, "small")
	if err := os.RemoveAll(root); err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	start := r.s.Now()
	folder := ""
	for i := range r.s.Files {
		if err := ctx.Err(); err != nil {
			return Sample{}, err
		}
		if i%perFolder == 0 {
			folder = filepath.Join(root, strconv.Itoa(i/perFolder))
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return Sample{}, err
			}
		}
		if err := os.WriteFile(filepath.Join(folder, "file-"+strconv.Itoa(i)), r.source.next(smallBytes), 0o600); err != nil {
			return Sample{}, err
		}
	}
	return Sample{Units: float64(r.s.Files), Elapsed: r.s.Now().Sub(start)}, nil
}

func (r *runner) fsync(ctx context.Context, dir string) (sample Sample, err error) {
	path := filepath.Join(dir, "fsync")
	defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	f, err := os.Create(path)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	start := r.s.Now()
	for range r.s.Fsyncs {
		if err := ctx.Err(); err != nil {
			return Sample{}, err
		}
		if _, err := f.Write(r.source.next(smallBytes)); err != nil {
			return Sample{}, err
		}
		if err := f.Sync(); err != nil {
			return Sample{}, err
		}
	}
	return Sample{Units: float64(r.s.Fsyncs), Elapsed: r.s.Now().Sub(start)}, nil
}
