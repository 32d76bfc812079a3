package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/detach"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/mountpoint"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keys"
)

const fuseDevice = "/dev/fuse"

func newMount(a *app) *cobra.Command {
	keyed, mounted := &keyFlags{}, &mountFlags{}
	cmd := &cobra.Command{
		Use:   "mount NAME MOUNTPOINT",
		Short: "Mount a volume",
		Long: `Mount a volume of this machine. The program stays in front until Ctrl-C or "qsfs umount",
or returns with -d once the volume is mounted. It then unmounts, and says what is not
yet on the nodes; that is uploaded at the next mount.`,
		Example: `  qsfs mount home ~/home
  qsfs mount -d --cache-size 50GiB --durability grid home /mnt/home
  qsfs mount home ~/home --key-command "pass show qsfs/home"`,
		Args:        exactly(2, "NAME MOUNTPOINT"),
		Annotations: map[string]string{exitNote: "10 11 12 13 14 15 16 17 18"},
		RunE:        func(cmd *cobra.Command, args []string) error { return a.mount(cmd, keyed, mounted, args[0], args[1]) },
	}
	keyed.register(cmd.Flags())
	mounted.register(cmd.Flags())
	cmd.ValidArgsFunction = a.completeVolumeThenFolder
	return cmd
}

func (a *app) mount(cmd *cobra.Command, keyed *keyFlags, mounted *mountFlags, name, path string) error {
	ctx := cmd.Context()
	p, err := a.volumeArg(cmd, name)
	if err != nil {
		return err
	}
	info, err := a.readFinished(p, name)
	if err != nil {
		return err
	}
	job, err := a.prepareMount(ctx, p, name, path, mounted)
	if err != nil {
		return err
	}
	defer job.undo()
	root, err := a.unlock(ctx, p, info, keyed)
	if err == nil {
		err = a.keepNow(ctx, p, name, root, keyed, cmd.Flags().Changed("unlock"))
	}
	if err != nil {
		return err
	}
	defer root.Wipe()
	return a.mountOrDetach(ctx, job, root)
}

// readFinished reads what is known of a volume without its key. One that is still being made is not there yet.
func (a *app) readFinished(p places.Places, name string) (fs.Info, error) {
	info, err := fs.ReadInfo(p.StateOf(name))
	if errors.Is(err, fs.ErrVolumeNotFound) {
		err = fmt.Errorf("%w: %s", fs.ErrVolumeNotFound, name)
	}
	if err == nil {
		if _, markErr := os.Lstat(filepath.Join(p.StateOf(name), markName)); markErr == nil {
			return info, fmt.Errorf("%w: %s was never finished", fs.ErrVolumeNotFound, name)
		}
	}
	return info, err
}

// mountJob is a mount that was found possible.
type mountJob struct {
	places places.Places
	name   string
	flags  *mountFlags
	point  mountpoint.Prepared
	used   bool // something is, or was, mounted on it
}

// undo removes a mount point made for nothing.
func (j *mountJob) undo() {
	if !j.used {
		j.point.Undo()
	}
}

// prepareMount checks all that can be checked before a key is asked for.
func (a *app) prepareMount(ctx context.Context, p places.Places, name, path string, f *mountFlags) (*mountJob, error) {
	if err := f.check(os.Geteuid()); err != nil {
		return nil, err
	}
	if err := mountpoint.CheckFUSE(fuseDevice, os.Geteuid(), f.allowOther); err != nil {
		return nil, err
	}
	point, err := mountpoint.Prepare(ctx, path, []string{p.State, p.Cache, p.Runtime}, func(text string) { a.warn("%s", text) })
	if err != nil {
		return nil, err
	}
	return &mountJob{places: p, name: name, flags: f, point: point}, nil
}

// mountOrDetach mounts and serves here, or in a daemon that this process waits for.
func (a *app) mountOrDetach(ctx context.Context, job *mountJob, root *keys.Root) error {
	if !job.flags.detach || a.daemon != nil {
		return a.serve(ctx, job, root)
	}
	path := job.flags.logFile
	if path == "" {
		path = job.places.LogOf(job.name)
	}
	log, err := detach.OpenLog(path)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, err := detach.Start(ctx, detach.Options{Args: a.args, Log: log.File(), Secret: root[:]})
	if failure, ok := errors.AsType[*detach.Failure](err); ok {
		return exit.New(exit.Code(failure.Code), failure.Hint, "%s", failure.Message)
	}
	if errors.Is(err, detach.ErrDied) {
		return exit.WithHint(err, "its log is "+path)
	}
	if err != nil {
		return err
	}
	job.used = true
	a.say("ready: %s", ready)
	return nil
}

// keepToMemory makes the garbage collector keep the process to the memory it was given, and to what its control group
// allows. It gives the bytes that the volume may plan with.
func keepToMemory(wantBytes int64, env func(string) string) int64 {
	limit := wantBytes
	if group := cgroupLimit("/"); group > 0 {
		// A tenth stays for what the collector does not count: stacks of the kernel, code, buffers of FUSE.
		limit = min(limit, group/10*9)
	}
	if env("GOMEMLIMIT") != "" {
		if given := debug.SetMemoryLimit(-1); given < math.MaxInt64 {
			limit = min(limit, given)
		}
	}
	debug.SetMemoryLimit(limit)
	return limit
}

// busy tells whether an unmount failed because the mount is in use.
func busy(err error) bool { return errors.Is(err, syscall.EBUSY) }
