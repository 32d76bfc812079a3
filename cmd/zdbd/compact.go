package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

func newCompact() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "compact DIR [--namespace NAME]",
		Short: "Give the space of deleted and overwritten values back, without a server",
		Long: `compact does at once, for a data directory that no server uses, what a server does
little by little: live values of data files that hold much dead space are moved,
and these files removed. Older versions of values (HISTORY) go with them.

It may be interrupted at any time, and called again.

With --json: one object a line, of type "namespace", and last one of type "result".

EXIT STATUS
  0 done, 2 usage, 10 no such directory or namespace, 11 in use by a server,
  14 damage found, 15 no space, 17 data newer than this program, 130 interrupted,
  1 other error`,
		Example: "  zdbd compact /srv/zdb1\n  zdbd compact /srv/zdb1 --namespace home",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return compact(cmd, args[0], namespace, cmd.Flags().Changed("namespace"))
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", "", "this namespace only")
	return cmd
}

type compactNamespace struct {
	Type           string `json:"type"`
	Namespace      string `json:"namespace"`
	RemovedFiles   int    `json:"removed_files"`
	ReclaimedBytes int64  `json:"reclaimed_bytes"`
	DataBytes      int64  `json:"data_bytes"`
	DeadBytes      int64  `json:"dead_bytes"`
}

type compactResult struct {
	Type           string `json:"type"`
	Schema         int    `json:"schema"`
	Directory      string `json:"directory"`
	RemovedFiles   int    `json:"removed_files"`
	ReclaimedBytes int64  `json:"reclaimed_bytes"`
}

func compact(cmd *cobra.Command, dir, namespace string, one bool) (err error) {
	ctx, stop := interruptible(cmd)
	defer stop()
	places, done, err := placesIn(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	c := newConsole(cmd)
	sum := compactResult{Type: "result", Schema: 1, Directory: dir}
	found := false
	var errs []error
	for i := range places {
		p := &places[i]
		if one && p.namespace != namespace {
			continue
		}
		found = true
		if p.err == nil && !p.used() {
			continue
		}
		r, stats, err := compactPlace(ctx, p)
		sum.RemovedFiles += r.Files
		sum.ReclaimedBytes += r.Bytes
		if ctx.Err() != nil {
			return classify(ctx.Err())
		}
		if err != nil { // the others are still to be done
			errs = append(errs, classify(fmt.Errorf("%s not compacted: %w", p.name(), err)))
			if !c.asJSON {
				c.say("%s: NOT COMPACTED: %v", p.name(), err)
			}
			continue
		}
		if c.asJSON {
			c.event(compactNamespace{"namespace", p.namespace, r.Files, r.Bytes, stats.DataBytes, stats.DeadBytes})
			continue
		}
		c.say("%s: %s removed, %s given back; %s left, %s of it dead", p.name(), plural(r.Files, "file"), bytesize.Format(r.Bytes),
			bytesize.Format(stats.DataBytes), bytesize.Format(stats.DeadBytes))
	}
	if !found && one {
		return classify(fmt.Errorf("namespace %s: %w", printable(namespace), zdb.ErrNamespaceNotFound))
	}
	if c.asJSON {
		c.event(sum)
	} else {
		c.say("%s given back", bytesize.Format(sum.ReclaimedBytes))
	}
	return errors.Join(errs...)
}

func compactPlace(ctx context.Context, p *place) (r store.Reclaimed, stats store.Stats, err error) {
	if p.err != nil {
		return r, stats, p.err
	}
	st, err := p.open(slog.New(slog.DiscardHandler))
	if err != nil {
		return r, stats, err
	}
	r, err = st.Compact(ctx)
	stats = st.Stats()
	return r, stats, errors.Join(err, st.Close())
}
