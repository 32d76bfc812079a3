package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/fs"
)

// listVersion is the version of what status and ls write with --json.
const listVersion = 1

// volumeList is what status and ls write with --json.
type volumeList struct {
	Version int      `json:"version"`
	Volumes []volume `json:"volumes"`
}

func newStatus(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show how a volume is",
		Long: `Show how a volume is: where it is mounted, which nodes are up, what is not yet on the
nodes, and what lacks redundancy. Without a name, the one volume of this machine, or all
of them in short. A volume that is not mounted is shown as far as it is known without its key.`,
		Example: `  qsfs status
  qsfs status home
  qsfs status --json | jq '.volumes[].status.staged_bytes'`,
		Args:        atMost(1, "one NAME at most"),
		Annotations: map[string]string{exitNote: "10 16 17"},
		RunE:        a.status,
	}
	cmd.Flags().Bool("json", false, "write JSON")
	cmd.ValidArgsFunction = a.completeVolume
	return cmd
}

func (a *app) status(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	p, err := a.places()
	if err != nil {
		return err
	}
	var shown []volume
	if len(args) == 1 {
		v, err := a.volume(ctx, p, args[0])
		if err != nil {
			return err
		}
		shown = []volume{v}
	} else if shown, err = a.volumes(ctx, p); err != nil {
		return err
	}
	if len(shown) == 0 {
		return exit.New(exit.NotFound, `"qsfs up MOUNTPOINT" makes one on this machine, "qsfs init" one on storage nodes`, "there is no volume in %s", p.State)
	}
	var asking sync.WaitGroup
	for i := range shown {
		asking.Go(func() { shown[i].ask(ctx) })
	}
	asking.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case a.asJSON:
		return writeJSON(a.stdout, volumeList{listVersion, shown})
	case len(shown) == 1:
		return writeScreen(a.stdout, shown[0])
	}
	for _, v := range shown {
		fmt.Fprintln(a.stdout, inShort(v))
	}
	return nil
}

func writeJSON(w io.Writer, value any) error {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", encoded)
	return err
}

// writeScreen writes one volume on one screen.
func writeScreen(w io.Writer, v volume) error {
	var text strings.Builder
	row := func(label, format string, args ...any) {
		fmt.Fprintf(&text, "%-18s %s\n", label, fmt.Sprintf(format, args...))
	}
	row("volume", "%s", v.Name)
	if v.Mounted {
		row("mounted", "on %s, by process %d", v.Mountpoint, v.PID)
	} else {
		row("mounted", "no; what may be left to upload is uploaded at the next mount")
	}
	if v.Problem != "" {
		row("problem", "%s", v.Problem)
	}
	if v.Status != nil {
		writeLive(row, v.Status)
	} else if v.Info != nil {
		row("redundancy", "%s", shape(v.Info.Data, v.Info.Parity))
		row("nodes", "%d", len(v.Info.Nodes))
		for _, n := range v.Info.Nodes {
			row("", "%s", n.URL)
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func writeLive(row func(label, format string, args ...any), s *fs.Status) {
	if s.ReadOnly {
		row("read-only", "%s", s.ReadOnlyReason)
	}
	row("redundancy", "%s", shape(s.Data, s.Parity))
	row("nodes", "%d of %d up", s.NodesUp, len(s.Nodes))
	for _, n := range s.Nodes {
		if !n.Up {
			row("", "down: %s%s", n.URL, because(n.LastError))
		}
	}
	row("not on the nodes", "%s", staged(s))
	if s.StagedError != "" {
		row("", "kept back: %s", s.StagedError)
	}
	switch {
	case s.DegradedStripes > 0:
		row("degraded", "%d of %d stripes lack shards; they are filled in when their nodes are up", s.DegradedStripes, s.Stripes)
	default:
		row("degraded", "none of %d stripes", s.Stripes)
	}
	row("used", "%s, %d files and folders", bytesize.Format(s.UsedBytes), s.Inodes)
	row("free", "%s", bytesize.Format(s.FreeBytes))
}

func shape(data, parity int) string {
	return fmt.Sprintf("%d+%d: any %d nodes may fail", data, parity, parity)
}

// because gives the end of what a node's last error says: the layers before it repeat the address, and that it is down.
func because(reason string) string {
	const layer = "node unavailable: "
	if at := strings.LastIndex(reason, layer); at >= 0 {
		reason = reason[at+len(layer):]
	}
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func staged(s *fs.Status) string {
	if s.StagedBytes <= 0 {
		return "nothing: all is uploaded"
	}
	age := time.Duration(s.OldestStagedSeconds) * time.Second
	return fmt.Sprintf("%s, the oldest for %s", bytesize.Format(s.StagedBytes), age)
}

// inShort is one volume on one line.
func inShort(v volume) string {
	switch {
	case v.Problem != "":
		return fmt.Sprintf("%-16s %s", v.Name, v.Problem)
	case !v.Mounted:
		return fmt.Sprintf("%-16s not mounted", v.Name)
	case v.Status == nil:
		return fmt.Sprintf("%-16s on %s", v.Name, v.Mountpoint)
	}
	s := v.Status
	parts := []string{fmt.Sprintf("on %s", v.Mountpoint), fmt.Sprintf("%d of %d nodes", s.NodesUp, len(s.Nodes))}
	if s.StagedBytes > 0 {
		parts = append(parts, bytesize.Format(s.StagedBytes)+" not on the nodes")
	}
	if s.DegradedStripes > 0 {
		parts = append(parts, fmt.Sprintf("%d stripes degraded", s.DegradedStripes))
	}
	if s.ReadOnly {
		parts = append(parts, "read-only")
	}
	return fmt.Sprintf("%-16s %s", v.Name, strings.Join(parts, ", "))
}
