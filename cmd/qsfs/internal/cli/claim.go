package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/fs"
)

// markName is the file that says: this state folder is being made. It is there, locked, from before the first byte is
// written until the volume is whole and the user has its words. One that nobody has locked is left from an attempt that
// was killed; nobody can have stored anything in that volume, since it was never mounted.
const markName = ".unfinished"

// claim is a state folder while a volume is made in it, by init, up or restore.
type claim struct {
	dir    string
	made   madeFolders
	mark   *os.File
	others []string // files made elsewhere, removed when it fails
}

// claimVolume makes the state folder of a new volume. A volume that is there already is fs.ErrVolumeExists; what an
// attempt that was killed left behind is removed.
func (a *app) claimVolume(p places.Places, name string) (*claim, error) {
	dir := p.StateOf(name)
	switch _, err := fs.ReadInfo(dir); {
	case err == nil:
		if _, markErr := os.Lstat(filepath.Join(dir, markName)); markErr != nil {
			return nil, exit.New(exit.Other, `mount it with "qsfs mount", or choose another name`, "%w: %s, in %s", fs.ErrVolumeExists, name, dir)
		}
	case !errors.Is(err, fs.ErrVolumeNotFound):
		return nil, fmt.Errorf("state folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, markName)
	_, err := os.Lstat(path)
	leftOver := err == nil
	if !leftOver {
		// What lies there without a volume and without a mark is not ours to remove: the nodes of a volume whose state was
		// lost, for one.
		if foreign, err := foreignEntry(dir); err != nil {
			return nil, fmt.Errorf("state folder: %w", err)
		} else if foreign != "" {
			return nil, exit.New(exit.Other, "move the folder away, or choose another name", "the state folder %s holds no volume, and yet it is not empty: %s", dir, foreign)
		}
	}
	c := &claim{dir: dir}
	c.made.watch(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if c.mark, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		c.made.remove()
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := unix.Flock(int(c.mark.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		c.mark.Close()
		return nil, exit.New(exit.Locked, "wait until it is done", "another process is making volume %s right now", name)
	}
	if leftOver {
		a.warn("volume %s was left unfinished by an attempt that was interrupted: beginning anew", name)
		if err := c.empty(); err != nil {
			c.mark.Close()
			return nil, fmt.Errorf("remove what an interrupted attempt left: %w", err)
		}
	}
	return c, nil
}

// foreignEntry names something in a state folder that no claim has made; none is "". The configuration is a person's.
func foreignEntry(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, entry := range entries {
		if entry.Name() != "config.toml" {
			return entry.Name(), nil
		}
	}
	return "", nil
}

// empty removes what a volume keeps in its state folder. What a person put there stays: the configuration.
func (c *claim) empty() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == markName || entry.Name() == "config.toml" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// owns notes a file outside of the state folder that goes away when the claim fails.
func (c *claim) owns(path string) { c.others = append(c.others, path) }

// done ends the claim. With success the volume is there from now on; else nothing that was made stays.
func (c *claim) done(success bool) error {
	defer c.mark.Close()
	if success {
		if err := os.Remove(filepath.Join(c.dir, markName)); err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
		return syncDir(c.dir)
	}
	for _, path := range c.others {
		os.Remove(path)
	}
	c.empty()
	os.Remove(filepath.Join(c.dir, markName))
	c.made.remove()
	return nil
}

// syncDir makes a change of a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
