// Package settings gives each flag its value: of the command line, else of the environment, else of the configuration
// file, else its default.
//
// The variable of --cache-size is QSFS_CACHE_SIZE. A flag that may be given many times takes the words of its variable.
// The configuration file is TOML; its keys are the flag names in Keys:
//
//	cache-size = "10GiB"
//	durability = "grid"
//	allow-other = true
//
// It is strict: an unknown key is an error that names the nearest one. Neither holds a secret, only the names of files and
// commands that give one.
package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

// ErrInvalid means the environment or a configuration file holds a value that its flag would not take, or a key that is none.
var ErrInvalid = errors.New("invalid setting")

// maxFileBytes bounds a configuration file; ours have a few lines.
const maxFileBytes = 1 << 20

// VariableOf is the environment variable of a flag.
func VariableOf(flag string) string {
	return "QSFS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// FromEnvironment sets the flags that were not given on the command line and have a variable.
func FromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || f.Name == "help" || f.Name == "version" {
			return
		}
		variable := VariableOf(f.Name)
		text, ok := lookup(variable)
		if !ok || text == "" {
			return
		}
		values := []string{text}
		if _, many := f.Value.(pflag.SliceValue); many {
			values = strings.Fields(text)
		}
		for _, value := range values {
			if err := f.Value.Set(value); err != nil {
				failed = fmt.Errorf("%w: %s: %w", ErrInvalid, variable, err)
				return
			}
		}
		f.Changed = true
	})
	return failed
}

// File is a configuration file. Every key is optional, and is a flag of the verbs that mount.
type File struct {
	AllowOther     *bool   `toml:"allow-other"`
	CacheDir       *string `toml:"cache-dir"`
	CacheSize      *string `toml:"cache-size"`
	Dev            *bool   `toml:"dev"`
	Durability     *string `toml:"durability"`
	KeyCommand     *string `toml:"key-command"`
	LogFile        *string `toml:"log-file"`
	MaxStaged      *string `toml:"max-staged"`
	Memory         *string `toml:"memory"`
	PassphraseFile *string `toml:"passphrase-file"`
	PhraseFile     *string `toml:"phrase-file"`
	ReadOnly       *bool   `toml:"read-only"`
	Suid           *bool   `toml:"suid"`
	UploadDelay    *string `toml:"upload-delay"`

	path string
}

// values gives the keys that are set, with their text.
func (f *File) values() map[string]string {
	values := map[string]string{}
	for key, value := range map[string]*string{
		"cache-dir": f.CacheDir, "cache-size": f.CacheSize, "durability": f.Durability, "key-command": f.KeyCommand, "log-file": f.LogFile,
		"max-staged": f.MaxStaged, "memory": f.Memory, "passphrase-file": f.PassphraseFile, "phrase-file": f.PhraseFile, "upload-delay": f.UploadDelay,
	} {
		if value != nil {
			values[key] = *value
		}
	}
	for key, value := range map[string]*bool{"allow-other": f.AllowOther, "dev": f.Dev, "read-only": f.ReadOnly, "suid": f.Suid} {
		if value != nil {
			values[key] = strconv.FormatBool(*value)
		}
	}
	return values
}

// Keys are the keys a configuration file may have, sorted.
var Keys = []string{
	"allow-other", "cache-dir", "cache-size", "dev", "durability", "key-command", "log-file", "max-staged", "memory",
	"passphrase-file", "phrase-file", "read-only", "suid", "upload-delay",
}

// Load reads the first of the files that exists; none is an empty File.
func Load(paths ...string) (*File, error) {
	for _, path := range paths {
		opened, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		file, err := decode(io.LimitReader(opened, maxFileBytes), path)
		opened.Close()
		return file, err
	}
	return &File{}, nil
}

func decode(r io.Reader, path string) (*File, error) {
	file := &File{path: path}
	err := toml.NewDecoder(r).DisallowUnknownFields().Decode(file)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(unknown.Errors) > 0 {
		first := unknown.Errors[0]
		line, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		return nil, fmt.Errorf("%w: %s:%d: unknown key %q; the nearest one is %q", ErrInvalid, path, line, key, Nearest(key, Keys))
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := wrong.Position()
		return nil, fmt.Errorf("%w: %s:%d:%d: %s", ErrInvalid, path, line, column, strings.TrimPrefix(wrong.Error(), "toml: "))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, path, err)
	}
	return file, nil
}

// Apply sets the flags that neither the command line nor the environment gave. Keys that are no flag of this verb are
// passed over: one file serves all verbs.
func (f *File) Apply(flags *pflag.FlagSet) error {
	values := f.values()
	for _, key := range Keys {
		text, given := values[key]
		flag := flags.Lookup(key)
		if !given || flag == nil || flag.Changed {
			continue
		}
		if err := flag.Value.Set(text); err != nil {
			return fmt.Errorf("%w: %s: %s: %w", ErrInvalid, f.path, key, err)
		}
		flag.Changed = true
	}
	return nil
}

// Nearest gives the candidate with the fewest edits to text; of equals the first.
func Nearest(text string, candidates []string) string {
	if len(text) > 256 {
		text = text[:256]
	}
	return slices.MinFunc(candidates, func(a, b string) int { return distance(text, a) - distance(text, b) })
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
