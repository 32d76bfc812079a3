// Package cli is the verbs of qsfs: it reads flags, calls package fs or a volume's daemon, and prints. One file a verb.
//
// Results go to standard output, everything else to standard error. Only Main's caller exits the process.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qsfs/qsfs/cmd/internal/progress"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/detach"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/places"
)

const program = "qsfs"

// app is one run of the program.
type app struct {
	args   []string // with the program's name
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
	daemon *detach.Daemon // not nil in a detached daemon

	stateDir, cacheDir string // of the flags
	configDir          string // empty means /etc/qsfs
	verbose            int
	quiet              bool
	asJSON             bool // of the verb that runs

	// onSignal, when set, gets the signals that else cancel the verb's context.
	onSignal    atomic.Pointer[func(os.Signal)]
	interrupted atomic.Bool
}

// Main runs the program and gives its exit status.
func Main() int {
	a := &app{args: os.Args, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	daemon, err := detach.Inherited()
	if err != nil {
		return int(exit.Report(a.stderr, program, false, err))
	}
	a.daemon = daemon
	ctx, stop := a.catchSignals()
	defer stop()
	return a.run(ctx)
}

func (a *app) run(ctx context.Context) int {
	root := newRoot(a)
	root.SetArgs(a.args[1:])
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	_, err := root.ExecuteContextC(ctx)
	if err != nil && (a.interrupted.Load() || errors.Is(err, context.Canceled)) {
		err = exit.New(exit.Interrupted, "", "interrupted")
	}
	asJSON := a.asJSON || slices.Contains(a.args, "--json") && isFlagError(err)
	if err != nil && a.daemon != nil {
		code, hint := exit.Of(err)
		a.daemon.Failed(detach.Failure{Code: int(code), Message: err.Error(), Hint: hint})
	}
	return int(exit.Report(a.stderr, program, asJSON, err))
}

// isFlagError tells whether the flags were not read to their end, so that --json may be given and not seen.
func isFlagError(err error) bool {
	code, _ := exit.Of(err)
	return code == exit.Usage
}

// catchSignals gives a context that the first signal cancels; the second one then ends the process at once. A verb that
// serves takes the signals itself by setting onSignal.
func (a *app) catchSignals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM)
	if a.daemon == nil {
		signal.Notify(caught, syscall.SIGHUP)
	} else {
		signal.Ignore(syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-caught:
				if take := a.onSignal.Load(); take != nil {
					(*take)(s)
					continue
				}
				a.interrupted.Store(true)
				cancel()
				signal.Stop(caught)
			}
		}
	}()
	return ctx, func() { signal.Stop(caught); close(done); cancel() }
}

// places finds the folders of this run.
func (a *app) places() (places.Places, error) {
	p, err := places.Find(places.Given{StateDir: a.stateDir, CacheDir: a.cacheDir, UID: os.Geteuid(), ConfigDir: a.configDir})
	if errors.Is(err, places.ErrNoHome) {
		return p, exit.New(exit.Usage, "set HOME, or give --state-dir and --cache-dir", "%w", err)
	}
	return p, err
}

// say tells something on standard error that is neither a result nor an error. Quiet runs do not say it.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr, program+": "+format+"\n", args...)
	}
}

func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.stderr, program+": warning: "+format+"\n", args...)
}

// level is what of the log is written: with -v what happens, with -vv everything, with -q errors, else from normal on.
func (a *app) level(normal slog.Level) slog.Level {
	switch {
	case a.quiet:
		return slog.LevelError
	case a.verbose == 1:
		return slog.LevelInfo
	case a.verbose > 1:
		return slog.LevelDebug
	}
	return normal
}

// logger is the log of a verb that ends with a result: without -v the result, or the error, says it all.
func (a *app) logger() *slog.Logger {
	return slog.New(newLineHandler(a.stderr, a.level(slog.LevelError)))
}

// meter gives the progress display that suits where the output goes.
func (a *app) meter() *progress.Meter {
	switch {
	case a.asJSON:
		return progress.New(a.stdout, progress.Events, nil)
	case a.quiet:
		return progress.New(io.Discard, progress.Silent, nil)
	case isTerminal(a.stderr):
		return progress.New(a.stderr, progress.Terminal, nil)
	}
	return progress.New(a.stderr, progress.Pipe, nil)
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// exactly checks the number of arguments; what names them as the usage line does.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := fmt.Sprintf("%q shows how", cmd.CommandPath()+" --help")
		switch {
		case len(args) > n:
			return exit.UsageError(hint, "unexpected argument %q: %s takes %s", args[n], cmd.CommandPath(), what)
		case len(args) < n:
			return exit.UsageError(hint, "too few arguments: %s takes %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

func atMost(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return exactly(n, what)(cmd, args)
	}
}
