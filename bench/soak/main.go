// Command soak lets many clients at once do mixed work on one zdbd, each on keys of its own,
// and compares everything that is read with what was stored.
//
//	go run ./bench/soak --clients 500 --for 1m
//
// Any error, any wrong byte, length, time or listing fails the run. Latencies of each verb
// and the server's memory over time are reported. The server, which it starts itself, and its
// data are taken away at the end, also after Ctrl-C.
package main

import (
	"context"
	"encoding/json"
	"errors"
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
	dir      string
	zdbd     string
	zdbdArgs []string
	network  string
	sync     string

	clients, namespaces, sequential int
	keys, maxValueBytes             int
	writeMiB, maxMemoryMiB          int
	duration                        time.Duration
	seed                            uint64
	json                            bool
}

func main() { command.Main(run) }

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return command.Run(ctx, newCommand(stderr), args, stdout, stderr)
}

func newCommand(stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Let many clients work on one zdbd and check all it answers",
		Long: `Let many clients work on one zdbd and check all it answers.

Each client has keys of its own in one of the namespaces and sends one request after the
other: SET, GET, MGET, EXISTS, LENGTH, CHECK, KEYTIME, DEL, SCAN, DBSIZE, NSINFO, PING, and
now and then a new connection. Values have 100 bytes to --max-value, small ones as often as
large ones. At the end all keys are read once more and all namespaces are listed.`,
		Example: `  soak --clients 500 --for 1m --zdbd-arg --memory=256MiB --max-memory-mib 400

EXIT STATUS
  0 ok, 1 error, 2 usage, 3 the server failed, 130 interrupted`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := soak(cmd.Context(), o, stderr)
			if r == nil {
				return err
			}
			return errors.Join(err, o.report(r, cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.dir, "dir", os.TempDir(), "folder below which the data directory is made")
	f.StringVar(&o.zdbd, "zdbd", "", "our `program`; without it zdbd is built from this source tree")
	f.StringArrayVar(&o.zdbdArgs, "zdbd-arg", nil, "further `argument` of zdbd")
	f.StringVar(&o.network, "network", daemon.TCP, "network: tcp or unix")
	f.StringVar(&o.sync, "sync", daemon.SyncGroup, "durability: group or none")
	f.IntVar(&o.clients, "clients", 500, "clients at once, each with a connection")
	f.DurationVar(&o.duration, "for", time.Minute, "how long they work")
	f.IntVar(&o.namespaces, "namespaces", 4, "namespaces they share")
	f.IntVar(&o.sequential, "sequential", 1, "how many of these are in sequential mode")
	f.IntVar(&o.keys, "keys", 20, "keys of a client")
	f.IntVar(&o.maxValueBytes, "max-value", 1<<20, "longest value in bytes")
	f.IntVar(&o.writeMiB, "write-mib", 8192, "MiB written at most; then they only read")
	f.IntVar(&o.maxMemoryMiB, "max-memory-mib", 0, "fail when the server takes more memory; 0 for no limit")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the work and of the data")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	return cmd
}

func (o *options) check(args []string) error {
	usage := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{command.ErrUsage}, args...)...)
	}
	switch {
	case len(args) > 0:
		return usage("unexpected argument %q", args[0])
	case o.network != daemon.TCP && o.network != daemon.Unix:
		return usage("--network %q is neither %s nor %s", o.network, daemon.TCP, daemon.Unix)
	case o.sync != daemon.SyncGroup && o.sync != daemon.SyncNone:
		return usage("--sync %q is neither %s nor %s", o.sync, daemon.SyncGroup, daemon.SyncNone)
	case o.clients < 1, o.keys < 1, o.namespaces < 1, o.duration <= 0, o.writeMiB < 1:
		return usage("--clients, --keys, --namespaces, --for and --write-mib must be above 0")
	case o.sequential < 0 || o.sequential > o.namespaces:
		return usage("--sequential must be between 0 and --namespaces")
	case o.maxValueBytes < minValueBytes || o.maxValueBytes > poolBytes/2:
		return usage("--max-value must be between %d and %d", minValueBytes, poolBytes/2)
	}
	return nil
}

// report prints the result and says whether it is good.
func (o *options) report(r *result, w io.Writer) error {
	if o.maxMemoryMiB > 0 && r.PeakBytes > int64(o.maxMemoryMiB)<<20 {
		r.Errors = append(r.Errors, fmt.Sprintf("the server took %d MiB of memory, more than %d", r.PeakBytes>>20, o.maxMemoryMiB))
	}
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else if err := r.print(w); err != nil {
		return err
	}
	if n := len(r.Errors); n > 0 {
		return fmt.Errorf("%w: %s", command.ErrFailed, r.Errors[0])
	}
	return nil
}
