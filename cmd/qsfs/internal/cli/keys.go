package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/secret"
	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keyfile"
	"github.com/qsfs/qsfs/identity/keys"
	"github.com/qsfs/qsfs/identity/phrase"
)

// phraseRequest asks for the words of a volume.
func (a *app) phraseRequest(name string, f *keyFlags) secret.Request {
	return secret.Request{
		What: "phrase of volume " + name + " (24 words)", File: f.phraseFile, Command: f.keyCommand, FD: f.phraseFD,
		Credential: "qsfs.phrase", Stdin: a.stdin, Stderr: a.stderr,
	}
}

// readPhrase reads the words of a volume.
func (a *app) readPhrase(ctx context.Context, name string, f *keyFlags) (phrase.Phrase, error) {
	text, err := secret.Read(ctx, a.phraseRequest(name, f))
	if errors.Is(err, secret.ErrNone) {
		return phrase.Phrase{}, exit.UsageError("give --phrase-file, --key-command or --phrase-fd, or run it on a terminal", "%w", err)
	}
	if err != nil {
		return phrase.Phrase{}, err
	}
	defer secret.Wipe(text)
	words, err := phrase.Parse(string(text))
	if err != nil {
		return phrase.Phrase{}, fmt.Errorf("phrase of volume %s: %w", name, err)
	}
	return words, nil
}

func rootOf(words phrase.Phrase) *keys.Root {
	seed := words.Seed()
	defer clear(seed[:])
	return keys.VolumeRoot(seed)
}

// passphrase asks for the passphrase of a kept key; for a new one the terminal asks twice.
func (a *app) passphrase(ctx context.Context, name string, f *keyFlags, isNew bool) ([]byte, error) {
	what := "passphrase of volume " + name
	if isNew {
		what = "new passphrase for volume " + name
	}
	text, err := secret.Read(ctx, secret.Request{What: what, File: f.passphraseFile, Twice: isNew, Stdin: a.stdin, Stderr: a.stderr})
	if errors.Is(err, secret.ErrNone) {
		return nil, exit.UsageError("give --passphrase-file, or run it on a terminal", "%w", err)
	}
	return text, err
}

// unlock gives the root secret of a volume of this machine: of the phrase when a source for it is named, else of the kept
// key, else of the phrase from wherever it may come.
func (a *app) unlock(ctx context.Context, p places.Places, info fs.Info, f *keyFlags) (*keys.Root, error) {
	if a.daemon != nil {
		root := new(keys.Root)
		if copy(root[:], a.daemon.Secret) != len(root) {
			return nil, errors.New("the key handed to the daemon is incomplete")
		}
		secret.Wipe(a.daemon.Secret)
		return root, nil
	}
	root, err := a.findRoot(ctx, p, info.Name, f)
	if err != nil {
		return nil, err
	}
	id, err := keys.VolumeID(root)
	if err != nil {
		return nil, err
	}
	if hex.EncodeToString(id[:]) != info.VolumeID {
		return nil, fmt.Errorf("%w: it opens another volume than %s", fs.ErrWrongKey, info.Name)
	}
	return root, nil
}

func (a *app) findRoot(ctx context.Context, p places.Places, name string, f *keyFlags) (*keys.Root, error) {
	kept := p.KeyOf(name)
	_, err := os.Lstat(kept)
	if err == nil && !a.phraseRequest(name, f).Given() {
		return keyfile.Read(kept, func() ([]byte, error) { return a.passphrase(ctx, name, f, false) })
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("kept key: %w", err)
	}
	words, err := a.readPhrase(ctx, name, f)
	if err != nil {
		return nil, err
	}
	defer words.Wipe()
	return rootOf(words), nil
}

// newPassphrase asks for the passphrase that --unlock passphrase needs; nil for the other ways. It comes before anything
// is made.
func (a *app) newPassphrase(ctx context.Context, name string, f *keyFlags) ([]byte, error) {
	if f.unlock.value != unlockPassphrase {
		return nil, nil
	}
	return a.passphrase(ctx, name, f, true)
}

// keepKey keeps a volume's key for the next mounts, the way the user chose, and tells so.
func (a *app) keepKey(p places.Places, name string, root *keys.Root, f *keyFlags, passphrase []byte) error {
	id, err := keys.VolumeID(root)
	if err != nil {
		return err
	}
	path := p.KeyOf(name)
	switch f.unlock.value {
	case unlockKeyFile:
		if err := keyfile.Write(path, root, id); err != nil {
			return fmt.Errorf("keep the key: %w", err)
		}
		a.say("the key is kept in %s, so that the next mounts need no words; --unlock phrase or passphrase declines", path)
	case unlockPassphrase:
		if err := keyfile.WriteSealed(path, root, id, passphrase); err != nil {
			return fmt.Errorf("keep the key: %w", err)
		}
		a.say("the key is kept in %s, sealed with the passphrase", path)
	}
	return nil
}

// keepNow follows an --unlock that was given for a volume that is here already: it keeps a key that was not kept. It does
// not turn one kept key into another.
func (a *app) keepNow(ctx context.Context, p places.Places, name string, root *keys.Root, f *keyFlags, given bool) error {
	if !given || a.daemon != nil {
		return nil
	}
	_, err := os.Lstat(p.KeyOf(name))
	isKept := err == nil
	switch {
	case f.unlock.value == unlockPhrase && isKept:
		return exit.UsageError("remove "+p.KeyOf(name)+" first; from then on the words are asked for", "--unlock phrase: the key of volume %s is kept already", name)
	case f.unlock.value == unlockPhrase || isKept:
		return nil
	}
	passphrase, err := a.newPassphrase(ctx, name, f)
	if err != nil {
		return err
	}
	defer secret.Wipe(passphrase)
	return a.keepKey(p, name, root, f, passphrase)
}
