package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
)

type parsed struct {
	cacheSize   bytesize.Value
	readOnly    bool
	uploadDelay time.Duration
	nodes       []string
}

func flagSet() (*pflag.FlagSet, *parsed) {
	p := &parsed{cacheSize: 1 << 20}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Var(&p.cacheSize, "cache-size", "")
	flags.BoolVar(&p.readOnly, "read-only", false, "")
	flags.DurationVar(&p.uploadDelay, "upload-delay", 10*time.Second, "")
	flags.StringArrayVar(&p.nodes, "node", nil, "")
	flags.Bool("help", false, "")
	return flags, p
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "home.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOrder proves: flag before environment before file before default.
func TestOrder(t *testing.T) {
	const file = "cache-size = \"3GiB\"\nread-only = true\nupload-delay = \"3s\"\n"
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want parsed
	}{
		{"default", nil, nil, "", parsed{1 << 20, false, 10 * time.Second, nil}},
		{"file", nil, nil, file, parsed{3 << 30, true, 3 * time.Second, nil}},
		{"environment", nil, map[string]string{"QSFS_CACHE_SIZE": "2GiB", "QSFS_READ_ONLY": "false"}, file, parsed{2 << 30, false, 3 * time.Second, nil}},
		{"flag", []string{"--cache-size=1GiB", "--read-only=false", "--upload-delay", "1s"}, map[string]string{"QSFS_CACHE_SIZE": "2GiB"}, file, parsed{1 << 30, false, time.Second, nil}},
		{"empty variable", nil, map[string]string{"QSFS_CACHE_SIZE": ""}, "", parsed{1 << 20, false, 10 * time.Second, nil}},
		{"many values", nil, map[string]string{"QSFS_NODE": "dir:///a dir:///b\ndir:///c"}, "", parsed{1 << 20, false, 10 * time.Second, []string{"dir:///a", "dir:///b", "dir:///c"}}},
		{"flag instead of many", []string{"--node", "dir:///x"}, map[string]string{"QSFS_NODE": "dir:///a"}, "", parsed{1 << 20, false, 10 * time.Second, []string{"dir:///x"}}},
		{"help has no variable", nil, map[string]string{"QSFS_HELP": "maybe"}, "", parsed{1 << 20, false, 10 * time.Second, nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flags, got := flagSet()
			if err := flags.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			if err := FromEnvironment(flags, func(key string) (string, bool) { v, ok := tc.env[key]; return v, ok }); err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(filepath.Join(t.TempDir(), "missing.toml"), write(t, tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if err := loaded.Apply(flags); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, *got, cmp.AllowUnexported(parsed{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFirstFileCounts proves that two files are not mixed.
func TestFirstFileCounts(t *testing.T) {
	flags, got := flagSet()
	loaded, err := Load(write(t, "read-only = true"), write(t, "cache-size = \"9GiB\""))
	if err != nil {
		t.Fatal(err)
	}
	if err := loaded.Apply(flags); err != nil || !got.readOnly || got.cacheSize != 1<<20 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFileErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "\ncache-sise = \"1GiB\"\n", `home.toml:2: unknown key "cache-sise"; the nearest one is "cache-size"`},
		{"underscore", "cache_size = \"1GiB\"\n", `nearest one is "cache-size"`},
		{"table", "[cache]\nsize = \"1GiB\"\n", `unknown key "cache"`},
		{"wrong type", "read-only = \"yes\"\n", "home.toml:1:"},
		{"not toml", "cache-size 10\n", "home.toml:1:"},
		{"bad value", "cache-size = \"ten\"\n", "home.toml: cache-size: not a size"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			loaded, err := Load(write(t, tc.text))
			if err == nil {
				flags, _ := flagSet()
				err = loaded.Apply(flags)
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestEnvironmentError(t *testing.T) {
	flags, _ := flagSet()
	err := FromEnvironment(flags, func(key string) (string, bool) { return "often", key == "QSFS_UPLOAD_DELAY" })
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "QSFS_UPLOAD_DELAY") {
		t.Errorf("got %v", err)
	}
}

// TestKeysAreTheFields proves that the list in error messages, the struct and the values are one.
func TestKeysAreTheFields(t *testing.T) {
	full := &File{}
	var tags []string
	value := reflect.ValueOf(full).Elem()
	for i := range value.NumField() {
		if tag := value.Type().Field(i).Tag.Get("toml"); tag != "" {
			tags = append(tags, tag)
			value.Field(i).Set(reflect.New(value.Field(i).Type().Elem()))
		}
	}
	if diff := cmp.Diff(Keys, tags); diff != "" {
		t.Error(diff)
	}
	for _, key := range Keys {
		if _, ok := full.values()[key]; !ok {
			t.Errorf("%s is read and never used", key)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("cache-size = \"1GiB\"\nread-only = true\n")
	f.Add("x = 1")
	f.Add("[a.b]\nc = [1, {d = 2}]")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := decode(strings.NewReader(text), "f"); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
