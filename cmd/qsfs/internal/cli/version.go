package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// release is set by the linker in released builds: -ldflags "-X github.com/qsfs/qsfs/cmd/qsfs/internal/cli.release=1.2.3".
var release string

// versionInfo is what version --json writes.
type versionInfo struct {
	Schema   int    `json:"version"` // of this object
	Version  string `json:"qsfs"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

var version = sync.OnceValue(func() versionInfo {
	v := versionInfo{Schema: 1, Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
		if v.Version == "" && info.Main.Version != "(devel)" {
			v.Version = strings.TrimPrefix(info.Main.Version, "v")
		}
	}
	if v.Version == "" {
		v.Version = "0.0.0-dev"
	}
	return v
})

func newVersion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell the version of this program",
		Long:  "Tell the version of this program, and what it was built from.",
		Example: `  qsfs version
  qsfs version --json`,
		Args: exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			v := version()
			if a.asJSON {
				return writeJSON(a.stdout, v)
			}
			fmt.Fprintf(a.stdout, "qsfs %s\n", v.Version)
			if v.Revision != "" {
				modified := ""
				if v.Modified {
					modified = ", modified"
				}
				fmt.Fprintf(a.stdout, "revision %s%s\n", v.Revision, modified)
			}
			fmt.Fprintf(a.stdout, "%s %s\n", v.Go, v.Platform)
			return nil
		},
	}
	cmd.Flags().Bool("json", false, "write JSON")
	return cmd
}

// writeLine writes a value as one line of JSON.
func writeLine(w io.Writer, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}
