package server

import (
	"fmt"
	"os"

	"github.com/qsfs/qsfs/zdb"
)

// Mode says which namespaces a server has.
type Mode int

const (
	// ModeMixed lets each namespace be in user-key or in sequential mode. New ones are
	// in user-key mode; NSSET mode changes those in which nothing has been written.
	ModeMixed Mode = iota
	// ModeUser pins the server to namespaces in user-key mode.
	ModeUser
	// ModeSequential pins the server to namespaces in sequential mode.
	ModeSequential
)

// ofNew is the mode of a namespace that is made.
func (m Mode) ofNew() keyMode {
	if m == ModeSequential {
		return sequentialKeys
	}
	return userKeys
}

// allows is zdb.ErrWrongMode when a server in this mode can't serve the namespace.
func (m Mode) allows(d *descriptor) error {
	if m == ModeMixed || m.ofNew() == d.Mode {
		return nil
	}
	return fmt.Errorf("namespace %q was made in %s mode, and the server is pinned to %s mode: %w", d.Name, d.Mode, m.ofNew(), zdb.ErrWrongMode)
}

// String is the mode as NSINFO calls it.
func (m keyMode) String() string {
	if m == sequentialKeys {
		return "sequential"
	}
	return "userkey"
}

// nssetMode is NSSET name mode user|seq: for namespaces in which nothing was written,
// not even what is gone again.
func (c *conn) nssetMode(ns *namespace, value string) {
	if c.srv.opts.Mode != ModeMixed {
		c.fail(zdb.TextSingleMode)
		return
	}
	c.out.settle()
	text, err := c.srv.spaces.switchMode(ns, value)
	switch {
	case err != nil:
		c.changeFailed(ns, err)
	case text != "":
		c.fail(text)
	default:
		c.status("OK")
	}
}

// switchMode gives the text why it did not, or an error.
func (n *namespaces) switchMode(ns *namespace, value string) (text string, err error) {
	err = n.alone(ns, func() error {
		// Closed first: what was handed to the store counts too.
		if err := ns.closeStore(); err != nil {
			return err
		}
		st, err := n.open(ns)
		if err != nil {
			return err
		}
		if figures := st.Stats(); figures.NextSequence > 1 || figures.DataFile > 1 {
			text = zdb.TextModeInUse
			return nil
		}
		mode := userKeys
		switch value {
		case "user":
		case "seq":
			mode = sequentialKeys
		default:
			text = zdb.TextInvalidMode
			return nil
		}
		if mode == ns.settings.Load().Mode {
			return nil
		}
		// The store is made anew in the other mode.
		if err := ns.closeStore(); err != nil {
			return err
		}
		if err := os.RemoveAll(ns.storeDir()); err != nil {
			return err
		}
		return n.rewrite(ns, func(s *settings) { s.Mode = mode })
	})
	if err == nil && text == "" {
		n.hooks.start("namespace-updated", ns.name)
	}
	return text, err
}
