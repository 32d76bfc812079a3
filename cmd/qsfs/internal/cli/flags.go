package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/settings"
	"github.com/qsfs/qsfs/fs"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) Set(text string) error {
	for _, word := range c.allowed {
		if text == word {
			c.value = text
			return nil
		}
	}
	return exit.UsageError("", "%q is none of %s", text, strings.Join(c.allowed, ", "))
}
func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

// mountFlags say how a volume is mounted.
type mountFlags struct {
	detach, allowOther, readOnly, suid, dev, debugFUSE bool
	cacheSize, memory, maxStaged                       bytesize.Value
	uploadDelay                                        time.Duration
	durability                                         choice
	logFile                                            string
}

func (f *mountFlags) register(flags *pflag.FlagSet) {
	f.memory = 512 << 20
	f.uploadDelay = 10 * time.Second
	f.durability = choice{string(fs.Local), []string{string(fs.Local), string(fs.Grid)}}
	flags.BoolVarP(&f.detach, "detach", "d", false, "return when the volume is mounted, and serve it in the background")
	flags.BoolVar(&f.allowOther, "allow-other", false, "let other users in, as far as permissions go (root always does)")
	flags.BoolVar(&f.readOnly, "read-only", false, "let nothing be changed through this mount")
	flags.BoolVar(&f.suid, "suid", false, "let set-user-id files take effect (root only)")
	flags.BoolVar(&f.dev, "dev", false, "let device files take effect (root only)")
	flags.Var(&f.cacheSize, "cache-size", "local copies of what the nodes have, at most; 0 is a tenth of the free disk, 20GiB at most")
	flags.Var(&f.memory, "memory", "memory to keep to")
	flags.Var(&f.maxStaged, "max-staged", "data not yet on the nodes, beyond which writers wait; 0 is a quarter of the free disk, 16GiB at most")
	flags.DurationVar(&f.uploadDelay, "upload-delay", f.uploadDelay, "`time` after which a write is on its way to the nodes at the latest")
	flags.Var(&f.durability, "durability", "what fsync waits for: the local disk or the nodes")
	flags.StringVar(&f.logFile, "log-file", "", "write the log to this `file`")
	flags.BoolVar(&f.debugFUSE, "debug-fuse", false, "log every request of the kernel: file names too")
}

func (f *mountFlags) check(uid int) error {
	switch {
	case f.uploadDelay <= 0:
		return exit.UsageError("", "--upload-delay must be more than 0")
	case f.memory < 64<<20:
		return exit.UsageError("", "--memory must be at least 64MiB")
	case (f.suid || f.dev) && uid != 0:
		return exit.New(exit.NotPermitted, "mount without them, or as root", "--suid and --dev are for root only")
	}
	return nil
}

// keyFlags say where the phrase comes from and how the key is kept between mounts.
type keyFlags struct {
	phraseFile, keyCommand, passphraseFile string
	phraseFD                               int
	unlock                                 choice
}

// Ways to keep a volume's key between mounts.
const (
	unlockKeyFile    = "key-file"
	unlockPassphrase = "passphrase"
	unlockPhrase     = "phrase"
)

func (f *keyFlags) register(flags *pflag.FlagSet) {
	f.unlock = choice{unlockKeyFile, []string{unlockKeyFile, unlockPassphrase, unlockPhrase}}
	flags.StringVar(&f.phraseFile, "phrase-file", "", "read the 24 words from this `file`; - is standard input")
	flags.StringVar(&f.keyCommand, "key-command", "", "read the 24 words from what this shell `command` prints")
	flags.IntVar(&f.phraseFD, "phrase-fd", 0, "read the 24 words from this file `descriptor`")
	flags.StringVar(&f.passphraseFile, "passphrase-file", "", "read the passphrase of the kept key from this `file`")
	flags.Var(&f.unlock, "unlock", "how the key is kept for the next mounts: in a file only you can read, in a file sealed with a passphrase, or not at all")
}

// nodeFlags name the nodes of a new volume.
type nodeFlags struct {
	urls         []string
	file         string
	data, parity int
}

func (f *nodeFlags) registerURLs(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.urls, "node", nil, "`URL` of a node; give it once for each node")
	flags.StringVar(&f.file, "nodes-file", "", "`file` with a node URL a line; # begins a comment")
}

func (f *nodeFlags) registerShape(flags *pflag.FlagSet, data, parity int) {
	flags.IntVar(&f.data, "data", data, "data shards of a stripe: so many nodes are needed to read")
	flags.IntVar(&f.parity, "parity", parity, "parity shards of a stripe: so many nodes may fail")
}

func (f *nodeFlags) checkShape() error {
	if f.data < 1 || f.parity < 0 || f.data+f.parity > 255 {
		return exit.UsageError("", "--data must be at least 1, --parity at least 0, and both together at most 255")
	}
	return nil
}

// volumeArg checks a volume's name and applies its configuration file to the verb's flags.
func (a *app) volumeArg(cmd *cobra.Command, name string) (places.Places, error) {
	if err := places.CheckName(name); err != nil {
		return places.Places{}, exit.New(exit.Usage, "", "%w", err)
	}
	p, err := a.places()
	if err != nil {
		return p, err
	}
	file, err := settings.Load(p.ConfigsOf(name)...)
	if err == nil {
		err = file.Apply(cmd.Flags())
	}
	if err != nil {
		return p, exit.New(exit.Usage, "the keys are: "+strings.Join(settings.Keys, ", "), "%w", err)
	}
	return a.places() // again: the file may name the cache folder
}
