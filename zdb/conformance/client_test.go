package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
)

func open(t testing.TB, target client.Target, options client.Options) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), target, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func openSequential(t testing.TB, target client.Target, options client.Options) *client.Sequential {
	t.Helper()
	c, err := client.OpenSequential(t.Context(), target, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// user is a target without an administrator's password, admin one with it.
func (p *peer) user(namespace, password string) client.Target {
	target := client.Target{Network: p.network, Address: p.address, Namespace: namespace, Password: password}
	if p.tls != nil {
		target.TLS = p.tls.client()
	}
	return target
}

func (p *peer) admin(namespace string) client.Target {
	target := p.user(namespace, "")
	target.AdminPassword = adminPassword
	return target
}

// TestClient is what a client does that an embedded store has no part in.
func TestClient(t *testing.T) {
	overAllClients(t, func(t *testing.T, k kind) { testClient(t, k.start(t, config{Admin: true})) })
}

func testClient(t *testing.T, p *peer) {
	create := client.Options{CreateNamespace: true}

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
			!info.Public || info.Password || info.Locked || info.DataDiskFreeBytes <= 0 {
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
		c := open(t, p.user("", ""), client.Options{})
		want(t, c.Ping(ctx), nil)
		info, err := c.Info(ctx)
		if err != nil || !strings.Contains(info.Name, "0-db") || info.Revision == "" || info.EngineRevision == "" || info.InstanceID == "" ||
			time.Since(info.Boot).Abs() > time.Hour || info.Uptime > time.Hour || info.Clients == 0 ||
			info.SequentialKeyBytes != 8 || info.DataVersion != 3 || info.IndexVersion != 4 ||
			info.CommandsExecuted == 0 || info.ReceivedBytes == 0 || info.SentBytes == 0 {
			t.Errorf("info: got %+v, %v", info, err)
		}
		if now, err := c.Time(ctx); err != nil || time.Since(now).Abs() > time.Minute {
			t.Errorf("time: got %v, %v", now, err)
		}
		want(t, c.Set(ctx, []byte("in the default namespace"), []byte("1")), nil)
	})

	t.Run("mode", func(t *testing.T) {
		ctx := t.Context()
		seq := openSequential(t, p.admin("sequential"), create)
		if id, err := seq.Append(ctx, []byte("v")); id != 0 || err != nil {
			t.Errorf("got id %d, %v", id, err)
		}
		info, err := seq.NSInfo(ctx, "sequential")
		if err != nil || info.Mode != client.ModeSequential || info.NextID != 1 || info.Entries != 1 {
			t.Errorf("nsinfo: got %+v, %v", info, err)
		}
		_, err = client.Open(ctx, p.user("sequential", ""), client.Options{})
		want(t, err, zdb.ErrWrongMode)
		_, err = client.OpenSequential(ctx, p.user("", ""), client.Options{})
		want(t, err, zdb.ErrWrongMode)
		values, err := seq.MGet(ctx, 0, 1)
		if err != nil || len(values) != 2 || string(values[0]) != "v" || values[1] != nil {
			t.Errorf("mget: got %q, %v", values, err)
		}
		n := 0
		for e, err := range seq.Scan(ctx) {
			if n++; err != nil || e.ID != 0 || e.SizeBytes != 1 {
				t.Errorf("scan: got %+v, %v", e, err)
			}
		}
		for v, err := range seq.History(ctx, 0) {
			if n++; err != nil || string(v.Value) != "v" {
				t.Errorf("history: got %+v, %v", v, err)
			}
		}
		if n != 2 {
			t.Errorf("%d steps", n)
		}
	})

	t.Run("walks", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("walks"), create)
		for _, key := range []string{"a", "b", "c"} {
			want(t, c.Set(ctx, []byte(key), []byte("v")), nil)
		}
		cursor, err := c.KeyCursor(ctx, []byte("b"))
		want(t, err, nil)
		for name, w := range map[string]struct {
			walk func(func(client.Entry, error) bool)
			want string
		}{
			"forward": {c.Scan(ctx), "abc"}, "back": {c.RScan(ctx), "cba"},
			"on": {c.ScanFrom(ctx, cursor), "c"}, "back from there": {c.RScanFrom(ctx, cursor), "a"},
		} {
			got := ""
			for e, err := range w.walk {
				want(t, err, nil)
				got += string(e.Key)
			}
			if got != w.want {
				t.Errorf("%s: got %q, want %q", name, got, w.want)
			}
		}
		want(t, c.Set(ctx, []byte("a"), []byte("w")), nil)
		versions := ""
		for v, err := range c.History(ctx, []byte("a")) {
			want(t, err, nil)
			versions += string(v.Value)
		}
		if versions != "wv" {
			t.Errorf("versions: got %q", versions)
		}
		for _, err := range c.History(ctx, []byte("never")) {
			want(t, err, zdb.ErrNotFound)
		}
	})

	t.Run("files", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("files"), create)
		want(t, c.SetAt(ctx, []byte("k"), []byte("rawv"), time.Unix(1234567890, 0)), nil)
		r, err := c.DataRaw(ctx, 0, client.FirstRecord)
		if err != nil || string(r.Key) != "k" || string(r.Value) != "rawv" || r.ValueCRC != 0x3bed9e44 || r.Deleted || r.Previous != 0 || r.Time.Unix() != 1234567890 {
			t.Errorf("data raw: got %+v, %v", r, err)
		}
		_, err = c.DataRaw(ctx, 0, 1<<30)
		want(t, err, zdb.ErrNoMoreData)
		_, err = c.DataRaw(ctx, 7, client.FirstRecord)
		want(t, err, zdb.ErrNotFound)
		want(t, c.Set(ctx, []byte("k"), []byte("other")), nil)
		if files, err := c.IndexDirty(ctx); err != nil || !slices.Equal(files, []uint32{0}) {
			t.Errorf("dirty: got %v, %v", files, err)
		}
		want(t, c.ResetIndexDirty(ctx), nil)
		if files, err := c.IndexDirty(ctx); err != nil || len(files) != 0 {
			t.Errorf("dirty: got %v, %v", files, err)
		}
		want(t, c.NSJump(ctx), nil)
		want(t, c.Reload(ctx, "files"), nil)
		want(t, c.Reload(ctx, "absent"), zdb.ErrNamespaceNotFound)
		if got, err := c.Get(ctx, []byte("k")); err != nil || string(got) != "other" {
			t.Errorf("got %q, %v", got, err)
		}
		if info, err := c.NSInfo(ctx, "files"); err != nil || info.DataFile != 1 || info.DataActive == "" || info.IndexActive == "" || info.DataPath == "" || info.IndexPath == "" {
			t.Errorf("nsinfo: got %+v, %v", info, err)
		}
		want(t, c.Flush(ctx), zdb.ErrAccessDenied)
		if runs, err := c.Hooks(ctx); err != nil || len(runs) != 0 {
			t.Errorf("hooks: got %v, %v", runs, err)
		}
		guest := open(t, p.user("files", ""), client.Options{})
		for _, err := range []error{
			guest.NSJump(ctx), guest.Reload(ctx, "files"), guest.ResetIndexDirty(ctx), second(guest.IndexDirty(ctx)), second(guest.Hooks(ctx)),
			second(guest.DataRaw(ctx, 0, client.FirstRecord)), guest.SetAt(ctx, []byte("k"), nil, time.Unix(1, 0)), guest.DelAt(ctx, []byte("k"), time.Unix(1, 0)),
		} {
			want(t, err, zdb.ErrAccessDenied)
		}
	})

	if !p.original { // its release build has none
		t.Run("kscan", func(t *testing.T) {
			ctx := t.Context()
			c := open(t, p.admin("kscan"), create)
			var writers sync.WaitGroup
			const keys = 4500 // of 255 bytes: more than a reply holds
			for w := range 32 {
				writers.Go(func() {
					for i := w; i < keys; i += 32 {
						if err := c.Set(ctx, fmt.Appendf(nil, "%0255d", i), nil); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			some, all, err := c.KScan(ctx, []byte("000"))
			if err != nil || all || len(some) == 0 || len(some) >= keys {
				t.Errorf("got %d keys, all %v, %v", len(some), all, err)
			}
			for i, key := range some {
				if string(key) != fmt.Sprintf("%0255d", i) {
					t.Fatalf("key %d: got %q", i, key)
				}
			}
			few, all, err := c.KScan(ctx, fmt.Appendf(nil, "%0254d", 44)) // 44 and one more digit
			if err != nil || !all || len(few) != 10 {
				t.Errorf("got %d keys, all %v, %v", len(few), all, err)
			}
		})
	}

	t.Run("wait", func(t *testing.T) {
		ctx := t.Context()
		c := open(t, p.admin("wait"), create)
		_, err := c.Wait(ctx, "SET", 100*time.Millisecond)
		want(t, err, zdb.ErrTimeout)
		stop, setters := make(chan struct{}), sync.WaitGroup{}
		setters.Go(func() { // WAIT sees what begins after it only, and when that is nobody tells
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.Set(ctx, []byte("k"), fmt.Append(nil, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		name, err := c.Wait(ctx, "set", 10*time.Second)
		if name != "SET" || err != nil {
			t.Errorf("got %q, %v", name, err)
		}
		close(stop)
		setters.Wait()
		_, err = c.Wait(ctx, "NOPE", time.Second)
		if refused := (*zdb.ReplyError)(nil); !errors.As(err, &refused) || refused.Text != zdb.TextUnknownWatch {
			t.Errorf("got %v", err)
		}
	})
}

// second gives the error of a call with a result.
func second[T any](_ T, err error) error { return err }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// A server that goes and comes back loses nothing that was acknowledged, and callers
// see an error meanwhile, never a wrong value.
func TestServerRestart(t *testing.T) {
	overAllClients(t, func(t *testing.T, k kind) { testServerRestart(t, k.start(t, config{Admin: true})) })
}

func testServerRestart(t *testing.T, p *peer) {
	c := open(t, p.admin("home"), client.Options{CreateNamespace: true, MaxBackoff: 50 * time.Millisecond, MinBackoff: 10 * time.Millisecond})
	stop := make(chan struct{})
	var acknowledged [8]int
	var failed, written atomic.Int64
	var wg sync.WaitGroup
	for w := range acknowledged {
		wg.Go(func() {
			for i := 0; ; {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.Set(t.Context(), fmt.Appendf(nil, "%d/%d", w, i), fmt.Appendf(nil, "v%d", i)); err != nil {
					want(t, err, zdb.ErrUnavailable)
					failed.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				i++
				acknowledged[w] = i
				written.Add(1)
			}
		})
	}
	eventually(t, "writes are acknowledged", func() bool { return written.Load() > 100 })
	p.stop()
	eventually(t, "writes fail while the server is away", func() bool { return failed.Load() > 10 })
	p.start(t)
	eventually(t, "the client finds the server again", func() bool { return c.Ping(t.Context()) == nil })
	close(stop)
	wg.Wait()
	for w, n := range acknowledged {
		for i := range n {
			got, err := c.Get(t.Context(), fmt.Appendf(nil, "%d/%d", w, i))
			if err != nil || !bytes.Equal(got, fmt.Appendf(nil, "v%d", i)) {
				t.Fatalf("%d/%d: got %q, %v", w, i, got, err)
			}
		}
	}
}
