// Command compare measures file systems side by side in one run: the same workloads on
// each target, in interleaved rounds, so that what else the machine does meets all of them.
//
//	go run ./bench/compare --dir /var/tmp --plain --gocryptfs --qsfs ./qsfs
//
// It makes the targets below --dir and takes them away again, also after Ctrl-C.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/bench/command"
	"github.com/qsfs/qsfs/bench/workload"
)

// options are the flags.
type options struct {
	dir       string
	targets   []string // name=dir
	plain     bool
	gocryptfs bool
	qsfs      string
	qsfsArgs  []string

	rounds    int
	only      []string
	settings  workload.Settings
	data      string
	cachesOpt string
	settle    bool

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
		Use:   "compare",
		Short: "Measure file systems side by side",
		Long: `Measure file systems side by side in one run, in interleaved rounds.

Targets are made below --dir (--plain, --gocryptfs, --qsfs) or are directories that
are there already (--target). Without any of these flags: --plain, and --gocryptfs when it
is installed. Ratios are to the first target (plain, when it is measured) and to
gocryptfs.

Before each measurement all dirty pages are written and qsfs uploads what it has staged
(--settle=false lets that overlap with what is measured next). The page cache is dropped
before a read when that is allowed; a target's own memory is not.`,
		Example: `  compare --dir /var/tmp --plain --gocryptfs --qsfs ./qsfs --size-mib 1024 --rounds 5
  compare --target ext4=/mnt/a --target xfs=/mnt/b --only fsync,create --json

EXIT STATUS
  0 ok, 1 error, 2 usage, 3 some measurements failed, 130 interrupted`,
		Args: func(_ *cobra.Command, args []string) error { return o.check(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return compare(cmd.Context(), o, cmd.OutOrStdout(), stderr)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.dir, "dir", os.TempDir(), "folder below which targets are made")
	f.StringArrayVar(&o.targets, "target", nil, "measure in a directory that is there, as `name=dir`")
	f.BoolVar(&o.plain, "plain", false, "measure a plain directory below --dir")
	f.BoolVar(&o.gocryptfs, "gocryptfs", false, "make, mount and measure a gocryptfs")
	f.StringVar(&o.qsfs, "qsfs", "", "make, mount and measure a qsfs with this `program`")
	f.StringArrayVar(&o.qsfsArgs, "qsfs-arg", nil, "further `argument` of \"qsfs up\"")
	f.IntVar(&o.rounds, "rounds", 3, "rounds; each does every workload on every target")
	f.StringSliceVar(&o.only, "only", nil, "only these `workloads`: write-fsync, read, write, create, fsync")
	f.IntVar(&o.settings.SizeMiB, "size-mib", 1024, "size of the large file, in MiB")
	f.IntVar(&o.settings.Files, "files", 10000, "small files to create")
	f.IntVar(&o.settings.Fsyncs, "fsyncs", 500, "small writes with fsync")
	f.StringVar(&o.data, "data", string(workload.Random), "data to write: random (does not compress) or text")
	f.Uint64Var(&o.settings.Seed, "seed", 1, "seed of the data")
	f.StringVar(&o.cachesOpt, "drop-caches", "auto", "drop the page cache before reads: yes, no, or auto (when allowed)")
	f.BoolVar(&o.settle, "settle", true, "let a target finish its work before the next measurement")
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
	names := map[string]bool{"plain": o.plain, "gocryptfs": o.gocryptfs, "qsfs": o.qsfs != ""}
	for _, t := range o.targets {
		name, dir, ok := strings.Cut(t, "=")
		if !ok || name == "" || dir == "" {
			return usage("--target %q is not name=dir", t)
		}
		if names[name] {
			return usage("two targets are called %s", name)
		}
		names[name] = true
	}
	if o.rounds < 1 {
		return usage("--rounds must be at least 1")
	}
	if o.cachesOpt != "auto" && o.cachesOpt != "yes" && o.cachesOpt != "no" {
		return usage("--drop-caches %q is none of auto, yes, no", o.cachesOpt)
	}
	o.settings.Data = workload.Data(o.data)
	list, err := workload.All(o.settings)
	if err != nil {
		return usage("%w", err)
	}
	for _, name := range o.only {
		known := false
		for _, w := range list {
			known = known || w.Name == name
		}
		if !known {
			return usage("--only: no workload is called %q", name)
		}
	}
	return nil
}
