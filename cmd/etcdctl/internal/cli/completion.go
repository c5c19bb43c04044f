package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// completionCommand is `etcdctl completion SHELL`.
func (a *App) completionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(a.Out, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(a.Out) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(a.Out, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(a.Out) },
	}
	const want = "want bash, zsh, fish or powershell, as in: source <(etcdctl completion bash)"
	return &cobra.Command{
		Use: "completion", ValidArgs: []string{"bash", "zsh", "fish", "powershell"}, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("completion takes the name of a shell: %s", want)
			}
			generate, ok := shells[strings.ToLower(args[0])]
			if !ok {
				return usage("completion: %q is not known: %s", args[0], want)
			}
			return generate(c.Root())
		},
	}
}

// optionsCommand is `etcdctl options`: the global ones.
func (a *App) optionsCommand() *cobra.Command {
	return &cobra.Command{Use: "options", Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, _ []string) error {
		api, err := parseAPI(a.Getenv(apiVariable))
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Out, "Every command takes these options:")
		a.helpGlobals(api)
		return nil
	}}
}
