// Package command is the process around a program of the bench harness: Ctrl-C, exit codes,
// the last words.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as of the other programs of this project.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitFailed      = 3
	ExitInterrupted = 130
)

var (
	// ErrUsage means that the arguments are wrong.
	ErrUsage = errors.New("usage")
	// ErrFailed means that the report is there, and says that something in it failed.
	ErrFailed = errors.New("not all went well")
)

// Main runs a program with the arguments and streams of the process, and ends it. The first
// Ctrl-C ends the context, the second the process.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run is a program without the process around it: it gives the exit code.
func Run(ctx context.Context, cmd *cobra.Command, args []string, stdout, stderr io.Writer) int {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", ErrUsage, err) })
	err := cmd.ExecuteContext(ctx)
	code := ExitError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, context.Canceled):
		code = ExitInterrupted
	case errors.Is(err, ErrUsage):
		code = ExitUsage
	case errors.Is(err, ErrFailed):
		code = ExitFailed
	}
	fmt.Fprintf(stderr, "%s: error: %v\n", cmd.Name(), err)
	if code == ExitUsage {
		fmt.Fprintf(stderr, "%s: hint: run %q\n", cmd.Name(), cmd.Name()+" --help")
	}
	return code
}
