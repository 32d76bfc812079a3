package workload

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// clock goes on by a second each time it is asked, so a workload that asks twice took one second.
func clock() func() time.Time {
	at := time.Unix(0, 0)
	return func() time.Time {
		at = at.Add(time.Second)
		return at
	}
}

func all(t *testing.T, s Settings) map[string]Workload {
	t.Helper()
	list, err := All(s)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Workload{}
	for _, w := range list {
		byName[w.Name] = w
	}
	return byName
}

// Each workload does what it says, twice in a row, and leaves only the file to read.
func TestRun(t *testing.T) {
	for _, data := range []Data{Random, Text} {
		dropped := 0
		list := all(t, Settings{SizeMiB: 2, Files: 1200, Fsyncs: 3, Data: data, Now: clock(), DropCaches: func() error { dropped++; return nil }})
		dir := t.TempDir()
		for name, want := range map[string]float64{"write-fsync": 2, "read": 2, "write": 2, "create": 1200, "fsync": 3} {
			for range 2 {
				if err := list[name].Prepare(context.Background(), dir); err != nil {
					t.Fatal(err)
				}
				sample, err := list[name].Run(context.Background(), dir)
				if err != nil {
					t.Fatal(err)
				}
				if sample.Units != want || sample.PerSecond() != want {
					t.Errorf("%s: %+v, want %v in a second", name, sample, want)
				}
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != "large-read" {
			t.Errorf("left %v %v", entries, err)
		}
		if dropped != 2 {
			t.Errorf("caches dropped %d times", dropped)
		}
	}
}

func TestReadFindsWrongBytes(t *testing.T) {
	damage := map[string]func(path string) error{
		"short": func(path string) error { return os.Truncate(path, 100) },
		"flipped": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[5000] ^= 1
			return os.WriteFile(path, b, 0o600)
		},
	}
	for what, change := range damage {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			read := all(t, Settings{SizeMiB: 1, Files: 1, Fsyncs: 1, Data: Random})["read"]
			if _, err := read.Run(context.Background(), dir); err == nil {
				t.Error("read what was not prepared")
			}
			if err := read.Prepare(context.Background(), dir); err != nil {
				t.Fatal(err)
			}
			if _, err := read.Run(context.Background(), dir); err != nil {
				t.Fatal(err)
			}
			if err := change(filepath.Join(dir, "large-read")); err != nil {
				t.Fatal(err)
			}
			if _, err := read.Run(context.Background(), dir); !errors.Is(err, ErrWrongBytes) {
				t.Error(err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, w := range all(t, Settings{SizeMiB: 1, Files: 1, Fsyncs: 1, Data: Random}) {
		dir := t.TempDir()
		err := w.Prepare(ctx, dir)
		if err == nil {
			_, err = w.Run(ctx, dir)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, s := range []Settings{{}, {SizeMiB: 1, Files: 1, Fsyncs: 1, Data: "mp3"}, {SizeMiB: 1, Files: -1, Fsyncs: 1, Data: Text}} {
		if _, err := All(s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
}

// Random data does not compress, text does to less than 70 percent, and neither repeats a block.
func TestData(t *testing.T) {
	for data, want := range map[Data][2]float64{Random: {0.99, 1.1}, Text: {0.2, 0.7}} {
		s, err := newSource(data, 1)
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		w, _ := flate.NewWriter(&packed, flate.BestSpeed)
		w.Write(bytes.Clone(s.next(1 << 20)))
		w.Close()
		if ratio := float64(packed.Len()) / (1 << 20); ratio < want[0] || ratio > want[1] {
			t.Errorf("%s: compresses to %.2f", data, ratio)
		}
		seen := map[string]bool{}
		for range 5000 { // more than the pool
			block := string(s.next(smallBytes))
			if seen[block] {
				t.Fatalf("%s: a block comes twice", data)
			}
			seen[block] = true
		}
	}
}
