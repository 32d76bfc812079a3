package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/secret"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keys"
)

type restoreFlags struct {
	nodes        nodeFlags
	keys         keyFlags
	dryRun, full bool
}

func newRestore(a *app) *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore NAME --node URL",
		Short: "Bring a volume to this machine from its words and one node",
		Long: `Bring a volume to a machine that does not have it. The 24 words and one node that is
reachable are enough: it knows the others. Afterwards "qsfs mount" mounts it. Its files are
fetched when they are first used; with --full the whole catalogue of files is fetched now.`,
		Example: `  qsfs restore home --node zdb://192.0.2.3:9900/home --phrase-file words.txt
  qsfs restore home --node zdb://192.0.2.3:9900/home --dry-run`,
		Args:        exactly(1, "NAME"),
		Annotations: map[string]string{exitNote: "10 11 12 13 14 15 16 17"},
		RunE:        func(cmd *cobra.Command, args []string) error { return a.restore(cmd, f, args[0]) },
	}
	flags := cmd.Flags()
	f.nodes.registerURLs(flags)
	f.keys.register(flags)
	flags.BoolVar(&f.dryRun, "dry-run", false, "look whether it can be restored, and change nothing")
	flags.BoolVar(&f.full, "full", false, "fetch the whole catalogue of files now")
	flags.Bool("json", false, "write JSON, one event a line")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (a *app) restore(cmd *cobra.Command, f *restoreFlags, name string) error {
	ctx := cmd.Context()
	p, err := a.volumeArg(cmd, name)
	if err != nil {
		return err
	}
	seeds, err := f.nodes.nodes()
	if err != nil {
		return err
	}
	if _, err := a.readFinished(p, name); err == nil {
		return exit.New(exit.Other, fmt.Sprintf(`mount it with "qsfs mount %s MOUNTPOINT", or move %s away`, name, p.StateOf(name)), "%w on this machine: %s", fs.ErrVolumeExists, name)
	}
	words, err := a.readPhrase(ctx, name, &f.keys)
	if err != nil {
		return err
	}
	defer words.Wipe()
	root := rootOf(words)
	defer root.Wipe()
	report, err := a.restoreVolume(ctx, p, name, seeds, root, f)
	if err != nil {
		return err
	}
	return a.reportRestore(name, report, f.dryRun)
}

// restoreVolume restores and keeps the key. On an error, and after a dry run, nothing of it stays.
func (a *app) restoreVolume(ctx context.Context, p places.Places, name string, seeds []fs.NodeConfig, root *keys.Root, f *restoreFlags) (report fs.RestoreReport, err error) {
	volumeKeys, err := keys.DeriveVolume(root)
	if err != nil {
		return report, err
	}
	defer volumeKeys.Wipe()
	var passphrase []byte
	if !f.dryRun {
		if passphrase, err = a.newPassphrase(ctx, name, &f.keys); err != nil {
			return report, err
		}
		defer secret.Wipe(passphrase)
	}
	c, err := a.claimVolume(p, name)
	if err != nil {
		return report, err
	}
	c.made.watch(p.CacheOf(name))
	finished := false
	defer func() {
		if !finished {
			c.done(false)
		}
	}()
	log, meter := a.logger(), a.meter()
	report, err = fs.Restore(ctx, name, seeds,
		fs.Options{StateDir: p.StateOf(name), CacheDir: p.CacheOf(name), Keys: volumeKeys, Dial: dialer(log, false), Log: log},
		fs.RestoreOptions{DryRun: f.dryRun, Full: f.full, Progress: func(r fs.RestoreProgress) { meter.Update(r.Stage, r.DoneBytes, r.TotalBytes) }})
	meter.Clear()
	if err != nil || f.dryRun {
		return report, err
	}
	if err := a.keepKey(p, name, root, &f.keys, passphrase); err != nil {
		return report, err
	}
	if err := ctx.Err(); err != nil {
		return report, err
	}
	finished = true
	return report, c.done(true)
}

// restoreEvent is the last event of restore --json.
type restoreEvent struct {
	Type    string           `json:"type"` // "done"
	Version int              `json:"version"`
	Volume  string           `json:"volume"`
	DryRun  bool             `json:"dry_run"`
	Report  fs.RestoreReport `json:"report"`
}

func (a *app) reportRestore(name string, r fs.RestoreReport, dryRun bool) error {
	if a.asJSON {
		if err := writeLine(a.stdout, restoreEvent{"done", listVersion, name, dryRun, r}); err != nil {
			return err
		}
	} else {
		verb := "is restored"
		if dryRun {
			verb = "can be restored; nothing was changed"
		}
		fmt.Fprintf(a.stdout, "volume %s %s\n", name, verb)
		fmt.Fprintf(a.stdout, "  written by %s at %s, generation %d\n", r.Writer, r.WrittenAt.Local().Format("2006-01-02 15:04:05"), r.Generation)
		fmt.Fprintf(a.stdout, "  %s in %d files and folders then, and what was written since\n", bytesize.Format(r.UsedBytes), r.Inodes)
		fmt.Fprintf(a.stdout, "  %d of %d nodes up\n", r.NodesUp, r.Nodes)
		if !dryRun {
			a.say(`mount it with "qsfs mount %s MOUNTPOINT"`, name)
		}
	}
	return nil
}
