package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
)

func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into a folder",
		Long:    "Write a manual page for each verb into a folder, which is made when it is missing. For packagers.",
		Example: `  qsfs man /usr/share/man/man1`,
		Args:    exactly(1, "DIR"),
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			date, err := buildDate()
			if err != nil {
				return err
			}
			for _, c := range append([]*cobra.Command{cmd.Root()}, cmd.Root().Commands()...) {
				if c.Hidden {
					continue
				}
				page, err := manPage(c, date)
				if err != nil {
					return err
				}
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				if err := os.WriteFile(filepath.Join(args[0], name), page, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// buildDate is the date the pages bear: SOURCE_DATE_EPOCH (reproducible-builds.org), else none of its own: the Unix epoch.
func buildDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, exit.UsageError("it is a number of seconds since 1970", "SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// manPage renders a verb's page, with its exit codes before SEE ALSO.
func manPage(cmd *cobra.Command, date time.Time) ([]byte, error) {
	cmd.InitDefaultHelpFlag()
	cmd.DisableAutoGenTag = true
	var page bytes.Buffer
	header := &doc.GenManHeader{Title: strings.ToUpper(strings.ReplaceAll(cmd.CommandPath(), " ", "-")), Section: "1", Source: "qsfs " + version().Version, Manual: "qsfs", Date: &date}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return nil, fmt.Errorf("manual page of %s: %w", cmd.CommandPath(), err)
	}
	var status strings.Builder
	status.WriteString(".SH EXIT STATUS\n")
	for _, m := range meaningsOf(cmd) {
		fmt.Fprintf(&status, ".TP\n%d\n%s\n", m.Code, m.Text)
	}
	text := page.String()
	if at := strings.Index(text, ".SH SEE ALSO"); at >= 0 {
		return []byte(text[:at] + status.String() + "\n" + text[at:]), nil
	}
	return []byte(text + status.String()), nil
}
