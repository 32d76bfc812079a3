package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/mountpoint"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs/control"
)

func newUmount(a *app) *cobra.Command {
	var timeout time.Duration
	var lazy bool
	cmd := &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount a volume",
		Long: `Unmount a volume: its daemon flushes what is dirty, lets go of the mount point, brings to
the nodes what it can in a few seconds, and ends. What is left is uploaded at the next
mount; "qsfs sync" before waits for it. A mount whose daemon is gone is cleaned up.`,
		Example: `  qsfs umount ~/quantum
  qsfs sync home && qsfs umount ~/home
  qsfs umount --lazy /mnt/home            also while programs use it`,
		Args:        exactly(1, "MOUNTPOINT"),
		Annotations: map[string]string{exitNote: "16 18"},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			err := a.umount(ctx, args[0], lazy)
			if errors.Is(err, context.DeadlineExceeded) {
				return exit.New(exit.Other, "the daemon goes on with it; \"qsfs status\" shows how far it is", "not done within %s", timeout)
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "`time` to wait for the daemon to end; 0 is without limit")
	cmd.Flags().BoolVar(&lazy, "lazy", false, "take the mount point away at once; programs that have files open keep them until they close them")
	cmd.ValidArgsFunction = completeFolder
	return cmd
}

func (a *app) umount(ctx context.Context, path string, lazy bool) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	abs, err := mountpoint.Resolve(path)
	if err != nil {
		return err
	}
	mounts, err := mountpoint.List()
	if err != nil {
		return err
	}
	m, mounted := mounts.At(abs)
	switch {
	case !mounted:
		return exit.New(exit.Mountpoint, `"qsfs ls" shows where volumes are mounted`, "%s is not a mount point", abs)
	case !m.Ours():
		return exit.New(exit.Mountpoint, "umount(8) unmounts it", "%s is not a mount of qsfs, but %s", abs, m.Type)
	}
	if v, found := daemonAt(ctx, p, abs); found {
		return a.umountByDaemon(ctx, v, lazy)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.umountOrphan(ctx, p, m, lazy)
}

func (a *app) umountByDaemon(ctx context.Context, v volume, lazy bool) error {
	reply, err := v.client.Unmount(ctx, control.UnmountRequest{Lazy: lazy}, func() {
		if a.verbose > 0 {
			a.say("%s is free; volume %s is being flushed", v.Mountpoint, v.Name)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("unmount %s: %w", v.Mountpoint, err)
	case reply.StagedBytes < 0:
		a.say("volume %s stays open until the last file in it is closed", v.Name)
	case reply.StagedBytes > 0:
		a.say("volume %s unmounted%s", v.Name, leftToUpload(reply.StagedBytes))
	}
	return nil
}

// umountOrphan unmounts without a daemon that listens: it is gone, or it is another user's, or its socket was removed. A
// living one sees that its mount is gone, flushes and ends by itself.
func (a *app) umountOrphan(ctx context.Context, p places.Places, m mountpoint.Mount, lazy bool) error {
	dead := m.Dead()
	err := mountpoint.Unmount(ctx, m.Path, lazy || dead)
	switch {
	case busy(err):
		return exit.New(exit.Mountpoint, `end them, or "qsfs umount --lazy"`, "%s is in use by %s", m.Path, orSomebody(mountpoint.Users(m.Path)))
	case err != nil:
		return err
	case dead:
		a.say("%s was left by a daemon that is gone: unmounted", m.Path)
	default:
		a.warn("no daemon answered for %s in %s: it is unmounted, and its daemon flushes by itself", m.Path, strings.Join(searched(p), " and "))
	}
	return nil
}

func searched(p places.Places) []string {
	if p.Runtime == "" {
		return []string{p.State}
	}
	return []string{p.Runtime, p.State}
}

func orSomebody(users []string) string {
	if len(users) == 0 {
		return "a process that is not ours to see"
	}
	return strings.Join(users, ", ")
}
