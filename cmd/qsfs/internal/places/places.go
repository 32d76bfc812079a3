// Package places says where the files of a volume live on this machine.
//
// A volume has a folder in the state folder (configuration, node list, local log, metadata, log of the daemon, perhaps a
// kept key), one in the cache folder, and while it is mounted a control socket in the runtime folder. The first that is
// given decides:
//
//	state    --state-dir, $STATE_DIRECTORY, /var/lib/qsfs for root, $XDG_STATE_HOME/qsfs, ~/.local/state/qsfs
//	cache    --cache-dir, $CACHE_DIRECTORY, /var/cache/qsfs for root, $XDG_CACHE_HOME/qsfs, ~/.cache/qsfs
//	runtime  $RUNTIME_DIRECTORY, /run/qsfs for root, $XDG_RUNTIME_DIR/qsfs, the volume's state folder
//
// STATE_DIRECTORY and its kin are systemd's (systemd.exec(5)); of a list the first counts. A volume of another state
// folder than the default one may have the name of a volume that is there: in the cache and runtime folders, which both
// share, its name is followed by eight hexadecimal digits of the SHA-256 of its state folder's path.
package places

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ErrName means a text can't be the name of a volume.
var ErrName = errors.New("not a volume name")

// ErrNoHome means the environment does not say where a user's files live.
var ErrNoHome = errors.New("neither $HOME nor the folder itself is given")

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName says whether name can be a volume's: it is a file name too.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: %q: 1 to 64 letters, digits, dots, dashes and underscores, the first one a letter or digit", ErrName, name)
	}
	return nil
}

// Given is what decides where files live.
type Given struct {
	StateDir, CacheDir string // of the flags; empty when not given
	Env                func(string) string
	UID                int
	ConfigDir          string // empty means /etc/qsfs
}

// Places are the folders of this user on this machine. All paths are absolute and clean.
type Places struct {
	State   string
	Cache   string
	Runtime string // empty when the environment has none: sockets live in the state folders then
	Config  string
	own     bool // State is the default one
}

// Find gives the places. It makes nothing.
func Find(g Given) (Places, error) {
	if g.Env == nil {
		g.Env = os.Getenv
	}
	state, err := defaultDir(g, "STATE_DIRECTORY", "/var/lib/qsfs", "XDG_STATE_HOME", ".local/state")
	if err != nil && g.StateDir == "" {
		return Places{}, fmt.Errorf("state folder: %w", err)
	}
	cache, err := defaultDir(g, "CACHE_DIRECTORY", "/var/cache/qsfs", "XDG_CACHE_HOME", ".cache")
	if err != nil && g.CacheDir == "" {
		return Places{}, fmt.Errorf("cache folder: %w", err)
	}
	p := Places{State: state, Cache: cache, Runtime: runtimeDir(g), Config: g.ConfigDir, own: true}
	if p.Config == "" {
		p.Config = "/etc/qsfs"
	}
	if g.StateDir != "" {
		if p.State, err = filepath.Abs(g.StateDir); err != nil {
			return Places{}, fmt.Errorf("state folder: %w", err)
		}
		p.own = p.State == state
	}
	if g.CacheDir != "" {
		if p.Cache, err = filepath.Abs(g.CacheDir); err != nil {
			return Places{}, fmt.Errorf("cache folder: %w", err)
		}
	}
	return p, nil
}

func defaultDir(g Given, systemd, root, xdg, home string) (string, error) {
	if dir := firstOfList(g.Env(systemd)); dir != "" {
		return dir, nil
	}
	if g.UID == 0 {
		return root, nil
	}
	// A relative path in an XDG variable is to be ignored (XDG Base Directory Specification 0.8).
	if dir := g.Env(xdg); filepath.IsAbs(dir) {
		return filepath.Join(dir, "qsfs"), nil
	}
	if dir := g.Env("HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, home, "qsfs"), nil
	}
	return "", ErrNoHome
}

func runtimeDir(g Given) string {
	if dir := firstOfList(g.Env("RUNTIME_DIRECTORY")); dir != "" {
		return dir
	}
	if g.UID == 0 {
		return "/run/qsfs"
	}
	if dir := g.Env("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "qsfs")
	}
	return ""
}

func firstOfList(list string) string {
	first, _, _ := strings.Cut(list, ":")
	if !filepath.IsAbs(first) {
		return ""
	}
	return filepath.Clean(first)
}

// StateOf is the state folder of a volume.
func (p Places) StateOf(name string) string { return filepath.Join(p.State, name) }

// CacheOf is the cache folder of a volume.
func (p Places) CacheOf(name string) string { return filepath.Join(p.Cache, p.sharedName(name)) }

// KeyOf is the file that keeps a volume's key between mounts, when the user lets it.
func (p Places) KeyOf(name string) string { return filepath.Join(p.StateOf(name), "key") }

// LogOf is the log file of a volume's detached daemon.
func (p Places) LogOf(name string) string { return filepath.Join(p.StateOf(name), "qsfs.log") }

// ConfigsOf are the configuration files of a volume; the first that exists counts.
func (p Places) ConfigsOf(name string) []string {
	return []string{filepath.Join(p.Config, name+".toml"), filepath.Join(p.StateOf(name), "config.toml")}
}

// SocketsOf are the paths a volume's control socket may have: its daemon takes the first that it can make.
func (p Places) SocketsOf(name string) []string {
	var paths []string
	if p.Runtime != "" {
		paths = append(paths, filepath.Join(p.Runtime, p.sharedName(name)+".sock"))
	}
	return append(paths, filepath.Join(p.StateOf(name), "control.sock"))
}

// Sockets lists the control sockets there are, living or not: also of volumes of other state folders.
func (p Places) Sockets() []string {
	var paths []string
	if p.Runtime != "" {
		found, _ := filepath.Glob(filepath.Join(escape(p.Runtime), "*.sock"))
		paths = append(paths, found...)
	}
	found, _ := filepath.Glob(filepath.Join(escape(p.State), "*", "control.sock"))
	return append(paths, found...)
}

// Names lists the folders in the state folder that may be volumes, sorted.
func (p Places) Names() ([]string, error) {
	entries, err := os.ReadDir(p.State)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && CheckName(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (p Places) sharedName(name string) string {
	if p.own {
		return name
	}
	sum := sha256.Sum256([]byte(p.State))
	return name + "-" + hex.EncodeToString(sum[:4])
}

// escape makes a path match only itself in a glob pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
