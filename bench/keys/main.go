// Command keys fills one zdbd with many small keys, and measures how it holds them: how
// fast they are written, found, not found and listed, what they take on disk and in memory,
// and how long the server needs to be there again.
//
//	go run ./bench/keys --keys 10000000 --memory-mib 256
//
// Keys and values follow from their numbers, so every answer is checked: each value, each
// key that must not be there, and each entry of the listing. The server, which it starts
// itself, and its data are taken away at the end, also after Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/daemon"
)

// options are the flags.
type options struct {
	dir      string
	zdbd     string
	zdbdArgs []string
	sync     string

	keys, gets       uint64
	valueBytes       int
	conns, depth     int
	memoryMiB        int
	maxMemoryPercent int
	seed             uint64
	json             bool
}

func main() { command.Main(run) }

// run is the program without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return command.Run(ctx, newCommand(stderr), args, stdout, stderr)
}

func newCommand(stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Measure how one zdbd holds many small keys",
		Long: `Measure how one zdbd holds many small keys, and check all it answers.

Keys of 16 to 24 bytes are loaded, a tenth is overwritten, a tenth deleted. Keys that are
there and keys that are not are asked for in random order, many at once and one at a time,
and all are listed. The server is ended and started again, and killed right behind up to
500000 more overwrites. All of it is on a unix socket.

Server and client time are CPU microseconds of the server and of this program per request.
A store is opened when it is first asked for: the first answer after a start includes that.`,
		Example: `  keys
  keys --keys 1000000 --sync none --json

EXIT STATUS
  0 ok, 1 error, 2 usage, 3 the server failed, 130 interrupted`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := hold(cmd.Context(), o, stderr)
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
	f.StringVar(&o.sync, "sync", daemon.SyncGroup, "durability: group or none")
	f.Uint64Var(&o.keys, "keys", 10_000_000, "keys that are stored")
	f.Uint64Var(&o.gets, "gets", 1_000_000, "keys that are asked for in each phase; a tenth of them one at a time")
	f.IntVar(&o.valueBytes, "value", 16, "bytes of a value")
	f.IntVar(&o.conns, "conns", 2, "connections")
	f.IntVar(&o.depth, "depth", 256, "requests in flight on each connection")
	f.IntVar(&o.memoryMiB, "memory-mib", 256, "MiB that the server is told to keep to")
	f.IntVar(&o.maxMemoryPercent, "max-memory-percent", 0, "fail when it takes more of --memory-mib than this; 0 for no limit")
	f.Uint64Var(&o.seed, "seed", 1, "seed of keys and values")
	f.BoolVar(&o.json, "json", false, "print JSON instead of markdown")
	return cmd
}

const (
	minKeys       = groupKeys
	maxKeys       = 1 << 32
	minValueBytes = 8 // which differ from those of all other values
	maxValueBytes = 1 << 20
)

func (o *options) check(args []string) error {
	usage := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{command.ErrUsage}, args...)...)
	}
	switch {
	case len(args) > 0:
		return usage("unexpected argument %q", args[0])
	case o.sync != daemon.SyncGroup && o.sync != daemon.SyncNone:
		return usage("--sync %q is neither %s nor %s", o.sync, daemon.SyncGroup, daemon.SyncNone)
	case o.keys < minKeys || o.keys > maxKeys:
		return usage("--keys must be between %d and %d", minKeys, maxKeys)
	case o.gets < 1, o.conns < 1, o.depth < 1, o.memoryMiB < 1, o.maxMemoryPercent < 0:
		return usage("--gets, --conns, --depth and --memory-mib must be above 0")
	case o.valueBytes < minValueBytes || o.valueBytes > maxValueBytes:
		return usage("--value must be between %d and %d", minValueBytes, maxValueBytes)
	}
	return nil
}
