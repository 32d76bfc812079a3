package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	killRounds = flag.Int("rounds", 6, "how often TestKill9 kills")
	killSeed   = flag.Uint64("seed", 0, "seed of TestKill9; 0 means a random one")
)

const (
	// killFileBytes makes files short, so that they end and are compacted all the time.
	killFileBytes = 1 << 20
	// killDiskBytes is what the data of a run may take on disk: what is live, files under
	// compaction, and indexes. 200 rounds write some ten times as much.
	killDiskBytes = 64 << 20
)

// TestKill9 kills a few times here; "go test ./cmd/zdbd -run Kill9 -rounds 200" takes a minute.
//
// kill -9 under a load of SET, overwrites, DEL, GET and FLUSH in namespaces of both modes,
// while files end and are compacted, again and again on the same data: each acknowledged
// write is there afterwards, whatever is read is what was written last or never
// acknowledged, what was deleted stays deleted, and no id is given twice.
func TestKill9(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d rounds, seed %d", *killRounds, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	spaces := []*killSpace{
		{name: "user", writers: makeWriters(4, false)},
		{name: "numbered", sequential: true, writers: makeWriters(4, true)},
		{name: "flushed", password: "secret", writers: makeWriters(1, false)},
		{name: "flushednumbered", password: "secret", sequential: true, writers: makeWriters(1, true)},
	}
	var acks, killedOpening, written int64
	for round := range *killRounds {
		args := []string{"--file-size", fmt.Sprint(killFileBytes), "--sync", []string{"group", "group", "none", "always"}[rng.IntN(4)]}
		// Now and then it is killed before it is ready: recovery must bear that too.
		for rng.IntN(4) == 0 {
			killOpening(t, dir, time.Duration(rng.Int64N(int64(80*time.Millisecond))), args...)
			killedOpening++
		}
		d := start(t, dir, args...)
		for _, sp := range spaces {
			if round == 0 {
				sp.make(t, d)
			} else if err := sp.verify(d); err != nil {
				t.Fatalf("round %d, seed %d, namespace %s: %v", round, seed, sp.name, err)
			}
		}
		acks += killUnderLoad(t, d, spaces, rng)
		if round%10 == 9 || round == *killRounds-1 {
			checkClean(t, dir)
		}
	}
	for _, sp := range spaces {
		for _, w := range sp.writers {
			written += w.writtenBytes
		}
	}
	onDisk := diskBytes(t, dir)
	t.Logf("%d acknowledged, %d times killed while opening, %d MiB written, %d MiB on disk", acks, killedOpening, written>>20, onDisk>>20)
	if onDisk > killDiskBytes {
		t.Errorf("%d bytes on disk: nothing was compacted", onDisk)
	}
}

// killOpening starts a process and kills it after so long, which may be before it is ready.
func killOpening(t *testing.T, dir string, after time.Duration, args ...string) {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"--quiet", "--data", filepath.Join(dir, "data"), "--listen", "", "--socket", filepath.Join(dir, "sock")}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Fatalf("ended by itself: %v", err)
	}
}

func program(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("zdbd") // put in PATH by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// killUnderLoad lets all writers work and kills the process after a random number of
// acknowledgements; it tells how many there were.
func killUnderLoad(t *testing.T, d *daemon, spaces []*killSpace, rng *rand.Rand) int64 {
	t.Helper()
	var acks atomic.Int64
	last := 50 + rng.Int64N(1200)
	acked := func() {
		if acks.Add(1) == last {
			d.cmd.Process.Kill()
		}
	}
	var wg sync.WaitGroup
	for _, sp := range spaces {
		for _, w := range sp.writers {
			seed := rng.Uint64()
			wg.Go(func() {
				if err := w.work(d, sp, rand.New(rand.NewPCG(seed, 1)), acked); err != nil {
					t.Errorf("namespace %s: %v", sp.name, err)
					d.cmd.Process.Kill()
				}
			})
		}
	}
	wg.Wait()
	d.cmd.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return acks.Load()
}

// checkClean lets "zdbd check" look at what the killed process left.
func checkClean(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command(program(t), "check", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("zdbd check: %v\n%s", err, out)
	}
}

func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// link is a connection in a namespace.
type link struct {
	nc net.Conn
	r  *bufio.Reader
}

// errorText is an error reply.
type errorText string

func dialSpace(d *daemon, sp *killSpace) (*link, error) {
	nc, err := net.Dial("unix", d.sock)
	if err != nil {
		return nil, err
	}
	l := &link{nc, bufio.NewReader(nc)}
	if sp == nil {
		return l, nil
	}
	args := []string{"SELECT", sp.name}
	if sp.password != "" {
		args = append(args, sp.password)
	}
	if got, err := l.ask(args...); err != nil || got != "OK" {
		nc.Close()
		return nil, fmt.Errorf("SELECT: %v, %w", got, err)
	}
	return l, nil
}

func appendRequest(b *bytes.Buffer, args ...string) {
	fmt.Fprintf(b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(b, "$%d\r\n%s\r\n", len(a), a)
	}
}

func (l *link) ask(args ...string) (any, error) {
	var b bytes.Buffer
	appendRequest(&b, args...)
	if _, err := l.nc.Write(b.Bytes()); err != nil {
		return nil, err
	}
	return readReply(l.r)
}
