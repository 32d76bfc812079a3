package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newLs(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the volumes of this machine",
		Long:  "List the volumes of this machine, mounted or not.",
		Example: `  qsfs ls
  qsfs ls --json`,
		Args:        exactly(0, "no argument"),
		Annotations: map[string]string{exitNote: "16"},
		RunE:        a.ls,
	}
	cmd.Flags().Bool("json", false, "write JSON")
	return cmd
}

func (a *app) ls(cmd *cobra.Command, _ []string) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	all, err := a.volumes(cmd.Context(), p)
	if err != nil {
		return err
	}
	if a.asJSON {
		if all == nil {
			all = []volume{}
		}
		return writeJSON(a.stdout, volumeList{listVersion, all})
	}
	if len(all) == 0 {
		a.say("no volumes in %s", p.State)
		return nil
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tNODES\tREDUNDANCY\tMOUNTED")
	for _, v := range all {
		nodes, redundancy, where := "-", "-", "no"
		if v.Info != nil {
			nodes, redundancy = fmt.Sprint(len(v.Info.Nodes)), fmt.Sprintf("%d+%d", v.Info.Data, v.Info.Parity)
		}
		if v.Mounted {
			where = v.Mountpoint
		}
		if v.Problem != "" {
			where = v.Problem
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", v.Name, nodes, redundancy, where)
	}
	return table.Flush()
}
