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
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/daemon"
)

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

func main() { command.Main(run) }

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return command.Run(ctx, newCommand(stderr), args, stdout, stderr)
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
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return compare(cmd.Context(), o, cmd.OutOrStdout(), stderr)
		},
	}
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
		return fmt.Errorf("%w: "+format, append([]any{command.ErrUsage}, args...)...)
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
