package cli

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/cmd/qsfs/internal/settings"
)

const exitNote = "exit" // annotation: the exit codes of a verb, besides 0, 1, 2 and 130

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   program,
		Short: "A filesystem whose data is spread, encrypted, over storage nodes",
		Long: `qsfs mounts a folder. What is written there is compressed, encrypted and spread
over storage nodes, so that any few of them may fail or lie, and 24 words bring
everything back on another machine.`,
		Example: `  qsfs up ~/quantum                       a volume on this machine alone, mounted
  qsfs status                             how it is
  qsfs sync && qsfs umount ~/quantum      everything on the nodes, then unmounted`,
		Version:           version().Version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := `"qsfs --help" lists the verbs`
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + quoteVerbs(near) + "?"
			}
			return exit.UsageError(hint, "unknown verb %q", args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.FromEnvironment(cmd.Flags(), os.LookupEnv); err != nil {
				return exit.New(exit.Usage, "", "%w", err)
			}
			flag := cmd.Flags().Lookup("json")
			a.asJSON = flag != nil && flag.Value.String() == "true"
			return nil
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate("qsfs {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.stateDir, "state-dir", "", "`folder` of the volumes' state (default /var/lib/qsfs, or ~/.local/state/qsfs for users)")
	flags.StringVar(&a.cacheDir, "cache-dir", "", "`folder` of the volumes' caches (default /var/cache/qsfs, or ~/.cache/qsfs for users)")
	flags.CountVarP(&a.verbose, "verbose", "v", "tell what happens; twice tells everything")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "tell errors only")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.UsageError(fmt.Sprintf("%q lists the flags", cmd.CommandPath()+" --help"), "%w", err)
	})
	root.AddCommand(newUp(a), newInit(a), newMount(a), newUmount(a), newStatus(a), newSync(a), newRestore(a), newLs(a), newVersion(a), newCompletion(a), newMan(a))
	root.SetHelpCommand(newHelp())
	cobra.AddTemplateFunc("exitStatus", exitStatus)
	root.SetHelpTemplate(helpTemplate)
	return root
}

// quoteVerbs writes verbs as they are typed: "qsfs mount" or "qsfs umount".
func quoteVerbs(verbs []string) string {
	quoted := make([]string, len(verbs))
	for i, verb := range verbs {
		quoted[i] = strconv.Quote(program + " " + verb)
	}
	return strings.Join(quoted, " or ")
}

// helpTemplate is cobra's, with the exit codes at the end.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}{{exitStatus .}}`

// exitStatus is the last section of a verb's help.
func exitStatus(cmd *cobra.Command) string {
	var text strings.Builder
	text.WriteString("\nEXIT STATUS\n")
	for _, m := range meaningsOf(cmd) {
		fmt.Fprintf(&text, "  %3d  %s\n", m.Code, m.Text)
	}
	return text.String()
}

// meaningsOf gives the exit codes a verb may end with; of the program itself, all.
func meaningsOf(cmd *cobra.Command) []exit.Meaning {
	codes := strings.Fields("0 1 2 130 " + cmd.Annotations[exitNote])
	var meanings []exit.Meaning
	for _, m := range exit.Meanings {
		if !cmd.HasParent() || slices.Contains(codes, strconv.Itoa(int(m.Code))) {
			meanings = append(meanings, m)
		}
	}
	return meanings
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [VERB]",
		Short:   "Tell about a verb",
		Example: `  qsfs help mount`,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 && found == cmd.Root() {
				return exit.UsageError(`"qsfs --help" lists the verbs`, "unknown verb %q", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}
