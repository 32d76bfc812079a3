package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/phrase"
)

type initFlags struct {
	newPhraseFile string
	nodes         nodeFlags
	keys          keyFlags
}

func newInit(a *app) *cobra.Command {
	f := &initFlags{}
	cmd := &cobra.Command{
		Use:   "init NAME --node URL...",
		Short: "Make a volume on storage nodes",
		Long: `Make an empty volume on storage nodes. All of them must be reachable, and at least
--data plus --parity are needed. On a terminal the 24 words of the volume are shown once,
and three of them asked back; else --new-phrase-file writes them, or --phrase-file gives
words that were made before.

Node URLs:
  zdb://HOST:PORT/NAMESPACE              a 0-db server
  zdbs://HOST:PORT/NAMESPACE             the same over TLS
  zdb+unix:///PATH.sock?ns=NAMESPACE     the same on a unix socket
  dir:///PATH                            a folder, used by this program alone
with the parameters group=NAME (nodes that fail together), password-file=PATH and tls-pin=PIN.`,
		Example: `  qsfs init home --data 4 --parity 2 --new-phrase-file words.txt \
    --node zdb://192.0.2.1:9900/home --node zdb://192.0.2.2:9900/home ...
  qsfs init home --nodes-file nodes.txt --data 16 --parity 4`,
		Args:        exactly(1, "NAME"),
		Annotations: map[string]string{exitNote: "11 12 13 15 16 17"},
		RunE:        func(cmd *cobra.Command, args []string) error { return a.init(cmd, f, args[0]) },
	}
	flags := cmd.Flags()
	f.nodes.registerURLs(flags)
	f.nodes.registerShape(flags, 0, 0)
	flags.StringVar(&f.newPhraseFile, "new-phrase-file", "", "write the words to this new `file`")
	f.keys.register(flags)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (a *app) init(cmd *cobra.Command, f *initFlags, name string) error {
	ctx := cmd.Context()
	p, err := a.volumeArg(cmd, name)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("data") || !cmd.Flags().Changed("parity") {
		return exit.UsageError("for example --data 4 --parity 2: any 4 of 6 nodes are enough", "--data and --parity are needed")
	}
	if err := f.nodes.checkShape(); err != nil {
		return err
	}
	nodes, err := f.nodes.nodes()
	if err != nil {
		return err
	}
	if need := f.nodes.data + f.nodes.parity; len(nodes) < need {
		return exit.New(exit.TooFewNodes, "name more nodes, or choose less --data or --parity", "too few nodes: %d are named, %d are needed for %d+%d", len(nodes), need, f.nodes.data, f.nodes.parity)
	}
	if _, err := a.readFinished(p, name); err == nil {
		return exit.New(exit.Other, `mount it with "qsfs mount", or choose another name`, "%w: %s, in %s", fs.ErrVolumeExists, name, p.StateOf(name))
	}
	n := newVolume{keys: &f.keys, config: fs.Config{Name: name, Data: f.nodes.data, Parity: f.nodes.parity, Nodes: nodes}}
	if n.words, err = a.initWords(ctx, name, f); err != nil {
		return err
	}
	defer n.words.Wipe()
	if !a.phraseRequest(name, &f.keys).Given() {
		n.phraseFile = f.newPhraseFile
	}
	root, err := a.create(ctx, p, n)
	if err != nil {
		return err
	}
	root.Wipe()
	a.say("volume %s is made: %d nodes, any %d of them may fail", name, len(nodes), f.nodes.parity)
	a.say(`mount it with "qsfs mount %s MOUNTPOINT"`, name)
	return nil
}

// initWords gives the words of the new volume: those that were handed over, or new ones that the user gets now.
func (a *app) initWords(ctx context.Context, name string, f *initFlags) (phrase.Phrase, error) {
	given := a.phraseRequest(name, &f.keys).Given()
	switch {
	case given && f.newPhraseFile != "":
		return phrase.Phrase{}, exit.UsageError("give one of them", "--new-phrase-file makes new words, and other words are given")
	case given:
		return a.readPhrase(ctx, name, &f.keys)
	case f.newPhraseFile != "":
		return phrase.New(nil)
	case !isTerminal(a.stdin) || !isTerminal(a.stdout):
		return phrase.Phrase{}, exit.UsageError("--new-phrase-file F writes new words to a file, --phrase-file F takes words that you have", "this is no terminal to show the words on")
	}
	words, err := phrase.New(nil)
	if err != nil {
		return words, err
	}
	if err := showWords(a.stdout, name, words); err != nil {
		return words, fmt.Errorf("show the words: %w", err)
	}
	return words, askBack(ctx, a.stdin, a.stdout, words)
}
