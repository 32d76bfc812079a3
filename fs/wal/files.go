package wal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentSuffix = ".qseg"
	// cutSuffix marks a copy of a torn segment that was not finished.
	cutSuffix = ".cut"
)

// Path is the name of the segment file with this ordinal: 16 hexadecimal digits and ".qseg".
func Path(dir string, ordinal uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", ordinal, segmentSuffix))
}

// List returns the ordinals of the segment files in dir, ascending. Other files are ignored; a directory that is not
// there has none.
func List(fsys vfs.FS, dir string) ([]uint64, error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list log segments: %w", err)
	}
	var ordinals []uint64
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		raw, err := hex.DecodeString(digits)
		if !ok || err != nil || len(raw) != 8 || strings.ToLower(digits) != digits {
			continue
		}
		ordinals = append(ordinals, binary.BigEndian.Uint64(raw))
	}
	slices.Sort(ordinals)
	return ordinals, nil
}

// prepareDir makes the directory, removes what a crash left behind the log, and makes its end durable.
func prepareDir(o *Options) error {
	if _, err := o.FS.Stat(o.Dir); err != nil {
		if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
			return err
		}
		if err := syncDir(o.FS, filepath.Dir(o.Dir)); err != nil {
			return err
		}
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix+cutSuffix) {
			if err := o.FS.Remove(filepath.Join(o.Dir, name)); err != nil {
				return err
			}
		}
	}
	ordinals, err := List(o.FS, o.Dir)
	if err != nil {
		return err
	}
	for _, ordinal := range ordinals {
		switch {
		case ordinal >= o.Next:
			if err := removeUnwritten(o, ordinal); err != nil {
				return err
			}
		case ordinal == o.Next-1:
			if err := settle(o, ordinal); err != nil {
				return fmt.Errorf("end of segment %d: %w", ordinal, err)
			}
		}
	}
	return syncDir(o.FS, o.Dir)
}

// removeUnwritten removes a segment file of which not even the header was ever synced, and refuses any other.
func removeUnwritten(o *Options, ordinal uint64) error {
	name := Path(o.Dir, ordinal)
	f, err := o.FS.Open(name)
	if err != nil {
		return err
	}
	_, err = ReadHeader(f, &o.Key)
	if cerr := f.Close(); cerr != nil {
		return cerr
	}
	if !errors.Is(err, ErrTorn) {
		return fmt.Errorf("%w: %d", ErrExists, ordinal)
	}
	return o.FS.Remove(name)
}

// settle makes the last segment of the previous process durable as replay has seen it, in the page cache perhaps, and
// cuts what it has behind o.PrevEnd. The cut makes a new file, so it holds even when a sync of the old one had failed.
func settle(o *Options, ordinal uint64) error {
	name := Path(o.Dir, ordinal)
	f, err := o.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if o.PrevEnd == 0 || info.Size() == int64(o.PrevEnd) {
		return f.Sync()
	}
	found, err := Scan(f, info.Size(), &o.Key, 0, nil)
	switch {
	case err != nil && !errors.Is(err, ErrTorn):
		return err
	case found.End != o.PrevEnd || found.Header.ID != o.Prev:
		return fmt.Errorf("%w: segment %v ends at %d, expected %v at %d", ErrCorrupt, found.Header.ID, found.End, o.Prev, o.PrevEnd)
	}
	if err := copyFile(o.FS, name+cutSuffix, f, int64(o.PrevEnd)); err != nil {
		return err
	}
	return o.FS.Rename(name+cutSuffix, name) // the caller syncs the directory
}

func copyFile(fsys vfs.FS, name string, from io.ReaderAt, sizeBytes int64) error {
	to, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, io.NewSectionReader(from, 0, sizeBytes)); err != nil {
		_ = to.Close()
		return err
	}
	if err := to.Sync(); err != nil {
		_ = to.Close()
		return err
	}
	return to.Close()
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
