package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/zdb"
)

const (
	whyOurDisk   = "the original ends when it can't begin a file"
	whyItsDisk   = "our index is derived from the data: no request fails for it"
	whyRot       = "rotten bytes are never served: the original compares checksums in CHECK only"
	whyTruncated = "ours verifies what it reads: see the story about rot"
)

// lose takes files away under the server's feet. In the path, %s is the namespace.
func lose(path string) row {
	return beside(func(t *testing.T, p *peer, n names) {
		if strings.Contains(path, "%s") {
			path = fmt.Sprintf(path, n["ns"])
		}
		if err := os.RemoveAll(filepath.Join(p.dir, path)); err != nil {
			t.Fatal(err)
		}
	})
}

// spoil flips a bit of what is stored somewhere as the value.
func spoil(value string) row {
	return beside(func(t *testing.T, p *peer, n names) {
		found := false
		err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			i := bytes.Index(content, []byte(value))
			if i < 0 {
				return nil
			}
			found = true
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte{content[i] ^ 1}, int64(i))
			return err
		})
		if err != nil || !found {
			t.Fatalf("value found: %v, %v", found, err)
		}
	})
}

// limitFiles lets no file of the original grow beyond a size; 0 is the size of a file that it has.
func limitFiles(size int64, file string) row {
	return beside(func(t *testing.T, p *peer, n names) {
		if file != "" {
			info, err := os.Stat(filepath.Join(p.dir, fmt.Sprintf(file, n["ns"])))
			if err != nil {
				t.Fatal(err)
			}
			size = info.Size()
		}
		limit := unix.Rlimit{Cur: uint64(size), Max: unix.RLIM_INFINITY}
		if err := unix.Prlimit(p.process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// longKeys are rows that store keys which take more room in the original's index than in its data.
func longKeys(count int) []row {
	var rows []row
	for i := range count {
		rows = append(rows, q("SET", longKey(i), "").is(bulk(longKey(i))))
	}
	return rows
}

func longKey(i int) string { return fmt.Sprintf("%s%03d", longest[:zdb.MaxKeyBytes-3], i) }

// faultStories are about files that are gone or rotten, and a disk that takes no more.
func faultStories() []story {
	return []story{
		{name: "rot", fresh: true, rows: []row{
			q("SET", "a", "first-and-good").is(bulk("a")),
			q("SET", "a", "second-and-rotten").is(bulk("a")),
			spoil("second-and-rotten"),
			q("CHECK", "a").is(integer(0)),
			q("GET", "a").is(bulk("recond-and-rotten")).but(fails(zdb.TextInternalError), whyRot),
			q("MGET", "a", "b").is(list(bulk("recond-and-rotten"), null)).but(list(fails(zdb.TextInternalError), null), whyRot),
			q("HISTORY", "a").is(list("$8\r\n{b8:first}\r\n", "${n}\r\n{time}\r\n", bulk("recond-and-rotten"))).but(fails(zdb.TextInternalError), whyRot),
			q("EXISTS", "a").is(integer(1)),
			q("LENGTH", "a").is(integer(17)),
			q("SET", "a", "third-and-good").is(bulk("a")), // which heals it
			q("GET", "a").is(bulk("third-and-good")),
			q("CHECK", "a").is(integer(1)),
		}},
		{name: "rot, raw", fresh: true, rows: []row{
			q("SET", "k", "good-for-now").is(bulk("k")),
			spoil("good-for-now"),
			q("DATA", "RAW", "0", "28").is(list(bulk("k"), integer(0), "$10\r\n0x{h8:crc}\r\n", integer(0), ":{time}\r\n", bulk("food-for-now"))).
				but(fails(zdb.TextUnexpectedInternal), whyRot),
		}},
		{name: "the folder of a store is gone", fresh: true, ourOnly: whyOurDisk, rows: []row{
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("SELECT", inNamespace, "secret").is(ok),
			q("SET", "a", "1").is(bulk("a")),
			lose("namespaces/n-%s/store"),
			q("NSJUMP").is(fails(zdb.TextCannotWrite)),
			q("SET", "b", "1").is(fails(zdb.TextCannotWrite)),
			q("DEL", "a").is(fails(zdb.TextCannotDelete)),
			q("FLUSH").is(fails(zdb.TextServerError)),
		}},
		{name: "the folder of namespaces is gone", fresh: true, ourOnly: whyOurDisk, rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			lose("namespaces"),
			q("NSNEW", "more").is(fails(zdb.TextCannotCreate)),
			q("NSDEL", inNamespace).via("outside").is(fails(zdb.TextCannotRemoveNS)),
			q("GET", "a").is(fails(zdb.TextNamespaceGone)).ends(), // detached ahead of it, as the original does
		}},
		{name: "the disk takes no more data", fresh: true, originalOnly: whyOurDisk, rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			limitFiles(0, "data/%s/d0"),
			q("SET", "b", "1").is(fails(zdb.TextCannotWrite)),
			q("DEL", "a").is(fails(zdb.TextCannotDelete)),
			q("GET", "a").is(bulk("1")),
		}},
		{name: "the disk takes no more of the index", fresh: true, originalOnly: whyItsDisk, rows: append(longKeys(30),
			limitFiles(0, "index/%s/i0"),
			q("SET", "b", "1").is(fails(zdb.TextCannotIndex)),
		)},
		{name: "the disk takes no change of the index", fresh: true, originalOnly: whyItsDisk, rows: append(longKeys(30),
			q("NSJUMP").is(ok),
			limitFiles(2000, ""),
			q("DEL", longKey(29)).is(fails(zdb.TextCannotDelIndex)),
		)},
		{name: "a data file is cut", fresh: true, originalOnly: whyTruncated, rows: []row{
			q("SET", "a", "value").is(bulk("a")),
			beside(func(t *testing.T, p *peer, n names) {
				if err := os.Truncate(filepath.Join(p.dir, "data", n["ns"], "d0"), 40); err != nil {
					t.Fatal(err)
				}
			}),
			q("GET", "a").is(fails(zdb.TextInternalError)),
			q("CHECK", "a").is(":-1\r\n"),
			q("MGET", "a").is(list(fails(zdb.TextInternalError))),
		}},
	}
}
