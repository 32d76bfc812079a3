package integration

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingReadable searches every raw file of the nodes, the state folder and the cache for pieces of 8 bytes of
// what was written: data, names, values and names of attributes, targets of links. That the search finds what is there
// is proven on a plain archive of the same tree.
func TestNothingReadable(t *testing.T) {
	needMounts(t)
	dir := scratch(t)
	plain := filepath.Join(dir, "plain")
	secrets := makeRecognisable(t, plain)

	archived := filepath.Join(dir, "archive")
	must(t, os.Mkdir(archived, 0o755))
	archive(t, plain, filepath.Join(archived, "plain.tar"))
	found := secrets.search(t, archived)
	for _, kind := range []string{"random data", "text", "small file", "file name", "folder name", "link target", "attribute name", "attribute value"} {
		if found[kind] == 0 {
			t.Fatalf("the search does not find any %s in a plain archive: it proves nothing", kind)
		}
	}
	t.Logf("in a plain archive the search finds %v", found)

	nodes := startNodes(t, dir, 6)
	m := newMachine(t, filepath.Join(dir, "machine"))
	words := m.initVolume("home", nodes)
	text, err := os.ReadFile(words)
	must(t, err)
	must(t, os.Rename(words, filepath.Join(dir, "words")))
	secrets.add("phrase", text, 1)

	logs := filepath.Join(m.dir, "log")
	daemon := m.mountVolume("home", "-vv", "--log-file", logs)
	nowhere := func(when string) {
		t.Helper()
		if err := os.Rename(filepath.Join(m.state, "home", "key"), filepath.Join(dir, "key")); err != nil {
			t.Fatal(err)
		}
		found := secrets.search(t, m.dir, nodes[0].dir, nodes[1].dir, nodes[2].dir, nodes[3].dir, nodes[4].dir, nodes[5].dir)
		must(t, os.Rename(filepath.Join(dir, "key"), filepath.Join(m.state, "home", "key")))
		if len(found) > 0 {
			t.Errorf("%s: found in raw files: %v", when, found)
		}
	}
	inside := filepath.Join(m.mount, "plain")
	tool(t, "cp", "-a", plain, m.mount)
	fsyncFolder(t, m.mount)
	nowhere("written and fsynced")
	m.qsfs("sync", "home")
	nowhere("on the nodes")
	must(t, os.Rename(inside, inside+"-moved"))
	fsyncFolder(t, m.mount)
	daemon.kill()
	m.qsfs("umount", m.mount)
	nowhere("after kill -9")
	daemon = m.mountVolume("home", "-vv", "--log-file", logs)
	m.umount(daemon)
	m.forgetCaches()
	nowhere("unmounted")
	daemon = m.mountVolume("home", "-vv", "--log-file", logs)
	sameTree(t, "read into the cache", readTree(t, plain), inside+"-moved")
	if diskBytes(t, m.cache) == 0 {
		t.Error("nothing is in the cache after reading: the search there proves nothing")
	}
	nowhere("read into the cache")
	m.umount(daemon)
	nowhere("unmounted again")
}

// secrets are the pieces of 8 bytes that must not be found, and what they are pieces of.
type secrets struct {
	pieces map[uint64]string
	// filter has a bit for the hash of each piece: most places of a raw file need no look into the map.
	filter [1 << 21]uint64
}

const pieceBytes = 8

func hashOf(piece uint64) uint64 { return piece * 0x9e3779b97f4a7c15 >> 37 } // 27 bits

// add takes the pieces of a secret that begin at each step-th byte. Pieces of
// few different bytes are left out: they may be anywhere by chance.
func (s *secrets) add(kind string, content []byte, step int) {
	for at := 0; at+pieceBytes <= len(content); at += step {
		var different int
		var seen [256]bool
		for _, b := range content[at : at+pieceBytes] {
			if !seen[b] {
				seen[b] = true
				different++
			}
		}
		if different < 5 {
			continue
		}
		piece := binary.LittleEndian.Uint64(content[at:])
		s.pieces[piece] = kind
		h := hashOf(piece)
		s.filter[h>>6] |= 1 << (h & 63)
	}
}

// search counts, by kind, the places in all files below the folders at which a
// piece stands, whatever their alignment. It does not enter what is mounted.
func (s *secrets) search(t *testing.T, dirs ...string) map[string]int {
	t.Helper()
	found := map[string]int{}
	var files, searched int64
	mounted := map[string]bool{}
	for _, dir := range dirs {
		for _, path := range mountsBelow(t, dir) {
			mounted[path] = true
		}
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if mounted[path] {
				return fs.SkipDir
			}
			if os.IsNotExist(err) {
				return nil // a store at work replaces its files
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			raw, err := os.ReadFile(path)
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			files, searched = files+1, searched+int64(len(raw))
			shown := false
			for at := 0; at+pieceBytes <= len(raw); at++ {
				piece := binary.LittleEndian.Uint64(raw[at:])
				if h := hashOf(piece); s.filter[h>>6]&(1<<(h&63)) == 0 {
					continue
				}
				if kind, secret := s.pieces[piece]; secret {
					found[kind]++
					if !shown {
						shown = true
						t.Logf("%s at %d: %s: %q", path, at, kind, raw[at:at+pieceBytes])
					}
				}
			}
			// A file's name may tell as much as its bytes.
			for name := []byte(filepath.Base(path)); len(name) >= pieceBytes; name = name[1:] {
				if kind, secret := s.pieces[binary.LittleEndian.Uint64(name)]; secret {
					t.Errorf("%s: its name holds a %s", path, kind)
				}
			}
			return nil
		}))
	}
	if searched == 0 {
		t.Errorf("nothing to search in %v", dirs)
	}
	t.Logf("searched %d files, %.1f MB", files, float64(searched)/(1<<20))
	return found
}

// makeRecognisable makes a tree of which every piece is known and unlikely to be anywhere by chance.
func makeRecognisable(t *testing.T, root string) *secrets {
	t.Helper()
	s := &secrets{pieces: map[uint64]string{}}
	word := func(kind string, n int) string {
		return fmt.Sprintf("%s-%s", kind, hex.EncodeToString(contents(fmt.Sprintf("%s %d", kind, n), 8)))
	}
	save := func(kind, name string, content []byte, step int) string {
		t.Helper()
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, content, 0o644))
		s.add(kind, content, step)
		return path
	}
	name := func(n int) string {
		text := word("quarterly", n)
		s.add("file name", []byte(text), 1)
		return text
	}
	save("random data", name(0), contents("random data", 6<<20+17), pieceBytes)
	var text bytes.Buffer
	for i := 0; text.Len() < 4<<20; i++ {
		fmt.Fprintf(&text, "Dear %s, as I wrote in %s: all is well, all is well.\n", word("friend", i), word("letter", i))
	}
	save("text", name(1), text.Bytes(), pieceBytes)
	for i := range 300 {
		folder := word("folder", i%7)
		s.add("folder name", []byte(folder), 1)
		path := save("small file", filepath.Join(folder, name(2+i)), []byte(word("contents", i)), 1)
		if i%5 == 0 {
			target := word("target", i)
			must(t, os.Symlink(target, filepath.Join(root, folder, name(1000+i))))
			s.add("link target", []byte(target), 1)
		}
		if i%3 == 0 {
			attribute, value := word("attribute", i), word("value", i)
			must(t, unix.Setxattr(path, "user."+attribute, []byte(value), 0))
			s.add("attribute name", []byte(attribute), 1)
			s.add("attribute value", []byte(value), 1)
		}
	}
	return s
}

// archive writes a plain archive of a tree. It begins with one byte too much, so that nothing in it is aligned.
func archive(t *testing.T, root, path string) {
	t.Helper()
	var plain bytes.Buffer
	plain.WriteByte(0)
	out := tar.NewWriter(&plain)
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target, _ := os.Readlink(path)
		header, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		header.Format = tar.FormatPAX
		header.Name, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		attributes, err := xattrs(path)
		if err != nil {
			return err
		}
		header.PAXRecords = map[string]string{}
		for name, value := range attributes {
			header.PAXRecords["SCHILY.xattr."+name] = value
		}
		if err := out.WriteHeader(header); err != nil || !d.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(out, file)
		return err
	}))
	must(t, out.Close())
	must(t, os.WriteFile(path, plain.Bytes(), 0o644))
}
