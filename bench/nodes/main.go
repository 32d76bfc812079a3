// Command nodes measures storage nodes side by side in one run: zdbd and the original 0-db,
// SET and GET in many shapes, in interleaved rounds, so that what else the machine does
// meets both of them.
//
//	go run ./bench/nodes --original /path/to/zdb --markdown nodes.md
//
// Each measurement has a fresh process and an empty data directory below --dir, and takes
// both away again, also after Ctrl-C. The load is made by this process, which shares the
// machine with the server: what it takes itself is reported beside.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/bench/daemon"
)

// Exit codes, as of the other programs of this project.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitSomeFailed  = 3
	exitInterrupted = 130
)

// errUsage means that the arguments are wrong.
var errUsage = errors.New("usage")

// errSomeFailed means that the report is there, but measurements in it failed.
var errSomeFailed = errors.New("some measurements failed")

// options are the flags.
type options struct {
	dir          string
	zdbd         string
	zdbdArgs     []string
	original     string
	originalArgs []string

	choices choices
	limits  limits
	mib     int
	rounds  int

	json     bool
	markdown string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends us at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := newCommand(stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	code := exitOK
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		code = exitInterrupted
	case errors.Is(err, errUsage):
		code = exitUsage
	case errors.Is(err, errSomeFailed):
		code = exitSomeFailed
	default:
		code = exitError
	}
	fmt.Fprintf(stderr, "nodes: error: %v\n", err)
	if code == exitUsage {
		fmt.Fprintln(stderr, `nodes: hint: run "nodes --help"`)
	}
	return code
}

func newCommand(stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Measure zdbd and the original 0-db side by side",
		Long: `Measure zdbd and the original 0-db side by side in one run, in interleaved rounds.

A cell is a verb, a size of values, a number of connections, of requests in flight on
each, a network and a durability: none (zdbd --sync none; the original as it is) or group
(zdbd --sync group; the original --sync). All combinations of what the flags list are
measured. SET stores ever new keys; GET reads keys that have been read once before, so
it measures the server and the page cache, not the disk.

Columns: requests per second (median), spread (highest minus lowest of the median), CPU
microseconds of server and of this program per request, resident memory of the server at
most, and the ratio to the original.`,
		Example: `  nodes --original ./zdb --markdown nodes.md
  nodes --sizes 4096 --conns 8 --depth 16 --network unix --sync none --verbs GET --rounds 5

EXIT STATUS
  0 ok, 1 error, 2 usage, 3 some measurements failed, 130 interrupted`,
		Args:          func(_ *cobra.Command, args []string) error { return o.check(args) },
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return compare(cmd.Context(), o, cmd.OutOrStdout(), stderr)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.dir, "dir", os.TempDir(), "folder below which data directories are made")
	f.StringVar(&o.zdbd, "zdbd", "", "our `program`; without it zdbd is built from this source tree")
	f.StringArrayVar(&o.zdbdArgs, "zdbd-arg", nil, "further `argument` of zdbd")
	f.StringVar(&o.original, "original", os.Getenv(daemon.OriginalVariable), "the original's `program`; without it ours alone is measured")
	f.StringArrayVar(&o.originalArgs, "original-arg", nil, "further `argument` of the original")
	f.StringSliceVar(&o.choices.verbs, "verbs", []string{verbSet, verbGet}, "verbs: SET, GET")
	f.IntSliceVar(&o.choices.sizes, "sizes", []int{4 << 10, 64 << 10, 512 << 10, 4 << 20}, "bytes of a value")
	f.IntSliceVar(&o.choices.conns, "conns", []int{1, 8}, "connections")
	f.IntSliceVar(&o.choices.depths, "depth", []int{1, 16}, "requests in flight on each connection")
	f.StringSliceVar(&o.choices.networks, "network", []string{daemon.TCP, daemon.Unix}, "networks: tcp, unix")
	f.StringSliceVar(&o.choices.syncs, "sync", []string{daemon.SyncNone, daemon.SyncGroup}, "durability: none, group")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; each measures every cell on every program")
	f.IntVar(&o.mib, "mib", 256, "MiB of values that a measurement stores at most")
	f.DurationVar(&o.limits.duration, "duration", time.Second, "how long a measurement takes at most")
	f.DurationVar(&o.limits.timeout, "timeout", 5*time.Minute, "a measurement has failed when it and its preparation take longer")
	f.Uint64Var(&o.limits.seed, "seed", 1, "seed of the data")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	f.StringVar(&o.markdown, "markdown", "", "write the report as markdown to this `file` too")
	return cmd
}

func (o *options) check(args []string) error {
	usage := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
	}
	if len(args) > 0 {
		return usage("unexpected argument %q", args[0])
	}
	if o.rounds < 1 || o.mib < 1 || o.limits.duration <= 0 || o.limits.timeout <= 0 {
		return usage("--rounds, --mib, --duration and --timeout must be above 0")
	}
	if len(o.choices.cells()) == 0 {
		return usage("nothing is left to measure")
	}
	o.limits.bytes = int64(o.mib) << 20
	if err := o.choices.check(); err != nil {
		return usage("%w", err)
	}
	return nil
}
