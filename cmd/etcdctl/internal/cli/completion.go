package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// completionCommand is `etcdctl completion SHELL`.
func (a *App) completionCommand() *cobra.Command {
	plain := false // without descriptions
	shells := map[string]func(*cobra.Command) error{
		"bash": func(root *cobra.Command) error { return bashCompletion(root, a.Out, !plain) },
		"zsh":  func(root *cobra.Command) error { return zshCompletion(root, a.Out, !plain) },
		"fish": func(root *cobra.Command) error { return fishCompletion(root, a.Out, !plain) },
		"powershell": func(root *cobra.Command) error {
			if plain {
				return root.GenPowerShellCompletion(a.Out)
			}
			return root.GenPowerShellCompletionWithDesc(a.Out)
		},
	}
	const want = "want bash, zsh, fish or powershell, as in: source <(etcdctl completion bash)"
	c := &cobra.Command{
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
	c.Flags().BoolVar(&plain, "no-descriptions", false, "complete without descriptions")
	return c
}

// helpBuiltin prints help on a command that is not a node of the tree, and reports whether there is
// one of this name.
func (a *App) helpBuiltin(name string) bool {
	switch name {
	case "completion":
		fmt.Fprint(a.Out, `print a shell completion script

Usage: etcdctl completion [options] bash|zsh|fish|powershell

Options:
  --no-descriptions      complete without descriptions

The script completes commands, options and, if a cluster is reachable, keys, members, users, roles and profiles.

Example:
  $ source <(etcdctl completion bash)                                  # for this shell
  $ etcdctl completion bash >/etc/bash_completion.d/etcdctl            # for all, as root
  $ etcdctl completion zsh >"${fpath[1]}/_etcdctl"
  $ etcdctl completion fish >~/.config/fish/completions/etcdctl.fish
`)
	case "help", "h":
		fmt.Fprint(a.Out, "print help on a command\n\nUsage: etcdctl help [command]...\n")
	case "options":
		fmt.Fprint(a.Out, "list the global options\n\nUsage: etcdctl options\n")
	default:
		return false
	}
	return true
}

// completer returns the function that completes the arguments of a command for the shell.
func (a *App) completer(n *node) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		for _, d := range []Dialect{V3, V2} {
			form := n.forms[d]
			if form == nil || form.Complete == nil || d == V2 && a.Getenv(apiVariable) == "3" {
				continue
			}
			if err := a.applyProfile(n.cobra.Flags(), d); err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			s := a.session(n, append(slices.Clone(args), typed))
			s.Err = io.Discard
			var words []string
			for _, word := range form.Complete(s) {
				if strings.HasPrefix(word, typed) {
					words = append(words, word)
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// completeGlobals completes the values of global options.
func (a *App) completeGlobals(root *cobra.Command) {
	words := map[string]func() []string{
		"profile":   func() []string { return profileNames(a.Getenv) },
		"write-out": func() []string { return []string{"fields", "json", "kube", "protobuf", "simple", "table"} },
	}
	for name, list := range words {
		err := root.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			found := slices.DeleteFunc(list(), func(word string) bool { return !strings.HasPrefix(word, typed) })
			return found, cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // no such option
		}
	}
}

// optionsCommand is `etcdctl options`: the global options.
func (a *App) optionsCommand() *cobra.Command {
	return &cobra.Command{Use: "options", Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, _ []string) error {
		api, err := parseAPI(a.Getenv(apiVariable))
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Out, "Global options, which every command accepts:")
		a.helpGlobals(api)
		return nil
	}}
}
