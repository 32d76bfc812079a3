package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
)

const adminPassword = "correct horse"

// peer is a running server with an administrator's password, reached two ways.
type peer struct {
	tcp, socket string
	original    bool // the C server
}

// original starts the C server named by QSFS_ZDB_ORIGINAL, on loopback.
func original(t testing.TB) peer {
	t.Helper()
	binary := os.Getenv("QSFS_ZDB_ORIGINAL")
	if binary == "" {
		t.Skip("QSFS_ZDB_ORIGINAL does not name a zdb binary of threefoldtech/0-db")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	dir := t.TempDir()
	socket := filepath.Join(dir, "zdb.sock")
	var log bytes.Buffer
	cmd := exec.Command(binary, "--listen", "127.0.0.1", "--port", port, "--socket", socket, "--dualnet",
		"--data", filepath.Join(dir, "data"), "--index", filepath.Join(dir, "index"),
		"--datasize", "33554432", "--admin", adminPassword)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("server's log: %s", log.Bytes())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := peer{tcp: address, socket: socket, original: true}
	c, err := client.Open(ctx, client.Target{Network: "tcp", Address: address}, client.Options{AllowDown: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for c.Ping(ctx) != nil { // the circuit closes when the server listens
		if ctx.Err() != nil {
			t.Fatalf("the server does not come up: %s", log.Bytes())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return p
}

// The client against the C server as it is.
func TestOriginal(t *testing.T) { conformance(t, original(t)) }

func open(t testing.TB, target client.Target, options client.Options) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), target, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (p peer) admin(namespace string) client.Target {
	return client.Target{Network: "tcp", Address: p.tcp, Namespace: namespace, AdminPassword: adminPassword}
}

func (p peer) user(namespace, password string) client.Target {
	return client.Target{Network: "tcp", Address: p.tcp, Namespace: namespace, Password: password}
}

func want(t *testing.T, got error, sentinel error) {
	t.Helper()
	if !errors.Is(got, sentinel) || sentinel == nil && got != nil {
		t.Errorf("got error %v, want %v", got, sentinel)
	}
}

// conformance is what every 0-db must do with this client.
func conformance(t *testing.T, p peer) {
	create := client.Options{CreateNamespace: true}

	t.Run("data", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("data"), create)
		for name, value := range map[string][]byte{
			"small": []byte("world"), "empty": {}, "binary": []byte("a\r\n\x00$5\r\n"),
			"shard":   bytes.Repeat([]byte("0123456789abcdef"), 32<<10),
			"largest": bytes.Repeat([]byte{0, 255}, zdb.MaxValueBytes/2),
		} {
			key := []byte(name + "\x00\r\n\xff")
			want(t, c.Set(ctx, key, value), nil)
			want(t, c.Set(ctx, key, value), nil) // the same value again: $-1
			got, err := c.Get(ctx, key)
			if err != nil || got == nil || !bytes.Equal(got, value) {
				t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			}
			if n, err := c.Length(ctx, key); err != nil || n != len(value) {
				t.Errorf("%s: length %d, %v", name, n, err)
			}
			if at, err := c.KeyTime(ctx, key); err != nil || time.Since(at).Abs() > time.Hour {
				t.Errorf("%s: time %v, %v", name, at, err)
			}
			if yes, err := c.Exists(ctx, key); err != nil || !yes {
				t.Errorf("%s: exists %v, %v", name, yes, err)
			}
			want(t, c.Check(ctx, key), nil)
			want(t, c.Set(ctx, key, []byte("changed")), nil)
			if got, err := c.Get(ctx, key); err != nil || string(got) != "changed" {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
		long := bytes.Repeat([]byte("k"), zdb.MaxKeyBytes)
		want(t, c.Set(ctx, long, []byte("v")), nil)
		if got, err := c.Get(ctx, long); err != nil || string(got) != "v" {
			t.Errorf("longest key: got %q, %v", got, err)
		}
		if n, err := c.DBSize(ctx); err != nil || n != 6 {
			t.Errorf("dbsize: got %d, %v", n, err)
		}
		want(t, c.Del(ctx, long), nil)
		want(t, c.Del(ctx, long), zdb.ErrNotFound)
		_, err := c.Get(ctx, long)
		want(t, err, zdb.ErrNotFound)
		_, err = c.Length(ctx, long)
		want(t, err, zdb.ErrNotFound)
		want(t, c.Check(ctx, long), zdb.ErrNotFound)
		if yes, err := c.Exists(ctx, long); err != nil || yes {
			t.Errorf("deleted key exists: %v, %v", yes, err)
		}
		want(t, c.Set(ctx, append(long, 'k'), nil), zdb.ErrKeyTooLarge)
		want(t, c.Set(ctx, nil, nil), zdb.ErrKeyEmpty)
		want(t, c.Set(ctx, []byte("k"), make([]byte, zdb.MaxValueBytes+1)), zdb.ErrValueTooLarge)
	})

	t.Run("mget", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("mget"), create)
		var keys [][]byte
		for i := range 300 {
			key := []byte(fmt.Sprint("key", i))
			keys = append(keys, key)
			if i%3 != 0 {
				want(t, c.Set(ctx, key, []byte(strings.Repeat("v", i%3-1))), nil)
			}
		}
		values, err := c.MGet(ctx, keys...)
		if err != nil || len(values) != len(keys) {
			t.Fatalf("got %d values, %v", len(values), err)
		}
		for i, v := range values {
			if (v == nil) != (i%3 == 0) || i%3 != 0 && len(v) != i%3-1 {
				t.Errorf("key %d: got %q", i, v)
			}
		}
	})

	t.Run("scan", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("scan"), create)
		for _, err := range c.Scan(ctx) {
			t.Errorf("an empty namespace gives an entry, %v", err)
		}
		expect := map[string]int{}
		var wg sync.WaitGroup
		var mu sync.Mutex
		for w := range 8 {
			wg.Go(func() {
				for i := range 500 {
					key := fmt.Sprintf("k%d/%d", w, i)
					if err := c.Set(ctx, []byte(key), bytes.Repeat([]byte("x"), i)); err != nil {
						t.Error(err)
					}
					if i%5 == 0 {
						if err := c.Del(ctx, []byte(key)); err != nil {
							t.Error(err)
						}
						continue
					}
					mu.Lock()
					expect[key] = i
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		seen := map[string]int{}
		for e, err := range c.Scan(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if _, twice := seen[string(e.Key)]; twice {
				t.Errorf("key %q comes twice", e.Key)
			}
			seen[string(e.Key)] = e.SizeBytes
		}
		if len(seen) != len(expect) {
			t.Fatalf("got %d keys, want %d", len(seen), len(expect))
		}
		for key, size := range expect {
			if got, ok := seen[key]; !ok || got != size {
				t.Errorf("key %q: got %d, %v, want %d", key, got, ok, size)
			}
		}
		_, _, err := c.ScanPage(ctx, []byte("no cursor"))
		want(t, err, zdb.ErrBadCursor)
	})

	t.Run("pipeline", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("pipeline"), client.Options{CreateNamespace: true, MaxConns: 2, MaxInflight: 64})
		var wg sync.WaitGroup
		for w := range 32 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				for i := range 40 {
					key := []byte(fmt.Sprintf("w%d/%d", w, i))
					value := bytes.Repeat([]byte{byte(w)}, random.IntN(20_000))
					if err := c.Set(ctx, key, value); err != nil {
						t.Error(err)
						return
					}
					if i%4 == 0 { // some callers give up; nobody else may notice
						gone, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(200))*time.Microsecond)
						_, _ = c.Get(gone, key)
						cancel()
					}
					got, err := c.Get(ctx, key)
					if err != nil || !bytes.Equal(got, value) {
						t.Errorf("worker %d: got %d bytes, %v", w, len(got), err)
						return
					}
				}
			})
		}
		wg.Wait()
	})

	t.Run("namespaces", func(t *testing.T) {
		ctx := t.Context()
		root := open(t, p.admin(""), client.Options{})
		want(t, root.NSNew(ctx, "made"), nil)
		want(t, root.NSNew(ctx, "made"), zdb.ErrNamespaceExists)
		names, err := root.NSList(ctx)
		if err != nil || !slices.Contains(names, "made") || !slices.Contains(names, "default") {
			t.Errorf("nslist: got %q, %v", names, err)
		}
		made := open(t, p.user("made", ""), client.Options{})
		want(t, made.Set(ctx, []byte("k"), []byte("four")), nil)
		info, err := root.NSInfo(ctx, "made")
		if err != nil || info.Name != "made" || info.Entries != 1 || info.DataBytes != 4 || info.Mode != client.ModeUserKey ||
			p.original && !info.Public || info.Password || info.Locked || info.DataDiskFreeBytes <= 0 {
			t.Errorf("nsinfo: got %+v, %v", info, err)
		}
		want(t, root.NSSet(ctx, "made", client.PropertyMaxSize, "10"), nil)
		want(t, made.Set(ctx, []byte("more"), []byte("sevenxx")), zdb.ErrNoSpace)
		space, err := made.Space(ctx)
		if err != nil || space.UsedBytes != 4 || space.LimitBytes != 10 || space.DiskFreeBytes <= 0 || space.Device != "" {
			t.Errorf("space: got %+v, %v", space, err)
		}
		want(t, root.NSSet(ctx, "made", client.PropertyMaxSize, "0"), nil)

		want(t, root.NSSet(ctx, "made", client.PropertyLock, "1"), nil)
		want(t, made.Set(ctx, []byte("k"), []byte("five")), zdb.ErrReadOnly)
		_, err = made.Get(ctx, []byte("k"))
		want(t, err, nil)
		want(t, root.NSSet(ctx, "made", client.PropertyLock, "0"), nil)
		want(t, root.NSSet(ctx, "made", client.PropertyFreeze, "1"), nil)
		_, err = made.Get(ctx, []byte("k"))
		want(t, err, zdb.ErrFrozen)
		want(t, root.NSSet(ctx, "made", client.PropertyFreeze, "0"), nil)
		want(t, root.NSSet(ctx, "made", client.PropertyWorm, "1"), nil)
		want(t, made.Del(ctx, []byte("k")), zdb.ErrWorm)
		want(t, made.Set(ctx, []byte("k"), []byte("five")), zdb.ErrWorm)
		want(t, root.NSSet(ctx, "made", client.PropertyWorm, "0"), nil)

		_, err = root.NSInfo(ctx, "absent")
		want(t, err, zdb.ErrNamespaceNotFound)
		want(t, root.NSDel(ctx, "absent"), zdb.ErrNamespaceNotFound)
		want(t, made.NSNew(ctx, "mine"), zdb.ErrAccessDenied)

		want(t, root.NSDel(ctx, "made"), nil)
		_, err = made.Get(ctx, []byte("k"))
		want(t, err, zdb.ErrNamespaceNotFound)
		eventually(t, "the vanished namespace is unavailable", func() bool {
			_, err = made.Get(ctx, []byte("k"))
			return errors.Is(err, zdb.ErrUnavailable) && errors.Is(err, zdb.ErrNamespaceNotFound)
		})
		want(t, root.NSNew(ctx, "made"), nil)
		eventually(t, "the namespace that is back is used", func() bool { return made.Ping(ctx) == nil })
	})

	t.Run("authentication", func(t *testing.T) {
		ctx := t.Context()
		target := p.admin("safe")
		target.Password = "opensesame"
		c := open(t, target, create) // loopback: the password may be set in clear
		want(t, c.Set(ctx, []byte("k"), []byte("v")), nil)
		again := open(t, p.user("safe", "opensesame"), client.Options{})
		want(t, again.Set(ctx, []byte("k"), []byte("w")), nil)

		refused := func(target client.Target, sentinel error) {
			t.Helper()
			c, err := client.Open(ctx, target, create)
			if err == nil {
				c.Close()
			}
			want(t, err, sentinel)
		}
		refused(p.user("safe", "guess"), zdb.ErrAccessDenied)
		refused(p.user("safe", ""), zdb.ErrAccessDenied)
		refused(p.user("absent", ""), zdb.ErrNamespaceNotFound)
		wrong := p.admin("safe")
		wrong.AdminPassword = "guess"
		refused(wrong, zdb.ErrAccessDenied)

		want(t, c.NSSet(ctx, "safe", client.PropertyPublic, "1"), nil)
		reader := open(t, p.user("safe", ""), client.Options{})
		if got, err := reader.Get(ctx, []byte("k")); err != nil || string(got) != "w" {
			t.Errorf("public read: got %q, %v", got, err)
		}
		want(t, reader.Set(ctx, []byte("k"), []byte("x")), zdb.ErrReadOnly)
		want(t, reader.Del(ctx, []byte("k")), zdb.ErrReadOnly)

		want(t, c.SetPassword(ctx, "safe", ""), nil)
		free := open(t, p.user("safe", ""), client.Options{})
		want(t, free.Set(ctx, []byte("k"), []byte("y")), nil)
	})

	t.Run("server", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, client.Target{Network: "unix", Address: p.socket}, client.Options{})
		want(t, c.Ping(ctx), nil)
		info, err := c.Info(ctx)
		if err != nil || !strings.Contains(info.Name, "0-db") || info.Fields["sequential_key_size"] != "8" || info.CommandsExecuted == 0 {
			t.Errorf("info: got %+v, %v", info, err)
		}
		if now, err := c.Time(ctx); err != nil || time.Since(now).Abs() > time.Minute {
			t.Errorf("time: got %v, %v", now, err)
		}
		want(t, c.Set(ctx, []byte("over the socket"), []byte(strconv.Itoa(1))), nil)
	})

	if p.original {
		t.Run("sequential mode is refused", func(t *testing.T) {
			root := open(t, p.admin(""), client.Options{})
			want(t, root.NSNew(t.Context(), "seq"), nil)
			want(t, root.NSSet(t.Context(), "seq", client.PropertyMode, "seq"), nil)
			_, err := client.Open(t.Context(), p.user("seq", ""), client.Options{})
			want(t, err, zdb.ErrWrongMode)
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}
