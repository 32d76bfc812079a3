package cli

import (
	"github.com/spf13/cobra"
)

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Write the completion script of a shell",
		Long:  "Write the script that lets a shell complete verbs, flags and names of volumes.",
		Example: `  source <(qsfs completion bash)
  qsfs completion bash > /etc/bash_completion.d/qsfs
  qsfs completion zsh  > "${fpath[1]}/_qsfs"
  qsfs completion fish > ~/.config/fish/completions/qsfs.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      exactly(1, "bash, zsh or fish"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			}
			return (&choice{allowed: []string{"bash", "zsh", "fish"}}).Set(args[0])
		},
	}
}

func completeFolder(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeVolume offers the names of volumes.
func (a *app) completeVolume(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	p, err := a.places()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	all, _ := p.Names()
	for _, name := range all {
		if _, err := a.readFinished(p, name); err == nil {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeVolumeThenFolder(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return completeFolder(cmd, args, typed)
	}
	return a.completeVolume(cmd, args, typed)
}
