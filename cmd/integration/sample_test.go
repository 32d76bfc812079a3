package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// contents gives n bytes that are always the same for one name, and do not compress.
func contents(name string, n int) []byte {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%016x", len(name)))
	for i, c := range []byte(name) {
		key[16+i%16] = key[16+i%16]*31 + c
	}
	out := make([]byte, n)
	rand.NewChaCha8(key).Read(out)
	return out
}

// makeSample makes the tree that has to survive: the source of Go, and beside it what is rare.
func makeSample(t *testing.T, root string) {
	t.Helper()
	defer stage(t, "make the sample tree")()
	must(t, os.MkdirAll(root, 0o755))
	goroot := run(t, exec.Command("go", "env", "GOROOT"))
	source := filepath.Join(strings.TrimSpace(goroot.stdout), "src")
	if testing.Short() {
		source = filepath.Join(source, "net")
	}
	// A module cache's toolchain is read-only; the tree is to be changed later.
	tool(t, "cp", "-a", source, filepath.Join(root, "go"))
	tool(t, "chmod", "-R", "u+w", filepath.Join(root, "go"))
	makeRare(t, filepath.Join(root, "rare"))
}

// makeRare makes what few people have and everybody expects to keep.
func makeRare(t *testing.T, root string) {
	t.Helper()
	at := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
	file := func(content []byte, names ...string) string {
		t.Helper()
		path := at(names...)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, content, 0o644))
		return path
	}
	for _, n := range []int{0, 1, 4095, 4096, 65535, 65536, 65537, 131072, 512<<10 - 1, 512<<10 + 1, 2<<20 + 3} {
		file(contents("sizes", n), "sizes", fmt.Sprint(n))
	}
	file(contents("large", 20<<20), "large")
	file(bytes.Repeat([]byte("all work and no play "), 100_000), "repetitive")
	file(make([]byte, 3<<20), "zeros")
	for i := range 1000 {
		file(fmt.Appendf(nil, "file %d\n", i), "many", fmt.Sprintf("file-%04d", i))
	}

	for _, name := range []string{
		strings.Repeat("n", 255), strings.Repeat("漢", 85), "Grüße, 世界 🌍", "not UTF-8 \xff\xfe\x80", "a new\nline", " blanks ", "-dash",
		`back\slash`, "colon:star*question?quote\"", "...", ".hidden", "\x01\x7f",
	} {
		file([]byte(name), "names", name)
	}
	deep := []string{"deep"}
	for i := range 60 {
		deep = append(deep, fmt.Sprintf("level-%d", i))
	}
	file([]byte("the bottom"), append(deep, "bottom")...)
	must(t, os.MkdirAll(at("empty folder"), 0o755))

	sparse := file(nil, "sparse")
	for offset, text := range map[int64]string{0: "head", 17 << 20: "middle", 47<<20 + 5: "odd"} {
		must(t, writeAt(sparse, []byte(text), offset))
	}
	must(t, os.Truncate(sparse, 64<<20))
	hole := file(nil, "hole")
	must(t, writeAt(hole, []byte("beyond 32 bits"), 5<<30))

	must(t, os.MkdirAll(at("links", "other"), 0o755))
	file([]byte("one file, four names"), "links", "first")
	for _, name := range []string{"second", "other/third", "other/fourth"} {
		must(t, os.Link(at("links", "first"), at("links", name)))
	}
	for name, target := range map[string]string{
		"relative": "first", "absolute": "/etc/passwd", "dangling": "no/such/file", "loop": "loop", "folder": "other",
		"long": strings.Repeat("x/", 1500), "not UTF-8": "\xff\xfe",
	} {
		must(t, os.Symlink(target, at("links", name)))
	}
	must(t, os.Link(at("links", "relative"), at("links", "hard to a symbolic one")))

	must(t, unix.Mkfifo(file(nil, "special", "x")+".fifo", 0o600))
	must(t, unix.Mknod(at("special", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(at("special", "disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(254, 70000))))
	must(t, unix.Mknod(at("special", "socket"), unix.S_IFSOCK|0o755, 0))

	xattrsOf := map[string]string{
		"user.text": "some text", "user.empty": "", "user.binary": string([]byte{0, 1, 2, 255, 0}), "user.long": strings.Repeat("v", 2000),
		"user." + strings.Repeat("k", 250): "longest name", "trusted.root": "root's own",
	}
	must(t, os.MkdirAll(at("xattrs", "folder"), 0o755))
	for _, path := range []string{file([]byte("x"), "xattrs", "file"), at("xattrs", "folder")} {
		for name, value := range xattrsOf {
			must(t, unix.Setxattr(path, name, []byte(value), 0))
		}
	}

	for i, ids := range [][2]int{{1000, 1000}, {70000, 3000000000}, {4294967294, 65534}} {
		path := file([]byte("mine"), "owners", fmt.Sprint(i))
		must(t, os.Lchown(path, ids[0], ids[1]))
		must(t, os.Symlink("x", path+".symlink"))
		must(t, os.Lchown(path+".symlink", ids[0], ids[1]))
		must(t, os.MkdirAll(path+".folder", 0o755))
		must(t, os.Lchown(path+".folder", ids[0], ids[1]))
	}
	for _, mode := range []uint32{0, 0o001, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1777, 0o7777} {
		path := file([]byte("mode"), "modes", fmt.Sprintf("%04o", mode))
		must(t, unix.Chmod(path, mode)) // after the owner is set: a change of owner takes setuid away
		must(t, os.MkdirAll(path+".folder", 0o755))
		must(t, unix.Chmod(path+".folder", mode))
	}
	for name, at := range map[string][2]int64{
		"epoch": {0, 0}, "nanosecond": {0, 1}, "before the epoch": {-1, 999_999_999}, "1901": {-2_147_483_648, 123_456_789},
		"1950": {-631_152_000, 5}, "after 2038": {4_294_967_296, 987_654_321}, "2200": {7_258_118_400, 42},
	} {
		path := file([]byte(name), "times", name)
		must(t, setTime(path, at[0], at[1]))
		must(t, os.Symlink("x", path+".symlink"))
		must(t, setTime(path+".symlink", at[0], at[1]))
		must(t, os.MkdirAll(path+".folder", 0o755))
		must(t, setTime(path+".folder", at[0], at[1]))
	}
}

func writeAt(path string, data []byte, offset int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(data, offset); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// changeSample changes the sample in every way a day's work does. It does the
// same wherever it is called; times are set at the end, so that trees changed
// one after the other are alike.
func changeSample(t *testing.T, root string) {
	t.Helper()
	defer stage(t, "change "+root)()
	touched := map[string]bool{}
	at := func(rel string) string {
		path := filepath.Join(root, rel)
		for p := path; p != root; p = filepath.Dir(p) {
			if p == path || p == filepath.Dir(path) {
				touched[p] = true
			}
		}
		return path
	}
	must(t, writeAt(at("rare/large"), contents("overwritten", 300_001), 7_654_321))
	must(t, writeAt(at("rare/sizes/65537"), contents("appended", 200_000), 65537))
	must(t, writeAt(at("rare/sizes/4095"), []byte("far behind the end"), 1<<20))
	must(t, os.Truncate(at("rare/sizes/524289"), 100_000))
	must(t, os.Truncate(at("rare/repetitive"), 4<<20))
	must(t, punchHole(at("rare/zeros"), 1<<20, 1<<20))
	must(t, punchHole(at("rare/sizes/2097155"), 65000, 100_000))
	must(t, os.Remove(at("rare/links/first")))
	must(t, os.Link(at("rare/links/second"), at("rare/links/fifth")))
	must(t, os.Rename(at("rare/links/relative"), at("rare/links/loop")))
	must(t, os.Rename(at("rare/many/file-0007"), at("rare/many/file-0008")))
	must(t, os.Rename(at("rare/many"), at("rare/deep/many")))
	must(t, os.RemoveAll(at("rare/deep/level-0")))
	must(t, unix.Setxattr(at("rare/xattrs/file"), "user.text", []byte("another text"), 0))
	must(t, unix.Removexattr(at("rare/xattrs/file"), "user.empty"))
	must(t, unix.Setxattr(at("rare/large"), "user.new", contents("xattr", 1000), 0))
	must(t, os.Lchown(at("rare/owners/0"), 123456789, 4000000000))
	must(t, unix.Chmod(at("rare/modes/0400"), 0o4600))

	packages, err := os.ReadDir(filepath.Join(root, "go"))
	must(t, err)
	for i, p := range packages {
		name := filepath.Join("go", p.Name())
		switch {
		case i%9 == 2:
			must(t, os.RemoveAll(at(name)))
		case i%9 == 5:
			must(t, os.Rename(at(name), at(name+"-renamed")))
		case i%9 == 7 && p.IsDir():
			must(t, os.WriteFile(at(filepath.Join(name, "added")), contents(name, 1000*i), 0o640))
		}
	}
	must(t, os.MkdirAll(at("added"), 0o751))
	for i := range 200 {
		must(t, os.WriteFile(at(fmt.Sprintf("added/%d", i)), contents("added", i*i), 0o600))
	}
	must(t, os.WriteFile(at("added/large"), contents("added", 6<<20), 0o600))

	paths := make([]string, 0, len(touched))
	for path := range touched {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for i, path := range slices.Backward(paths) { // what is in a folder before the folder
		if err := setTime(path, 1_700_000_000+int64(i), int64(i)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	must(t, setTime(root, 1_600_000_000, 1))
}

func punchHole(path string, offset, length int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
}
