// Command zdbd is a ZDB storage node: it serves the 0-db protocol from a data
// directory, over TCP and a unix socket. See packages zdb/server and zdb/store for
// the protocol, the formats on disk and what an acknowledged write means.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

func run() int {
	root := newRoot()
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) { // cobra's own: a flag or an argument is wrong
		f = &failure{code: exitUsage, err: err, hint: fmt.Sprintf("run %q", cmd.CommandPath()+" --help")}
	}
	asJSON, _ := root.PersistentFlags().GetBool("json")
	f.print(os.Stderr, asJSON)
	return f.code
}

func newRoot() *cobra.Command {
	root := newServe()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentFlags().Bool("json", false, "write logs and errors as JSON lines, results as one JSON object")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newCheck(), newCompact(), newExport(), newImport(), newVersion())
	return root
}
