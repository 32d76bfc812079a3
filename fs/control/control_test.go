package control

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qsfs/qsfs/fs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// volume is a Volume whose calls do what the test says.
type volume struct {
	status  fs.Status
	sync    func(ctx context.Context, progress func(fs.SyncProgress)) error
	unmount func(ctx context.Context, r UnmountRequest, unmounted func()) (UnmountReply, error)
}

func (v *volume) Status(context.Context) fs.Status { return v.status }
func (v *volume) Sync(ctx context.Context, progress func(fs.SyncProgress)) error {
	return v.sync(ctx, progress)
}
func (v *volume) Unmount(ctx context.Context, r UnmountRequest, unmounted func()) (UnmountReply, error) {
	return v.unmount(ctx, r, unmounted)
}

var quick = timings{request: 200 * time.Millisecond, idle: time.Second, progress: time.Millisecond, heartbeat: 10 * time.Millisecond}

// serve starts a server for v and gives its client.
func serve(t *testing.T, v *volume, times timings) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "home.sock")
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(Info{Name: "home", Mountpoint: "/mnt/home", StateDir: "/var/lib/qsfs/home", PID: 7, Program: "v0"}, v, nil, times)
	server.Start(listener)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there after shutdown", path)
		}
	})
	return NewClient(path)
}

func sampleStatus() fs.Status {
	return fs.Status{
		Name: "home", Generation: 12, Epoch: 3, Data: 4, Parity: 2, NodesUp: 5, StagedBytes: 1258291,
		OldestStagedSeconds: 4, Stripes: 100, DegradedStripes: 2, UsedBytes: 16 << 20, Inodes: 42,
	}
}

func TestInfoAndStatus(t *testing.T) {
	client := serve(t, &volume{status: sampleStatus()}, defaultTimings)
	info, err := client.Info(t.Context())
	want := Info{Version: 1, Name: "home", Mountpoint: "/mnt/home", StateDir: "/var/lib/qsfs/home", PID: 7, Program: "v0"}
	if diff := cmp.Diff(want, info); err != nil || diff != "" {
		t.Errorf("info: %v\n%s", err, diff)
	}
	status, err := client.Status(t.Context())
	wantStatus := Status{Version: 1, Status: sampleStatus()}
	wantStatus.Mountpoint = "/mnt/home"
	if diff := cmp.Diff(wantStatus, status); err != nil || diff != "" {
		t.Errorf("status: %v\n%s", err, diff)
	}
}

// TestGolden proves that the bytes of version 1 stay what they are: other programs read them.
func TestGolden(t *testing.T) {
	v := &volume{
		status: sampleStatus(),
		sync: func(_ context.Context, progress func(fs.SyncProgress)) error {
			progress(fs.SyncProgress{DoneBytes: 1, TotalBytes: 2})
			return hinted{fs.ErrTooFewNodes}
		},
		unmount: func(_ context.Context, _ UnmountRequest, unmounted func()) (UnmountReply, error) {
			unmounted()
			return UnmountReply{StagedBytes: 5}, nil
		},
	}
	slow := defaultTimings
	slow.progress, slow.heartbeat = time.Hour, time.Hour
	server := newServer(Info{Name: "home", Mountpoint: "/mnt/home", StateDir: "/s/home", PID: 7, Program: "v0"}, v, nil, slow)
	var got strings.Builder
	for _, call := range []string{"GET /v1/info", "GET /v1/status", "POST /v1/sync", "POST /v1/unmount", "GET /v1/sync", "GET /v2/info"} {
		method, path, _ := strings.Cut(call, " ")
		recorder := httptest.NewRecorder()
		server.http.Handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
		fmt.Fprintf(&got, "%s\n%d %s\n%s\n", call, recorder.Code, recorder.Header().Get("Content-Type"), recorder.Body)
	}
	golden := filepath.Join("testdata", "v1", "calls.txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

type hinted struct{ error }

func (h hinted) Hint() string  { return "start them" }
func (h hinted) Unwrap() error { return h.error }

func TestSyncStreams(t *testing.T) {
	v := &volume{status: fs.Status{StagedBytes: 3}}
	v.sync = func(_ context.Context, progress func(fs.SyncProgress)) error {
		for done := range int64(1001) {
			progress(fs.SyncProgress{DoneBytes: done, TotalBytes: 1000})
		}
		return nil
	}
	client := serve(t, v, defaultTimings)
	var seen []fs.SyncProgress
	if err := client.Sync(t.Context(), func(p fs.SyncProgress) { seen = append(seen, p) }); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 2 || len(seen) > 100 {
		t.Fatalf("%d progress lines for 1001 states, want a few", len(seen))
	}
	if first, last := seen[0], seen[len(seen)-1]; first.DoneBytes != 0 || last.DoneBytes != 1000 || last.TotalBytes != 1000 {
		t.Errorf("first %+v, last %+v: the first and the last state must be told", first, last)
	}
}

// TestQuietSyncOutlivesTheRequestTimeout proves that the deadline for the request does not cut the stream, that a quiet
// stream shows that it lives, and that the sync's context stays alive meanwhile.
func TestQuietSyncOutlivesTheRequestTimeout(t *testing.T) {
	times := quick
	times.request = 50 * time.Millisecond
	beats := make(chan struct{}, 1000)
	v := &volume{sync: func(ctx context.Context, _ func(fs.SyncProgress)) error {
		began := time.Now()
		for range beats {
			if time.Since(began) > 3*times.request {
				return ctx.Err()
			}
		}
		return nil
	}}
	client := serve(t, v, times)
	if err := client.Sync(t.Context(), func(fs.SyncProgress) { beats <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
}

func TestSyncErrorsKeepTheirIdentity(t *testing.T) {
	var fail error
	client := serve(t, &volume{sync: func(context.Context, func(fs.SyncProgress)) error { return fail }}, defaultTimings)
	for _, sentinel := range []error{
		fs.ErrTooFewNodes, fs.ErrLocked, fs.ErrNoSpace, fs.ErrDamaged, fs.ErrNotPermitted, fs.ErrTooNew, fs.ErrWrongKey, fs.ErrMountpoint, fs.ErrVolumeNotFound, ErrBusy,
	} {
		fail = fmt.Errorf("sync: %w: 3 of 6", hinted{sentinel})
		err := client.Sync(t.Context(), nil)
		if !errors.Is(err, sentinel) || err.Error() != fail.Error() {
			t.Errorf("got %v, want %v", err, fail)
		}
		var own *Error
		if !errors.As(err, &own) || own.Hint() != "start them" && fs.HintOf(fail) == "" {
			t.Errorf("%v came without its hint", err)
		}
	}
	fail = errors.New("something else")
	if err := client.Sync(t.Context(), nil); err == nil || err.Error() != "something else" || errors.Unwrap(err) != nil {
		t.Errorf("got %v", err)
	}
}

// TestSyncCancelReachesTheVolume proves that Ctrl-C at the client ends the daemon's work for it.
func TestSyncCancelReachesTheVolume(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	client := serve(t, &volume{sync: func(ctx context.Context, _ func(fs.SyncProgress)) error {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}, defaultTimings)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if err := client.Sync(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("client got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("volume got %v", err)
	}
}

// TestClientThatDoesNotReadIsTakenForGone proves that a stopped client can't hold the daemon's sync for ever.
func TestClientThatDoesNotReadIsTakenForGone(t *testing.T) {
	ended := make(chan error, 1)
	client := serve(t, &volume{sync: func(ctx context.Context, progress func(fs.SyncProgress)) error {
		for ctx.Err() == nil {
			progress(fs.SyncProgress{DoneBytes: 1, TotalBytes: 2})
		}
		ended <- ctx.Err()
		return ctx.Err()
	}}, timings{request: 50 * time.Millisecond, idle: time.Second, progress: 1, heartbeat: 1})
	conn, err := dial(client.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /v1/sync HTTP/1.1\r\nHost: qsfs\r\nContent-Length: 2\r\n\r\n{}")
	<-ended
}

func TestUnmount(t *testing.T) {
	var request UnmountRequest
	var order []string
	client := serve(t, &volume{unmount: func(_ context.Context, r UnmountRequest, unmounted func()) (UnmountReply, error) {
		request = r
		unmounted()
		order = append(order, "daemon")
		return UnmountReply{StagedBytes: 17}, nil
	}}, defaultTimings)
	reply, err := client.Unmount(t.Context(), UnmountRequest{Lazy: true}, func() { order = append(order, "client") })
	if err != nil || reply.StagedBytes != 17 || !request.Lazy || len(order) != 2 {
		t.Errorf("reply %+v, %v; request %+v; order %v", reply, err, request, order)
	}
}

func TestRefusals(t *testing.T) {
	client := serve(t, &volume{}, quick)
	for _, tc := range []struct {
		name, request string
		want          int
	}{
		{"unknown path", "GET /v1/nothing HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n", 404},
		{"unknown version", "GET /v2/info HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n", 404},
		{"unknown field", "POST /v1/unmount HTTP/1.1\r\nHost: q\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{\"force\":true}", 400},
		{"not json", "POST /v1/unmount HTTP/1.1\r\nHost: q\r\nConnection: close\r\nContent-Length: 3\r\n\r\nxyz", 400},
		{"body too long", "POST /v1/unmount HTTP/1.1\r\nHost: q\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat(" ", 100000), 400},
		{"header too long", "GET /v1/info HTTP/1.1\r\nHost: q\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		{"not http", "PING\r\n\r\n", 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := dial(client.Path())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go io.WriteString(conn, tc.request)
			reply, _ := io.ReadAll(conn)
			var status int
			fmt.Sscanf(string(reply), "HTTP/1.1 %d", &status)
			if status != tc.want {
				t.Errorf("got %q, want status %d", reply, tc.want)
			}
		})
	}
	if _, err := client.Info(t.Context()); err != nil {
		t.Errorf("the server no longer answers: %v", err)
	}
	if err := client.get(t.Context(), "/v1/nothing", new(Info)); !errors.Is(err, ErrUnknownCall) {
		t.Errorf("got %v, want ErrUnknownCall", err)
	}
}

// TestStrangeServers proves that a client meets anything on the other end with an error.
func TestStrangeServers(t *testing.T) {
	for _, tc := range []struct {
		name, reply string
		want        error
	}{
		{"closes", "", io.ErrUnexpectedEOF},
		{"cut stream", "HTTP/1.1 200 OK\r\n\r\n{\"type\":\"progress\"}\n", io.ErrUnexpectedEOF},
		{"garbage line", "HTTP/1.1 200 OK\r\n\r\nxyz\n", ErrProtocol},
		{"status without body", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", ErrProtocol},
		{"error without kind", "HTTP/1.1 200 OK\r\n\r\n{\"type\":\"error\"}\n", nil},
		{"not http", "+PONG\r\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.sock")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				http.ReadRequest(newReader(conn))
				io.WriteString(conn, tc.reply)
			}()
			err = NewClient(path).Sync(t.Context(), nil)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone.sock")
	if _, err := NewClient(path).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	leaveStale(t, path)
	if _, err := NewClient(path).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stale socket: %v", err)
	}
	missing := filepath.Join(t.TempDir(), strings.Repeat("d", 200), "x.sock")
	if _, err := NewClient(missing).Info(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no folder: %v", err)
	}
}

// leaveStale leaves a socket file as a killed daemon does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestListen(t *testing.T) {
	t.Run("replaces a stale socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.sock")
		leaveStale(t, path)
		listener, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
		}
	})
	t.Run("refuses a live one", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.sock")
		first, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		go func() {
			for {
				if conn, err := first.Accept(); err == nil {
					conn.Close()
				} else {
					return
				}
			}
		}()
		if second, err := Listen(path); !errors.Is(err, ErrInUse) {
			t.Errorf("got %v, %v; want ErrInUse", second, err)
		}
	})
	t.Run("keeps what is no socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.sock")
		if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); err == nil {
			t.Error("listened on a file")
		}
		if data, err := os.ReadFile(path); string(data) != "data" {
			t.Errorf("the file is now %q, %v", data, err)
		}
	})
	t.Run("refuses a folder open to others", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(filepath.Join(dir, "s.sock")); !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v, want a permission error", err)
		}
	})
	t.Run("long path", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), strings.Repeat("d", 120), "s.sock")
		listener, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		server := NewServer(Info{Name: "far"}, &volume{}, nil)
		server.Start(listener)
		info, err := NewClient(path).Info(t.Context())
		if err != nil || info.Name != "far" {
			t.Errorf("got %+v, %v", info, err)
		}
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket stayed: %v", err)
		}
	})
	t.Run("leaves a successor's socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.sock")
		first, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(path)
		second, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		first.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("closing the first removed the second's socket: %v", err)
		}
	})
}

func TestAllowedPeers(t *testing.T) {
	for _, tc := range []struct {
		peer, own int
		want      bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {-1, 1000, false}} {
		if got := allowed(tc.peer, tc.own); got != tc.want {
			t.Errorf("allowed(%d, %d) = %v", tc.peer, tc.own, got)
		}
	}
}

// TestConnectionBound proves that the 65th connection waits, and gets its turn.
func TestConnectionBound(t *testing.T) {
	client := serve(t, &volume{}, defaultTimings)
	var held []net.Conn
	for range maxConnections {
		conn, err := dial(client.Path())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		// A reply proves that the server holds the connection.
		io.WriteString(conn, "GET /v1/info HTTP/1.1\r\nHost: q\r\n\r\n")
		response, err := http.ReadResponse(newReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
	}
	var answered atomic.Bool
	done := make(chan error, 1)
	go func() {
		_, err := client.Info(t.Context())
		answered.Store(true)
		done <- err
	}()
	// The next connection is in the kernel's queue; it can't have been answered while all slots are held.
	if conn, err := dial(client.Path()); err == nil {
		conn.Close()
	}
	if answered.Load() {
		t.Error("answered beyond the bound")
	}
	for _, conn := range held {
		conn.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzEvents proves that no line of a stream makes the client panic, and that it always ends in a result.
func FuzzEvents(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1", "calls.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "{") {
			f.Add([]byte(line))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		client := NewClient("unused")
		client.http.Transport = roundTrip(body)
		if _, err := client.Unmount(t.Context(), UnmountRequest{}, func() {}); err != nil && err.Error() == "" {
			t.Error("an error without a message")
		}
		var e event
		if json.Unmarshal(body, &e) == nil && e.Type == "done" {
			if err := client.Sync(t.Context(), nil); err != nil {
				t.Errorf("done was read as %v", err)
			}
		}
	})
}
