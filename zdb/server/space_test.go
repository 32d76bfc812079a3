package server

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// smallDisk is the disk of the stores, with as much free space as it says.
type smallDisk struct {
	vfs.FS
	freeBytes atomic.Int64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.freeBytes.Load()), TotalBytes: 1 << 40, UsedBytes: 1 << 39}, nil
}

// A full disk stops writes only, with the text for it; they go on by themselves when
// there is space again, and nothing is lost.
func TestFullDisk(t *testing.T) {
	disk := &smallDisk{FS: vfs.Default}
	disk.freeBytes.Store(1 << 30)
	dir := t.TempDir()
	// The disk is asked for its room now and then: each look at the clock is two seconds later.
	var seconds atomic.Int64
	now := func() time.Time { return time.Unix(1_700_000_000+seconds.Add(2), 0) }
	s, addr := run(t, Options{DataDir: dir, fs: disk, now: now})
	c := dial(t, addr)
	c.want("+OK", "NSNEW", "seq")
	c.want("+OK", "NSSET", "seq", "mode", "seq")
	value := strings.Repeat("v", 10000)
	c.want("a", "SET", "a", value)
	c.want("b", "SET", "b", value)

	disk.freeBytes.Store(1 << 20)
	c.steps([]step{
		{"+OK", args("RELOAD", "default")}, // a store asks the disk now and then only
		{"+OK", args("RELOAD", "seq")},
		{"-No space left on this namespace", args("SET", "c", "v")},
		{"-No space left on this namespace", args("SET", "a", "v")},
		{"nil", args("SET", "a", value)}, // nothing to write
		{value, args("GET", "a")},
		{"+OK", args("DEL", "b")},
		{"nil", args("GET", "b")},
		{":1", args("DBSIZE")},
		{"+OK", args("SELECT", "seq")},
		{"-No space left on this namespace", args("SET", "", "v")},
		{"+OK", args("SELECT", "default")},
	})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, addr = run(t, Options{DataDir: dir, fs: disk, now: now}) // it starts on a full disk
	c = dial(t, addr)
	c.want("-No space left on this namespace", "SET", "c", "v")
	c.want(value, "GET", "a")

	disk.freeBytes.Store(1 << 30)
	c.steps([]step{
		{"c", args("SET", "c", "v")},
		{"a", args("SET", "a", "v")},
		{"v", args("GET", "a")},
		{"nil", args("GET", "b")},
		{"+OK", args("SELECT", "seq")},
		{id(0), args("SET", "", "v")}, // what did not fit took no id
	})
}
