package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qsfs/qsfs/cmd/internal/progress"
)

// console is where a sub-command's words go: results on stdout, the rest on stderr. With
// --json results are events, one JSON object a line.
type console struct {
	out, err io.Writer
	asJSON   bool
}

func newConsole(cmd *cobra.Command) *console {
	asJSON, _ := cmd.Flags().GetBool("json")
	return &console{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), asJSON: asJSON}
}

// interruptible ends with the first SIGINT or SIGTERM; a second one ends the process.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// event writes one JSON line.
func (c *console) event(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		fmt.Fprintf(c.out, "%s\n", b)
	}
}

func (c *console) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// meter is the progress that suits where it goes.
func (c *console) meter() *progress.Meter {
	style := progress.Pipe
	if file, ok := c.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		style = progress.Terminal
	}
	if c.asJSON {
		style = progress.Events
	}
	return progress.New(c.err, style, nil)
}

// plural is "1 file", "2 files".
func plural[N int | int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(int64(n), 10) + " " + noun
}
