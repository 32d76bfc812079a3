package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/detach"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/mountpoint"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/fs/control"
	"github.com/qsfs/qsfs/identity/keys"
)

const (
	retryUnmount   = time.Second     // between two attempts at a mount that is in use
	lazyGrace      = time.Second     // for the kernel to let go of a mount detached lazily
	finishCalls    = 5 * time.Second // for control calls under way when the daemon ends
	maxStatusNodes = 5 * time.Second
)

// serve opens the volume, mounts it, and serves it until it is unmounted.
func (a *app) serve(ctx context.Context, job *mountJob, root *keys.Root) (err error) {
	log, beginLog, closeLog, err := a.openLog(job)
	if err != nil {
		return err
	}
	defer closeLog()
	volumeKeys, err := keys.DeriveVolume(root)
	root.Wipe()
	if err != nil {
		return err
	}
	defer volumeKeys.Wipe()
	memory := keepToMemory(int64(job.flags.memory), os.Getenv)
	volume, err := fs.Open(ctx, fs.Options{
		StateDir: job.places.StateOf(job.name), CacheDir: job.places.CacheOf(job.name), Keys: volumeKeys, Dial: dialer(log, false), Log: log,
		CacheBytes: int64(job.flags.cacheSize), MemoryBytes: memory, MaxStagedBytes: int64(job.flags.maxStaged),
		UploadDelay: job.flags.uploadDelay, Durability: fs.Durability(job.flags.durability.value),
		Waiting: func(holder string, atMost time.Duration) {
			a.say("waiting at most %s for %s, which held the volume and is silent", atMost.Round(time.Second), holder)
		},
	})
	if err != nil {
		return err
	}
	s := &server{a: a, job: job, volume: volume, log: log, released: make(chan struct{}), closed: make(chan struct{})}
	if err := s.mount(); err != nil {
		return errors.Join(err, volume.Close(context.WithoutCancel(ctx)))
	}
	job.used = true
	beginLog()
	return s.run(ctx)
}

// openLog gives the log of a mount: on standard error, or in a file, always for a daemon. A daemon's standard error is that
// file already; what is written through LogFile keeps it small.
//
// Until the volume is ready the error, or the ready line, says on standard error what there is to say; begin lets warnings
// through from then on.
func (a *app) openLog(job *mountJob) (log *slog.Logger, begin, done func(), err error) {
	if job.flags.debugFUSE {
		a.warn("--debug-fuse writes the names of files to the log")
	}
	path := job.flags.logFile
	if path == "" && a.daemon != nil {
		path = job.places.LogOf(job.name)
	}
	level := new(slog.LevelVar)
	if path == "" {
		level.Set(a.level(slog.LevelError))
		begin = func() { level.Set(a.level(slog.LevelWarn)) }
		return slog.New(newLineHandler(a.stderr, level)), begin, func() {}, nil
	}
	file, err := detach.OpenLog(path)
	if err != nil {
		return nil, nil, nil, err
	}
	level.Set(a.level(slog.LevelWarn))
	return slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: level})), func() {}, func() { file.Close() }, nil
}

// server is a mounted volume, from mount to close. It is what the control socket speaks to.
type server struct {
	a      *app
	job    *mountJob
	volume *fs.Volume
	mounts *fs.Mount
	log    *slog.Logger

	unmounting sync.Mutex    // one attempt to unmount at a time
	released   chan struct{} // closed when the kernel has let go of the mount
	closed     chan struct{} // closed when the volume is; then the two below are set
	closeErr   error
	left       int64 // bytes not on the nodes
}

func (s *server) mount() error {
	f := s.job.flags
	var err error
	s.mounts, err = s.volume.Mount(s.job.point.Path, fs.MountOptions{
		AllowOther: f.allowOther || os.Geteuid() == 0, Suid: f.suid, Dev: f.dev, ReadOnly: f.readOnly,
		FsName: mountpoint.SourcePrefix + s.job.name, Debug: f.debugFUSE,
	})
	if err != nil {
		return err
	}
	go func() {
		s.mounts.Wait()
		close(s.released)
	}()
	return nil
}

// run serves until the mount is gone, then closes the volume.
func (s *server) run(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	take := func(sig os.Signal) {
		select {
		case signals <- sig:
		default: // eight unread signals say it all
		}
	}
	s.a.onSignal.Store(&take)
	// Whoever reads our output may go away; the volume must not end by that.
	signal.Ignore(syscall.SIGPIPE)
	if ctx.Err() != nil { // a signal came while the volume was being opened
		take(syscall.SIGTERM)
	}
	ctx = context.WithoutCancel(ctx)

	controls, err := s.listen()
	if err != nil {
		s.takeAway(ctx)
		s.close(ctx, signals)
		return err
	}
	s.ready(ctx)
	s.waitReleased(ctx, signals)
	err = s.close(ctx, signals)
	close(s.closed)
	finish, cancel := context.WithTimeout(ctx, finishCalls)
	defer cancel()
	if shutdownErr := controls.Shutdown(finish); shutdownErr != nil {
		s.log.Warn("control calls cut off", "error", shutdownErr)
	}
	return err
}

// listen opens the control socket in the first place that works.
func (s *server) listen() (*control.Server, error) {
	info := control.Info{
		Name: s.job.name, Mountpoint: s.job.point.Path, StateDir: s.job.places.StateOf(s.job.name), PID: os.Getpid(), Program: version().Version,
	}
	var errs []error
	for _, path := range s.job.places.SocketsOf(s.job.name) {
		listener, err := control.Listen(path)
		if err != nil {
			errs = append(errs, err)
			s.log.Warn("control socket", "path", path, "error", err)
			continue
		}
		controls := control.NewServer(info, s, s.log)
		controls.Start(listener)
		return controls, nil
	}
	return nil, errors.Join(errs...)
}

// ready tells who waits that the volume is there, and lets go of the folder and terminal it was started from.
func (s *server) ready(ctx context.Context) {
	statusCtx, cancel := context.WithTimeout(ctx, maxStatusNodes)
	defer cancel()
	status := s.volume.Status(statusCtx)
	line := fmt.Sprintf("volume %s on %s (%d of %d nodes)", s.job.name, s.job.point.Path, status.NodesUp, len(status.Nodes))
	if s.a.daemon != nil {
		os.Chdir("/")
		s.a.daemon.Ready(line)
		s.log.Info("ready", "volume", s.job.name, "mountpoint", s.job.point.Path, "nodes_up", status.NodesUp, "nodes", len(status.Nodes))
		return
	}
	s.a.say("ready: %s", line)
}

// waitReleased waits until the kernel has let go of the mount: somebody unmounted it, or a signal makes us do so. The
// first signal unmounts, and waits while the mount is in use. The second one takes the mount away from those who use it.
func (s *server) waitReleased(ctx context.Context, signals <-chan os.Signal) {
	retry := time.NewTicker(retryUnmount)
	defer retry.Stop()
	asked, told := 0, false
	for {
		select {
		case <-s.released:
			return
		case <-signals:
			asked++
		case <-retry.C:
			if asked == 0 {
				continue
			}
		}
		if asked > 1 {
			s.takeAway(ctx)
			return
		}
		err := s.unmountOnce()
		switch {
		case err == nil:
			<-s.released
			return
		case busy(err):
			if !told {
				told = true
				s.a.say("%s; waiting for them to end. A second signal takes the mount away from them", s.inUse())
			}
		default:
			s.log.Warn("unmount", "error", err)
		}
	}
}

func (s *server) unmountOnce() error {
	s.unmounting.Lock()
	defer s.unmounting.Unlock()
	select {
	case <-s.released:
		return nil
	default:
		return s.mounts.Unmount()
	}
}

// takeAway unmounts although programs use the mount: it goes from the tree at once, and those that hold files open are
// cut off, so that nothing is accepted any more that the closing volume could not keep.
func (s *server) takeAway(ctx context.Context) {
	mounts, err := mountpoint.List()
	if err != nil {
		s.log.Warn("unmount lazily", "error", err)
	}
	m, mounted := mounts.At(s.job.point.Path)
	if err := mountpoint.Unmount(ctx, s.job.point.Path, true); err != nil {
		s.log.Warn("unmount lazily", "error", err)
	}
	if s.letGo() {
		return
	}
	s.a.warn("programs still have files of the volume open; they get errors from now on")
	if mounted && m.Ours() {
		if err := mountpoint.Abort(m); err != nil {
			s.log.Info("cut off the programs", "error", err)
		}
		s.letGo()
	}
}

// letGo waits a moment for the kernel to let go of the mount, and tells whether it did.
func (s *server) letGo() bool {
	select {
	case <-s.released:
		return true
	case <-time.After(lazyGrace):
		return false
	}
}

func (s *server) inUse() string {
	users := mountpoint.Users(s.job.point.Path)
	if len(users) == 0 {
		return s.job.point.Path + " is in use"
	}
	return s.job.point.Path + " is in use by " + strings.Join(users, ", ")
}

// close flushes and closes the volume. A signal ends the wait for the nodes, and loses nothing: what is not there yet is
// in the local log.
func (s *server) close(ctx context.Context, signals <-chan os.Signal) error {
	closeCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-closeCtx.Done():
		}
	}()
	s.closeErr = s.volume.Close(closeCtx)
	s.left = s.volume.StagedBytes()
	if errors.Is(s.closeErr, context.Canceled) {
		s.closeErr = nil // as asked by the signal
	}
	if s.closeErr == nil {
		s.a.say("volume %s unmounted%s", s.job.name, leftToUpload(s.left))
	}
	return s.closeErr
}

// leftToUpload says what the nodes do not have yet.
func leftToUpload(leftBytes int64) string {
	if leftBytes <= 0 {
		return ""
	}
	return fmt.Sprintf("; %s not yet on the nodes; it is uploaded at the next mount", bytesize.Format(leftBytes))
}

// Status, for the control socket.
func (s *server) Status(ctx context.Context) fs.Status { return s.volume.Status(ctx) }

// Sync, for the control socket.
func (s *server) Sync(ctx context.Context, progress func(fs.SyncProgress)) error {
	return s.volume.Sync(ctx, progress)
}

// Unmount, for the control socket: it unmounts, waits until the volume is closed, and says what is left.
func (s *server) Unmount(ctx context.Context, r control.UnmountRequest, unmounted func()) (control.UnmountReply, error) {
	if r.Lazy {
		if err := mountpoint.Unmount(context.WithoutCancel(ctx), s.job.point.Path, true); err != nil {
			return control.UnmountReply{}, err
		}
		unmounted()
		if !s.letGo() {
			return control.UnmountReply{StagedBytes: -1}, nil
		}
	} else if err := s.unmountOnce(); busy(err) {
		return control.UnmountReply{}, exit.WithHint(fmt.Errorf("%w: %s", control.ErrBusy, s.inUse()), `end them, or "qsfs umount --lazy"`)
	} else if err != nil {
		return control.UnmountReply{}, err
	} else {
		unmounted()
	}
	select {
	case <-s.closed:
		return control.UnmountReply{StagedBytes: s.left}, s.closeErr
	case <-ctx.Done():
		return control.UnmountReply{}, ctx.Err()
	}
}

var _ control.Volume = (*server)(nil)
