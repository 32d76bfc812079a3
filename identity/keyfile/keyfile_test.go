package keyfile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"golang.org/x/crypto/argon2"

	"github.com/qsfs/qsfs/identity/keys"
)

var update = flag.Bool("update", false, "write the golden files of this version anew")

// small is a cost that tests can afford.
var small = cost{passes: 1, memoryKiB: 64, threads: 2}

const goldenPassphrase = "correct horse battery staple"

func testRoot(t testing.TB, first byte) (*keys.Root, [16]byte) {
	t.Helper()
	root := new(keys.Root)
	for i := range root {
		root[i] = first + byte(i)
	}
	id, err := keys.VolumeID(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, id
}

func ones() io.Reader { return bytes.NewReader(bytes.Repeat([]byte{1}, 32)) }

func with(passphrase string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(passphrase), nil }
}

func mustNotAsk(t testing.TB) func() ([]byte, error) {
	return func() ([]byte, error) {
		t.Error("asked for a passphrase")
		return nil, errors.New("none")
	}
}

func golden(t testing.TB, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update && got != nil {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// The bytes of version 1 never change, and key files of version 1 open for ever.
func TestGolden(t *testing.T) {
	root, id := testRoot(t, 1)
	plain, errPlain := encodePlain(root, id)
	sealed, errSealed := encodeSealed(ones(), small, root, id, []byte(goldenPassphrase))
	if err := errors.Join(errPlain, errSealed); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name      string
		encoded   []byte
		sizeBytes int
	}{{"plain.key", plain, 124}, {"sealed.key", sealed, 184}} {
		t.Run(v.name, func(t *testing.T) {
			want := golden(t, v.name, v.encoded)
			if !bytes.Equal(v.encoded, want) || len(want) != v.sizeBytes {
				t.Errorf("the format changed: got %x, want %x", v.encoded, want)
			}
			got, err := Decode(want, with(goldenPassphrase))
			if err != nil || *got != *root {
				t.Errorf("decoded: got another root, or %v", err)
			}
		})
	}
}

// Argon2id as we call it. RFC 9106 has one vector for it (section 5.3), with a secret key and associated data, which
// this function does not take; golang.org/x/crypto tests itself with that one. These have a password and a salt alone.
func TestArgon2idVectors(t *testing.T) {
	for _, v := range []struct {
		source                     string
		passes, memoryKiB, threads uint32
		want                       string
	}{
		{"P-H-C/phc-winner-argon2, src/test.c", 2, 65536, 1, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"},
		{"its command line, by golang.org/x/crypto", 1, 64, 1, "655ad15eac652dc59f7170a7332bf49b8469be1fdb9c28bb"},
		{"its command line, by golang.org/x/crypto", 2, 64, 2, "350ac37222f436ccb5c0972f1ebd3bf6b958bf2071841362"},
	} {
		t.Run(fmt.Sprintf("%d passes, %d KiB, %d threads", v.passes, v.memoryKiB, v.threads), func(t *testing.T) {
			got := argon2.IDKey([]byte("password"), []byte("somesalt"), v.passes, v.memoryKiB, uint8(v.threads), uint32(len(v.want)/2))
			if hex.EncodeToString(got) != v.want {
				t.Errorf("%s: got %x, want %s", v.source, got, v.want)
			}
		})
	}
}

// What is written is read back, from a file of mode 0600 whatever the umask, with nothing else left in the directory.
func TestWriteRead(t *testing.T) {
	root, id := testRoot(t, 7)
	for name, mask := range map[string]int{"umask 022": 0o022, "umask 0": 0, "umask 0777": 0o777} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "volume.key")
			before := syscall.Umask(mask)
			err := Write(path, root, id)
			syscall.Umask(before)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != 0o600 {
				t.Fatalf("got %v, %v, want mode 0600", info, err)
			}
			got, err := Read(path, mustNotAsk(t))
			if err != nil || *got != *root {
				t.Fatalf("got another root, or %v", err)
			}
			onlyFile(t, dir, "volume.key")
		})
	}
}

// The default cost works, and a sealed file has the root only for who knows the passphrase.
func TestWriteSealedRead(t *testing.T) {
	root, id := testRoot(t, 7)
	dir := t.TempDir()
	path := filepath.Join(dir, "volume.key")
	if err := WriteSealed(path, root, id, []byte("pass\x00phrase")); err != nil {
		t.Fatal(err)
	}
	asked := 0
	typed := []byte("pass\x00phrase")
	got, err := Read(path, func() ([]byte, error) { asked++; return typed, nil })
	if err != nil || *got != *root || asked != 1 {
		t.Fatalf("got another root, or %v, asked %d times", err, asked)
	}
	if !bytes.Equal(typed, make([]byte, len(typed))) {
		t.Error("the passphrase was not wiped")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, root[:8]) {
		t.Error("the root is there in plain")
	}
	if err := WriteSealed(path, root, id, []byte("other")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: got %v, want ErrExist", err)
	}
	onlyFile(t, dir, "volume.key")
}

func onlyFile(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("in the directory: %q, want %q", got, names)
	}
}

func TestPassphrase(t *testing.T) {
	root, id := testRoot(t, 1)
	longest := strings.Repeat("p", MaxPassphraseBytes)
	data, err := encodeSealed(ones(), small, root, id, []byte(longest))
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no terminal")
	for _, v := range []struct {
		name string
		ask  func() ([]byte, error)
		want error
	}{
		{"right", with(longest), nil},
		{"wrong", with(longest[1:]), ErrWrongPassphrase},
		{"with a newline", with(longest[2:] + "\n"), ErrWrongPassphrase},
		{"none to ask", nil, ErrNeedPassphrase},
		{"not given", func() ([]byte, error) { return nil, refused }, ErrNeedPassphrase},
		{"reason", func() ([]byte, error) { return nil, refused }, refused},
		{"empty", with(""), ErrPassphrase},
		{"too long", with(longest + "p"), ErrPassphrase},
	} {
		t.Run(v.name, func(t *testing.T) {
			got, err := Decode(data, v.ask)
			if !errors.Is(err, v.want) || (got == nil) != (v.want != nil) {
				t.Errorf("got %v, want %v", err, v.want)
			}
		})
	}
	for _, p := range []string{"", longest + "p"} {
		if err := WriteSealed(filepath.Join(t.TempDir(), "k"), root, id, []byte(p)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%d bytes: got %v, want ErrPassphrase", len(p), err)
		}
	}
}

// Each single flipped bit, and each cut, is found; a sealed file tells damage before anyone is asked.
func TestDamage(t *testing.T) {
	for _, name := range []string{"plain.key", "sealed.key"} {
		whole := golden(t, name, nil)
		t.Run(name, func(t *testing.T) {
			for bit := range len(whole) * 8 {
				b := bytes.Clone(whole)
				b[bit/8] ^= 1 << (bit % 8)
				if root, err := Decode(b, mustNotAsk(t)); root != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew) {
					t.Fatalf("bit %d: got %v", bit, err)
				}
			}
			for n := range whole {
				if root, err := Decode(whole[:n], mustNotAsk(t)); root != nil || !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%d bytes: got %v", n, err)
				}
			}
			if root, err := Decode(append(bytes.Clone(whole), 0), mustNotAsk(t)); root != nil || !errors.Is(err, ErrCorrupt) {
				t.Fatalf("longer: got %v", err)
			}
		})
	}
}

// resum makes the checksum fit after a change, as an attacker or a strange writer would.
func resum(b []byte) []byte { return appendSum(b[:len(b)-32]) }

func TestForged(t *testing.T) {
	plain, sealed := golden(t, "plain.key", nil), golden(t, "sealed.key", nil)
	put := func(b []byte, at int, values ...uint32) []byte {
		b = bytes.Clone(b)
		for i, v := range values {
			binary.LittleEndian.PutUint32(b[at+4*i:], v)
		}
		return resum(b)
	}
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return resum(b)
	}
	for _, v := range []struct {
		name string
		data []byte
		want error
	}{
		{"version 2", put(plain, 4, 2), ErrTooNew},
		{"version 2 and short", put(plain, 4, 2)[:12], ErrTooNew},
		{"version 0", put(plain, 4, 0), ErrCorrupt},
		{"kind 0", put(plain, 8, 0), ErrCorrupt},
		{"kind 3", put(plain, 8, 3), ErrCorrupt},
		{"kind of the other", put(plain, 8, kindSealed), ErrCorrupt},
		{"other volume, plain", flip(plain, idAt), ErrCorrupt},
		{"other root, plain", flip(plain, rootAt), ErrCorrupt},
		{"other volume, sealed", flip(sealed, idAt), ErrWrongPassphrase},
		{"other salt", flip(sealed, saltAt), ErrWrongPassphrase},
		{"other root, sealed", flip(sealed, sealedAt), ErrWrongPassphrase},
		{"other tag", flip(sealed, sealedAt+79), ErrWrongPassphrase},
		{"other cost", put(sealed, costAt, 2), ErrWrongPassphrase},
		{"no passes", put(sealed, costAt, 0), ErrCorrupt},
		{"too many passes", put(sealed, costAt, maxPasses+1), ErrCorrupt},
		{"no memory", put(sealed, costAt, 1, 0, 1), ErrCorrupt},
		{"too little memory", put(sealed, costAt, 1, 63, 8), ErrCorrupt},
		{"too much memory", put(sealed, costAt, 1, maxMemoryKiB+1, 1), ErrCorrupt},
		{"all memory there is", put(sealed, costAt, 1, 1<<32-1, 1), ErrCorrupt},
		{"too much work", put(sealed, costAt, 9, maxMemoryKiB, 1), ErrCorrupt},
		{"no threads", put(sealed, costAt, 1, 64, 0), ErrCorrupt},
		{"too many threads", put(sealed, costAt, 1, maxMemoryKiB, maxThreads+1), ErrCorrupt},
		{"256 threads", put(sealed, costAt, 1, maxMemoryKiB, 256), ErrCorrupt},
	} {
		t.Run(v.name, func(t *testing.T) {
			root, err := Decode(v.data, with(goldenPassphrase))
			if !errors.Is(err, v.want) || root != nil {
				t.Errorf("got %v, want %v", err, v.want)
			}
		})
	}
	for _, c := range []cost{defaultCost, {1, 8, 1}, {maxPasses, 512, maxThreads}, {8, maxMemoryKiB, 1}} {
		if err := c.check(); err != nil {
			t.Error(err)
		}
	}
}

// With randomness that repeats itself, another root still has another salt, so the key never seals two roots.
func TestRepeatedRandomness(t *testing.T) {
	salts := map[[saltBytes]byte]byte{}
	for first := range byte(8) {
		root, _ := testRoot(t, first)
		salt, err := newSalt(ones(), root)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := salts[salt]; ok {
			t.Errorf("roots %d and %d have the same salt", other, first)
		}
		salts[salt] = first
	}
	root, id := testRoot(t, 1)
	broken := errors.New("broken")
	if _, err := encodeSealed(iotest.ErrReader(broken), small, root, id, []byte("p")); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the source", err)
	}
}

// Only a regular file of ours that nobody else can reach is read.
func TestReadChecksPermissions(t *testing.T) {
	root, id := testRoot(t, 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "volume.key")
	if err := Write(path, root, id); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path, nil); !errors.Is(err, ErrPermissions) || got != nil {
			t.Errorf("mode %v: got %v, want ErrPermissions", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path, nil); err != nil {
			t.Errorf("mode %v: got %v", mode, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(info, os.Geteuid()+1); !errors.Is(err, ErrPermissions) {
		t.Errorf("another user's: got %v, want ErrPermissions", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{fifo, dir} {
		if _, err := Read(odd, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", odd, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

// A file of any size is no reason to read more than a key file can have.
func TestReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(golden(t, "plain.key", nil)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	data, err := readPrivate(path)
	if err != nil || len(data) != maxBytes+1 {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
	if _, err := Read(path, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

func TestWrongRoot(t *testing.T) {
	root, id := testRoot(t, 1)
	other, _ := testRoot(t, 2)
	dir := t.TempDir()
	path := filepath.Join(dir, "volume.key")
	if err := Write(path, other, id); !errors.Is(err, ErrWrongVolume) {
		t.Errorf("got %v, want ErrWrongVolume", err)
	}
	root.Wipe()
	if err := Write(path, root, id); !errors.Is(err, keys.ErrNoSecret) {
		t.Errorf("got %v, want ErrNoSecret", err)
	}
	if err := WriteSealed(path, nil, id, []byte("p")); !errors.Is(err, keys.ErrNoSecret) {
		t.Errorf("got %v, want ErrNoSecret", err)
	}
	onlyFile(t, dir)
}

// Errors say which volume and file, and never a byte of the root or the passphrase.
func TestErrorsKeepSecrets(t *testing.T) {
	root, id := testRoot(t, 'A') // "ABCDEFGH..."
	dir := t.TempDir()
	path := filepath.Join(dir, "volume.key")
	data, err := encodeSealed(ones(), small, root, id, []byte("hunter2hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := create(osDisk, path, data); err != nil {
		t.Fatal(err)
	}
	_, wrong := Read(path, with("guess-guess"))
	_, corrupt := Decode(flipped(data), with("hunter2hunter2"))
	for _, err := range []error{wrong, corrupt, Write(path, root, id), Write(path, root, [16]byte{})} {
		if err == nil {
			t.Fatal("no error")
		}
		for _, leak := range []string{"hunter", "guess", "ABCD", "41424344", "65 66 67"} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), leak) {
				t.Errorf("%q in %v", leak, err)
			}
		}
	}
	if !errors.Is(wrong, ErrWrongPassphrase) || !strings.Contains(wrong.Error(), path) {
		t.Errorf("got %v", wrong)
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// Any bytes give a root or an error of ours; Argon2id never runs with more than the seed files ask for.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"plain.key", "sealed.key"} {
		whole := golden(f, name, nil)
		f.Add(whole)
		f.Add(whole[:12])
		f.Add(resum(bytes.Clone(whole)))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, data := range [][]byte{b, resum(append(bytes.Clone(b), make([]byte, 32)...))} {
			asked := false
			root, err := Decode(data, func() ([]byte, error) { asked = true; return nil, errors.New("none") })
			switch {
			case err == nil:
				id, idErr := keys.VolumeID(root)
				again, encodeErr := encodePlain(root, id)
				if idErr != nil || encodeErr != nil || !bytes.Equal(again, data) {
					t.Fatalf("not canonical: %x", data)
				}
			case asked && !errors.Is(err, ErrNeedPassphrase):
				t.Fatalf("got %v after asking", err)
			case !asked && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooNew):
				t.Fatalf("got %v", err)
			}
		}
	})
}

func BenchmarkDefaultCost(b *testing.B) {
	for b.Loop() {
		if _, err := passphraseAEAD([]byte("passphrase"), make([]byte, saltBytes), defaultCost); err != nil {
			b.Fatal(err)
		}
	}
}
