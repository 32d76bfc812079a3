package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs"
)

func newSync(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync [NAME]",
		Short: "Wait until everything is on the nodes",
		Long: `Wait until everything that was written before is on the nodes. Without a name, in all
mounted volumes, one after the other. With --json it writes a line of progress a second, and
{"type":"done","volume":NAME} for each volume.`,
		Example: `  qsfs sync
  qsfs sync home && qsfs umount ~/home`,
		Args:        atMost(1, "one NAME at most"),
		Annotations: map[string]string{exitNote: "10 13 15 16"},
		RunE:        a.sync,
	}
	cmd.Flags().Bool("json", false, "write JSON, one event a line")
	cmd.ValidArgsFunction = a.completeVolume
	return cmd
}

func (a *app) sync(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	p, err := a.places()
	if err != nil {
		return err
	}
	chosen, err := a.syncable(ctx, p, args)
	if err != nil {
		return err
	}
	for _, v := range chosen {
		meter := a.meter()
		err := v.client.Sync(ctx, func(s fs.SyncProgress) { meter.Update(v.Name+": uploading", s.DoneBytes, s.TotalBytes) })
		meter.Clear()
		if err != nil {
			return fmt.Errorf("sync of volume %s: %w", v.Name, err)
		}
		if a.asJSON {
			fmt.Fprintf(a.stdout, "{\"type\":\"done\",\"volume\":%q}\n", v.Name)
		} else if a.verbose > 0 {
			a.say("volume %s is on its nodes", v.Name)
		}
	}
	return nil
}

// syncable gives the volume that is named, or all that are mounted.
func (a *app) syncable(ctx context.Context, p places.Places, args []string) ([]volume, error) {
	if len(args) == 1 {
		v, err := a.volume(ctx, p, args[0])
		if err == nil && v.client == nil {
			err = exit.New(exit.Other, fmt.Sprintf(`"qsfs mount %s MOUNTPOINT" uploads what is left`, v.Name), "volume %s is not mounted", v.Name)
		}
		return []volume{v}, err
	}
	all, err := a.volumes(ctx, p)
	if err != nil {
		return nil, err
	}
	var mounted []volume
	for _, v := range all {
		if v.client != nil {
			mounted = append(mounted, v)
		}
	}
	if len(mounted) == 0 {
		return nil, exit.New(exit.Other, `"qsfs ls" lists the volumes of this machine`, "no volume is mounted")
	}
	return mounted, nil
}
