package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/zdb/transfer"
)

type importFlags struct {
	to     end
	in     string
	newIDs bool
}

func newImport() *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use:   "import --to DIR|URL [--namespace NAME] [--in FILE]",
		Short: "Store the values that an export has written",
		Long: `import stores what "zdbd export" has written: into a data directory that no server
uses, or into a running server, zdbd or an original 0-db. A missing namespace is
made. A file is verified as a whole before anything is stored; of a stream from
stdin what came before a damage or a cut is stored, and the exit code tells.

User keys: a key that has the same value already is left alone, one with another
value gets the stream's, others stay. So an import can be repeated, and gone on
with after an interruption. A server lets only an administrator set the times of
values (--admin-file); without him they are those of the import, which is said.

Sequential namespaces (ids) give their ids themselves, so the target has to be
empty, or have the beginning of this very import, and nobody else may write to
it meanwhile. Ids that the source has no more are used up. Anything else is
refused, because the ids would come out different. With --new-ids the values are
appended and get the ids that come; each is printed as a line "OLD NEW". Such an
import must not be repeated: it would append all once more.

EXIT STATUS
  0 done, 2 usage, 10 no such directory or namespace, 11 in use by a server,
  14 stream or target damaged, 15 no space, 16 not permitted, 17 stream or data
  newer than this program, 130 interrupted, 1 other error`,
		Example: `  zdbd import --to /srv/zdb1 --namespace home --in home.qzdt
  zdbd import --to zdb://127.0.0.1:9900/home --admin-file /etc/zdb.admin --in home.qzdt
  zdbd import --to zdb://127.0.0.1:9900/blocks --in blocks.qzdt --new-ids > ids.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.to.where, "to", "", "data directory, embedded node's folder, or server: zdb://HOST:PORT/NAMESPACE, zdbs://..., zdb+unix:///SOCKET?ns=NAMESPACE (required)")
	fl.StringVar(&f.to.namespace, "namespace", "", `namespace; of a data directory "default" when not given`)
	fl.StringVar(&f.in, "in", "-", "file to read; - for stdin")
	fl.StringVar(&f.to.adminFile, "admin-file", "", "file with the server's admin password")
	fl.BoolVar(&f.newIDs, "new-ids", false, "let the values of a sequential namespace get other ids, and print them")
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command) (err error) {
	if f.to.where == "" {
		return usage("--to is missing")
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	c := newConsole(cmd)
	f.to.log = slog.New(slog.DiscardHandler)
	in, total, err := f.input(ctx, cmd.InOrStdin(), c)
	if err != nil {
		return classify(err)
	}
	defer in.Close()
	stream, err := transfer.NewReader(in)
	if err != nil {
		return classify(err)
	}
	if f.newIDs && !stream.Header.Sequential {
		return usage("--new-ids is for sequential namespaces; this stream has user keys")
	}
	to, err := f.to.open(ctx, true, stream.Header.Sequential)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	if to.sequential != stream.Header.Sequential {
		return &failure{exitOther, fmt.Errorf("the stream has %s, and the target %s", modeText(stream.Header.Sequential), modeText(to.sequential)), "import into another namespace: a missing one is made in the right mode"}
	}
	r, err := f.load(ctx, c, stream, to, total)
	if err != nil {
		return classify(fmt.Errorf("after %s: %w", plural(r.Records, "value"), err))
	}
	f.report(c, to, r)
	return nil
}

func modeText(sequential bool) string {
	if sequential {
		return "ids (sequential mode)"
	}
	return "user keys"
}

// input gives the stream. A file is read to its end first, to see that it is whole.
func (f *importFlags) input(ctx context.Context, stdin io.Reader, c *console) (in io.ReadCloser, totalBytes int64, err error) {
	if f.in == "-" {
		return io.NopCloser(stdin), 0, nil
	}
	file, err := os.Open(f.in)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, &failure{exitNotFound, err, ""}
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return file, 0, err
	}
	meter := c.meter()
	defer meter.Clear()
	_, r, err := transfer.Verify(ctx, file, func(_, valueBytes int64) { meter.Update("verifying", valueBytes, 0) })
	switch {
	case errors.Is(err, transfer.ErrDamaged):
		return nil, 0, &failure{exitDamage, fmt.Errorf("%s: %w", f.in, err), "nothing was stored; export again"}
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w", f.in, err)
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, r.ValueBytes, err
}

func (f *importFlags) load(ctx context.Context, c *console, stream *transfer.Reader, to *opened, totalBytes int64) (transfer.Result, error) {
	meter := c.meter()
	defer meter.Clear()
	o := transfer.ImportOptions{Progress: func(_, valueBytes int64) { meter.Update("importing", valueBytes, totalBytes) }}
	if f.newIDs {
		o.NewIDs = func(was, is uint64) error {
			var err error
			if c.asJSON {
				_, err = fmt.Fprintf(c.out, `{"type":"id","was":%d,"is":%d}`+"\n", was, is)
			} else {
				_, err = fmt.Fprintf(c.out, "%d %d\n", was, is)
			}
			return err
		}
	}
	return transfer.Import(ctx, stream, to.target, o)
}

func (f *importFlags) report(c *console, to *opened, r transfer.Result) {
	timesKept := to.live == nil || !to.live.TimesLost()
	if c.asJSON {
		c.event(transferResult{Type: "result", Schema: 1, Namespace: to.namespace, Sequential: to.sequential,
			Records: r.Records, ValueBytes: r.ValueBytes, Written: &r.Written, Filled: &r.Filled, TimesKept: &timesKept})
	} else {
		w := c.out
		if f.newIDs {
			w = c.err // stdout has the ids
		}
		fmt.Fprintf(w, "imported %s, %s; %d were there already\n", plural(r.Records, "value"), bytesize.Format(r.ValueBytes), r.Records-r.Written)
	}
	if !timesKept {
		fmt.Fprintln(c.err, "zdbd: the values have the time of the import: only an administrator may set another (--admin-file)")
	}
}
