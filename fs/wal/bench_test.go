package wal

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// benchDir is on a real disk where the temporary directory is in memory: set TMPDIR.
func benchLog(b *testing.B) *Log {
	b.Helper()
	dir := b.TempDir()
	l, err := Open(Options{Dir: dir, Key: testKey, OnClosed: func(c Closed) { _ = os.Remove(c.Path) }})
	must(b, err)
	b.Cleanup(l.Discard)
	return l
}

func BenchmarkAppendBlock64KiB(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, data := range map[string][]byte{"random": randomBytes(r, 64<<10), "text": textBytes(r, 64<<10)} {
		b.Run(name, func(b *testing.B) {
			l := benchLog(b)
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.AppendBlock(Owner{}, data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" parallel", func(b *testing.B) {
			l := benchLog(b)
			b.SetBytes(64 << 10)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := l.AppendBlock(Owner{}, data); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
		// Into memory alone, no disk: the cost of packing and sealing.
		b.Run(name+" seal only", func(b *testing.B) {
			l := benchLog(b)
			l.full = true
			b.SetBytes(64 << 10)
			for b.Loop() {
				if l.open != nil && !l.open.fits(70<<10) {
					l.open.filled = headerBytes // never written anywhere
				}
				if _, err := l.AppendBlock(Owner{}, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendTxn300(b *testing.B) {
	l := benchLog(b)
	data := textBytes(rand.New(rand.NewPCG(1, 1)), 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.AppendTxn(data, false); err != nil {
			b.Fatal(err)
		}
	}
}

// A 4 KiB append and its Sync, beside what a plain file takes for the same.
func BenchmarkSync4KiB(b *testing.B) {
	data := randomBytes(rand.New(rand.NewPCG(1, 1)), 4<<10)
	b.Run("log", func(b *testing.B) {
		l := benchLog(b)
		for b.Loop() {
			a, err := l.AppendBlock(Owner{}, data)
			must(b, err)
			must(b, l.Sync(ctx, Position{a.Segment, a.Offset + a.FrameBytes}))
		}
	})
	b.Run("log 8 callers", func(b *testing.B) {
		l := benchLog(b)
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				a, err := l.AppendBlock(Owner{}, data)
				must(b, err)
				must(b, l.Sync(ctx, Position{a.Segment, a.Offset + a.FrameBytes}))
			}
		})
	})
	b.Run("plain file", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
		must(b, err)
		defer f.Close()
		for b.Loop() {
			_, err := f.Write(data)
			must(b, err)
			must(b, unix.Fdatasync(int(f.Fd())))
		}
	})
	b.Run("plain file 8 callers", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
		must(b, err)
		defer f.Close()
		var off atomic.Int64
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, err := f.WriteAt(data, off.Add(4<<10))
				must(b, err)
				must(b, unix.Fdatasync(int(f.Fd())))
			}
		})
	})
}

func BenchmarkReadBlock64KiB(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, data := range map[string][]byte{"random": randomBytes(r, 64<<10), "text": textBytes(r, 64<<10)} {
		b.Run(name, func(b *testing.B) {
			l := benchLog(b)
			a, err := l.AppendBlock(Owner{}, data)
			must(b, err)
			dst := make([]byte, 0, 64<<10)
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.ReadBlock(dst, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A 16 MiB segment of 64 KiB blocks with a transaction of 300 bytes for each.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(Options{Dir: dir, Key: testKey})
	must(b, err)
	r := rand.New(rand.NewPCG(1, 1))
	block, txn := randomBytes(r, 64<<10), textBytes(r, 300)
	for l.End().Offset < 15<<20 {
		_, err := l.AppendBlock(Owner{}, block)
		must(b, err)
		_, err = l.AppendTxn(txn, false)
		must(b, err)
	}
	must(b, l.Close(ctx))
	file, err := os.ReadFile(Path(dir, 0))
	must(b, err)
	for name, o := range map[string]ScanOptions{"verify": {}, "trust blocks": {TrustBlocks: true}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ScanWith(bytes.NewReader(file), int64(len(file)), &testKey, 0, o, func(Entry) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
