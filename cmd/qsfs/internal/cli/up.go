package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/phrase"
)

// embeddedFolder holds the nodes of a volume that up has made.
const embeddedFolder = "nodes"

type upFlags struct {
	name          string
	count         int
	newPhraseFile string
	nodes         nodeFlags
	keys          keyFlags
	mount         mountFlags
}

func newUp(a *app) *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{
		Use:   "up MOUNTPOINT",
		Short: "Mount a volume that lives on this machine; make it the first time",
		Long: `Mount a volume whose nodes are folders of this machine, inside this process. The first
run makes it, on 6 nodes of which any 2 may be lost, and prints its 24 words once.
Later runs mount it again. The program stays in front until Ctrl-C, or detaches with -d.`,
		Example: `  qsfs up ~/quantum
  qsfs up -d --new-phrase-file words.txt ~/quantum
  qsfs up --name photos --nodes 10 --data 7 --parity 3 /mnt/photos`,
		Args:        exactly(1, "MOUNTPOINT"),
		Annotations: map[string]string{exitNote: "11 12 13 14 15 16 17 18"},
		RunE:        func(cmd *cobra.Command, args []string) error { return a.up(cmd, f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "default", "`name` of the volume")
	flags.IntVar(&f.count, "nodes", 6, "nodes of a new volume")
	f.nodes.registerShape(flags, 4, 2)
	flags.StringVar(&f.newPhraseFile, "new-phrase-file", "", "write the words of a new volume to this `file` instead of printing them")
	f.keys.register(flags)
	f.mount.register(flags)
	cmd.ValidArgsFunction = completeFolder
	return cmd
}

func (a *app) up(cmd *cobra.Command, f *upFlags, path string) error {
	ctx := cmd.Context()
	p, err := a.volumeArg(cmd, f.name)
	if err != nil {
		return err
	}
	job, err := a.prepareMount(ctx, p, f.name, path, &f.mount)
	if err != nil {
		return err
	}
	defer job.undo()
	info, err := a.readFinished(p, f.name)
	var root *keys.Root
	switch {
	case err == nil:
		if err := f.checkLater(a, cmd, info); err != nil {
			return err
		}
		root, err = a.unlock(ctx, p, info, &f.keys)
		if err == nil {
			err = a.keepNow(ctx, p, f.name, root, &f.keys, cmd.Flags().Changed("unlock"))
		}
	case errors.Is(err, fs.ErrVolumeNotFound):
		root, err = a.firstUp(ctx, p, f)
	}
	if err != nil {
		return err
	}
	defer root.Wipe()
	return a.mountOrDetach(ctx, job, root)
}

// checkLater refuses flags that would have shaped the volume when it was made, and now would not.
func (f *upFlags) checkLater(a *app, cmd *cobra.Command, info fs.Info) error {
	flags := cmd.Flags()
	given := func(flag string, value, is int) error {
		if flags.Changed(flag) && value != is {
			return exit.UsageError("a volume keeps its shape; another --name makes another volume", "volume %s was made with --%s %d", f.name, flag, is)
		}
		return nil
	}
	err := errors.Join(given("nodes", f.count, len(info.Nodes)), given("data", f.nodes.data, info.Data), given("parity", f.nodes.parity, info.Parity))
	if err == nil && f.newPhraseFile != "" && a.daemon == nil {
		a.warn("volume %s is there already: no new words are written to %s", f.name, f.newPhraseFile)
	}
	return err
}

// firstUp makes the volume.
func (a *app) firstUp(ctx context.Context, p places.Places, f *upFlags) (*keys.Root, error) {
	if err := f.nodes.checkShape(); err != nil {
		return nil, err
	}
	if f.count < f.nodes.data+f.nodes.parity {
		return nil, exit.UsageError("more --nodes, or less --data or --parity", "--nodes %d: %d are needed for %d+%d", f.count, f.nodes.data+f.nodes.parity, f.nodes.data, f.nodes.parity)
	}
	n := newVolume{keys: &f.keys, config: fs.Config{
		Name: f.name, Data: f.nodes.data, Parity: f.nodes.parity, Nodes: embeddedNodes(filepath.Join(p.StateOf(f.name), embeddedFolder), f.count),
	}}
	var err error
	if a.phraseRequest(f.name, &f.keys).Given() {
		n.words, err = a.readPhrase(ctx, f.name, &f.keys)
	} else {
		n.words, err = phrase.New(nil)
		n.phraseFile = f.newPhraseFile
		if n.phraseFile == "" {
			if a.toJournal() {
				return nil, exit.UsageError("give --new-phrase-file", "standard output is the system's journal: the words of a new volume must not go there")
			}
			n.announce = func() error {
				if err := showWords(a.stdout, f.name, n.words); err != nil {
					return fmt.Errorf("show the words: %w", err)
				}
				return nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	defer n.words.Wipe()
	return a.create(ctx, p, n)
}
