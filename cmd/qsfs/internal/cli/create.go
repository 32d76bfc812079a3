package cli

import (
	"context"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/secret"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/phrase"
)

// newVolume is a volume to be made by init or by the first up.
type newVolume struct {
	config     fs.Config
	words      phrase.Phrase
	phraseFile string // the words are written there; empty: not
	keys       *keyFlags
	// announce, when set, gives the words to the user when everything is made. An error undoes it all.
	announce func() error
}

// create makes a volume: the words' file, the kept key and the volume on its nodes. On an error nothing of it stays.
func (a *app) create(ctx context.Context, p places.Places, n newVolume) (root *keys.Root, err error) {
	passphrase, err := a.newPassphrase(ctx, n.config.Name, n.keys)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe(passphrase)
	root = rootOf(n.words)
	defer func() {
		if err != nil {
			root.Wipe()
			root = nil
		}
	}()
	volumeKeys, err := keys.DeriveVolume(root)
	if err != nil {
		return root, err
	}
	defer volumeKeys.Wipe()

	c, err := a.claimVolume(p, n.config.Name)
	if err != nil {
		return root, err
	}
	c.made.watchNodes(n.config.Nodes)
	c.made.watch(p.CacheOf(n.config.Name))
	finished := false
	defer func() {
		if !finished {
			c.done(false)
		}
	}()
	if n.phraseFile != "" {
		if err := writeWords(n.phraseFile, n.words); err != nil {
			return root, err
		}
		c.owns(n.phraseFile)
	}
	log := a.logger()
	if err := fs.Create(ctx, n.config, fs.Options{
		StateDir: p.StateOf(n.config.Name), CacheDir: p.CacheOf(n.config.Name), Keys: volumeKeys, Dial: dialer(log, true), Log: log,
	}); err != nil {
		return root, err
	}
	if err := a.keepKey(p, n.config.Name, root, n.keys, passphrase); err != nil {
		return root, err
	}
	if err := ctx.Err(); err != nil {
		return root, err
	}
	if n.announce != nil {
		if err := n.announce(); err != nil {
			return root, err
		}
	}
	finished = true
	return root, c.done(true)
}
