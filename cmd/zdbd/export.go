package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/transfer"
)

type exportFlags struct {
	from        end
	out         string
	skipDamaged bool
}

func newExport() *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export --from DIR|URL [--namespace NAME] [--out FILE]",
		Short: "Write all values of a namespace to a file",
		Long: `export writes keys, values and times of a namespace as one stream, for "zdbd import".
It reads a data directory that no server uses, or a running server: zdbd or an
original 0-db, whose values are checked on the way (CHECK).

A value that is there from the beginning to the end is in the stream, as it was
at some moment between. For one moment for all, lock the namespace before:
NSSET NAME lock 1. Deleted values, older versions, passwords and limits are not
in it. The stream is not encrypted.

A file appears under its name when it is complete; an interrupted export leaves
none, and an interrupted stream is recognised by import.

EXIT STATUS
  0 done, 2 usage, 3 done but damaged values were left out (--skip-damaged),
  10 no such directory or namespace, 11 in use by a server, 14 damage found,
  15 no space, 16 not permitted, 17 data newer than this program, 130 interrupted,
  1 other error`,
		Example: `  zdbd export --from /srv/zdb1 --namespace home --out home.qzdt
  zdbd export --from zdb://192.0.2.7:9900/home?password-file=/etc/home.pw --out home.qzdt
  zdbd export --from zdb://192.0.2.7:9900/home | ssh new zdbd import --to /srv/zdb1 --namespace home`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.from.where, "from", "", "data directory, embedded node's folder, or server: zdb://HOST:PORT/NAMESPACE, zdbs://..., zdb+unix:///SOCKET?ns=NAMESPACE (required)")
	fl.StringVar(&f.from.namespace, "namespace", "", `namespace; of a data directory "default" when not given`)
	fl.StringVar(&f.out, "out", "-", "file to write, which must not be there yet; - for stdout")
	fl.StringVar(&f.from.adminFile, "admin-file", "", "file with the server's admin password")
	fl.BoolVar(&f.skipDamaged, "skip-damaged", false, "leave out values that can't be read, and name them")
	return cmd
}

// transferResult is what export and import say with --json.
type transferResult struct {
	Type       string `json:"type"`
	Schema     int    `json:"schema"`
	Namespace  string `json:"namespace"`
	Sequential bool   `json:"sequential"`
	Records    int64  `json:"records"`
	ValueBytes int64  `json:"value_bytes"`
	Written    *int64 `json:"written,omitempty"`    // import
	Filled     *int64 `json:"filled,omitempty"`     // import of ids: used up for nothing
	TimesKept  *bool  `json:"times_kept,omitempty"` // import
	Skipped    *int64 `json:"skipped,omitempty"`    // export: damaged values left out
}

func (f *exportFlags) run(cmd *cobra.Command) (err error) {
	if f.from.where == "" {
		return usage("--from is missing")
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	c := newConsole(cmd)
	f.from.log = slog.New(slog.DiscardHandler)
	src, err := f.from.open(ctx, false, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	out, err := f.create(c)
	if err != nil {
		return classify(err)
	}
	r, err := f.export(ctx, c, src, out)
	if err != nil {
		out.drop()
		if errors.Is(err, zdb.ErrCorrupt) {
			return &failure{exitDamage, err, "--skip-damaged leaves such values out and names them"}
		}
		return classify(err)
	}
	if err := out.keep(); err != nil {
		return classify(err)
	}
	if c.asJSON {
		c.event(transferResult{Type: "result", Schema: 1, Namespace: src.namespace, Sequential: src.sequential,
			Records: r.Records, ValueBytes: r.ValueBytes, Skipped: &r.Skipped})
	} else {
		c.say("exported %s, %s", plural(r.Records, "value"), bytesize.Format(r.ValueBytes))
	}
	if r.Skipped > 0 {
		return &failure{exitPartly, fmt.Errorf("%s left out", plural(r.Skipped, "damaged value")), ""}
	}
	return nil
}

func (f *exportFlags) export(ctx context.Context, c *console, src *opened, out *outFile) (transfer.Result, error) {
	w, err := transfer.NewWriter(out, transfer.Header{Sequential: src.sequential, UnixTime: time.Now().Unix(), Namespace: src.namespace})
	if err != nil {
		return transfer.Result{}, err
	}
	meter := c.meter()
	defer meter.Clear()
	o := transfer.ExportOptions{Progress: func(_, valueBytes int64) { meter.Update("exporting", valueBytes, 0) }}
	if f.skipDamaged {
		o.Damaged = func(key []byte, err error) {
			meter.Clear()
			fmt.Fprintf(c.err, "zdbd: left out key %s: %v\n", keyText(key, src.sequential), err)
		}
	}
	return transfer.Export(ctx, src.source, w, o)
}

// outFile is a file that appears when it is complete, or stdout.
type outFile struct {
	io.Writer
	file *os.File // nil for stdout
	path string
}

// create begins the output. What else is to be said goes to stderr when that is stdout.
func (f *exportFlags) create(c *console) (*outFile, error) {
	if f.out == "-" {
		if file, ok := c.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			return nil, usage("the stream is not for a terminal: give --out FILE")
		}
		o := &outFile{Writer: c.out}
		c.out = c.err
		return o, nil
	}
	if _, err := os.Lstat(f.out); err == nil {
		return nil, usage("%s is there already", f.out)
	}
	file, err := os.CreateTemp(filepath.Dir(f.out), "."+filepath.Base(f.out)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &outFile{Writer: file, file: file, path: f.out}, nil
}

func (o *outFile) drop() {
	if o.file != nil {
		o.file.Close()
		os.Remove(o.file.Name())
	}
}

// keep makes the file durable under its name; one that came there meanwhile stays.
func (o *outFile) keep() error {
	if o.file == nil {
		return nil
	}
	defer os.Remove(o.file.Name())
	if err := errors.Join(o.file.Sync(), o.file.Close()); err != nil {
		return err
	}
	if err := os.Link(o.file.Name(), o.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
