// Command qsfs mounts filesystems whose data is spread, encrypted, over storage nodes. See package cli for its verbs.
package main

import (
	"os"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/cli"
)

func main() { os.Exit(cli.Main()) }
