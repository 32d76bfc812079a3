package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// entry is everything about a file that a copy must have too. What a
// filesystem may choose freely is left out: inode numbers, blocks, the sizes
// and link counts of folders, times of access and change.
type entry struct {
	Mode   string // type and all twelve permission bits, octal
	UID    uint32
	GID    uint32
	Mtime  string // seconds and nanoseconds
	Size   int64
	Sum    string // SHA-256 of the bytes
	Target string // of a symbolic link
	Device uint64 // of a device file
	Links  uint64 // how many names there are
	First  string // the first of them, in the order of the walk
	Xattrs map[string]string
	Err    string // what could not be read
}

// tree is a folder with all below it; "." is the folder itself.
type tree map[string]entry

// readTree reads everything there is to know of a folder.
func readTree(t *testing.T, root string) tree {
	t.Helper()
	var (
		all   = tree{}
		first = map[[2]uint64]string{}
		mu    sync.Mutex
		group sync.WaitGroup
		slots = make(chan struct{}, 4)
	)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(root, path)
		if relErr != nil {
			return relErr
		}
		if err != nil { // of reading a folder that was visited before
			mu.Lock()
			defer mu.Unlock()
			e := all[rel]
			e.Err += err.Error()
			all[rel] = e
			return nil
		}
		e, st := stat(path)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			id := [2]uint64{uint64(st.Dev), st.Ino}
			if first[id] == "" {
				first[id] = rel
			}
			e.First, e.Links = first[id], uint64(st.Nlink)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && e.Err == "" {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				if e.Sum, err = sumOf(path); err != nil {
					e.Err = err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				all[rel] = e
			})
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		all[rel] = e
		return nil
	})
	group.Wait()
	must(t, err)
	return all
}

func stat(path string) (entry, unix.Stat_t) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return entry{Err: "lstat: " + err.Error()}, st
	}
	e := entry{
		Mode: fmt.Sprintf("%06o", st.Mode), UID: st.Uid, GID: st.Gid,
		Mtime: fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
	case unix.S_IFLNK:
		e.Size = st.Size
		target, err := os.Readlink(path)
		if err != nil {
			e.Err = err.Error()
		}
		e.Target = target
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Device = st.Rdev
	}
	var err error
	if e.Xattrs, err = xattrs(path); err != nil {
		e.Err = err.Error()
	}
	return e, st
}

// xattrs reads the extended attributes that are a user's or root's own affair.
func xattrs(path string) (map[string]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	var found map[string]string
	for name := range bytes.SplitSeq(list[:n], []byte{0}) {
		if !bytes.HasPrefix(name, []byte("user.")) && !bytes.HasPrefix(name, []byte("trusted.")) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return found, fmt.Errorf("xattr %s: %w", name, err)
		}
		if found == nil {
			found = map[string]string{}
		}
		found[string(name)] = string(value[:n])
	}
	return found, nil
}

// Of a file beyond large only the ends are read: it is a sample's hole of
// gigabytes, and reading it would take longer than all the rest.
const (
	large    = 1 << 30
	largeEnd = 4 << 20
)

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	parts := []*io.SectionReader{io.NewSectionReader(file, 0, math.MaxInt64)}
	if info, err := file.Stat(); err == nil && info.Size() > large {
		parts = []*io.SectionReader{io.NewSectionReader(file, 0, largeEnd), io.NewSectionReader(file, info.Size()-largeEnd, math.MaxInt64>>1)}
	}
	for _, part := range parts {
		if _, err := io.CopyBuffer(hash, part, make([]byte, 256<<10)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// differences lists where got is not as want, by path and field.
func differences(want, got tree) []string {
	var found []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		g, there := got[path]
		if !there {
			found = append(found, fmt.Sprintf("%q: missing", path))
			continue
		}
		w := reflect.ValueOf(want[path])
		for i := range w.NumField() {
			a, b := w.Field(i).Interface(), reflect.ValueOf(g).Field(i).Interface()
			if !reflect.DeepEqual(a, b) {
				found = append(found, fmt.Sprintf("%q: %s is %s, want %s", path, w.Type().Field(i).Name, short(b), short(a)))
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, there := want[path]; !there {
			found = append(found, fmt.Sprintf("%q: too much", path))
		}
	}
	return found
}

func short(v any) string {
	text := fmt.Sprintf("%q", fmt.Sprint(v))
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return text
}

// sameTree fails the test when the folder is not as it should be.
func sameTree(t *testing.T, when string, want tree, root string) {
	t.Helper()
	done := stage(t, "compare "+when)
	found := differences(want, readTree(t, root))
	done()
	if len(found) == 0 {
		return
	}
	const most = 20
	text := strings.Join(found[:min(most, len(found))], "\n\t")
	t.Fatalf("%s: %d differences in %d entries:\n\t%s", when, len(found), len(want), text)
}

// bytes of the files of a tree, each name counted.
func (tr tree) bytes() (total int64) {
	for _, e := range tr {
		total += e.Size
	}
	return total
}

// TestDifferences proves that the comparison sees what it is for.
func TestDifferences(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(file string) error
	}{
		{"nothing", "", func(string) error { return nil }},
		{"mode", "Mode", func(file string) error { return os.Chmod(file, 0o4755) }},
		{"owner", "UID", func(file string) error { return os.Lchown(file, 70000, -1) }},
		{"bytes", "Sum", func(file string) error { return os.WriteFile(file, []byte("Bytes"), 0o644) }},
		{"time", "Mtime", func(file string) error { return setTime(file, -2, 1) }},
		{"size", "Size", func(file string) error { return os.Truncate(file, 4) }},
		{"attribute", "Xattrs", func(file string) error { return unix.Lsetxattr(file, "user.a", []byte{0}, 0) }},
		{"one more name", "Links", func(file string) error { return os.Link(file, file+".2") }},
		{"another file of that name", "First", func(file string) error {
			return errors.Join(os.Remove(file), os.Link(filepath.Join(filepath.Dir(file), "a"), file))
		}},
		{"missing", "missing", os.Remove},
		{"too much", "too much", func(file string) error { return os.Mkdir(file+"x", 0o755) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			if os.Geteuid() != 0 && test.want == "UID" {
				t.Skip("not root")
			}
			root := t.TempDir()
			file := filepath.Join(root, "b")
			must(t, os.WriteFile(filepath.Join(root, "a"), []byte("bytes"), 0o644))
			must(t, os.WriteFile(file, []byte("bytes"), 0o644))
			before := readTree(t, root)
			if err := test.change(file); errors.Is(err, unix.ENOTSUP) {
				t.Skip(err)
			} else {
				must(t, err)
			}
			found := strings.Join(differences(before, readTree(t, root)), "\n")
			if (found == "") != (test.want == "") || !strings.Contains(found, ": "+test.want) && test.want != "" {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}

// setTime sets the time of change of a file's contents, also of a symbolic link's own.
func setTime(path string, sec, nsec int64) error {
	ts := unix.Timespec{Sec: sec, Nsec: nsec}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
