package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cairn/internal/version"
)

// helpCommand is `etcdctl help [command]`.
func (a *App) helpCommand() *cobra.Command {
	return &cobra.Command{Use: "help", Aliases: []string{"h"}, Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		api, err := parseAPI(a.Getenv(apiVariable))
		if err != nil {
			return err
		}
		n := a.root
		for _, name := range args {
			var next *node
			for _, b := range n.below {
				if b.path == strings.TrimSpace(n.path+" "+name) {
					next = b
				}
			}
			if next == nil {
				return a.unknown(n, api, name)
			}
			n = next
		}
		a.help(n)
		return nil
	}}
}

// help prints the help of a node: of one dialect when ETCDCTL_API asks for one, else of both.
func (a *App) help(n *node) {
	api, err := parseAPI(a.Getenv(apiVariable))
	if err != nil || !n.in(api) {
		api = 0
	}
	if n.group() {
		a.helpGroup(n, api)
		return
	}
	for _, d := range []Dialect{V2, V3} {
		if form := n.forms[d]; form != nil && (api == 0 || api == d) {
			a.helpCommandIn(n, d)
		}
	}
	fmt.Fprintf(a.Out, "\nGlobal options: see 'etcdctl --help'.\n")
}

func (a *App) helpGroup(n *node, api Dialect) {
	if n.path == "" {
		fmt.Fprintf(a.Out, "etcdctl %s (cairn %s): read, write and watch keys, and look after a cluster.\n", version.API, version.Cairn)
		fmt.Fprintf(a.Out, "\nUsage: etcdctl [global options] COMMAND [options] [arguments]\n")
	} else {
		for _, d := range []Dialect{V2, V3} {
			if form := n.forms[d]; form != nil && (api == 0 || api == d) {
				fmt.Fprintf(a.Out, "%s\n", form.Short)
				break
			}
		}
		fmt.Fprintf(a.Out, "\nUsage: etcdctl [global options] %s COMMAND [options] [arguments]\n", n.path)
	}
	for _, d := range []Dialect{V2, V3} {
		if !n.in(d) || api != 0 && api != d {
			continue
		}
		if n.path == "" || api == 0 {
			fmt.Fprintf(a.Out, "\nCommands of the v%d API:\n", d)
		} else {
			fmt.Fprintf(a.Out, "\nCommands:\n")
		}
		listCommands(a.Out, n, d)
	}
	if n.path != "" {
		fmt.Fprintf(a.Out, "\nSee 'etcdctl help %s COMMAND' for one of them.\n", n.path)
		return
	}
	fmt.Fprintf(a.Out, "\n  help, h                this list, or help on one command: etcdctl help get\n"+
		"  completion             print a script that completes commands: source <(etcdctl completion bash)\n  options                list the global options alone\n")
	a.helpGlobals(api)
	if api == 0 {
		fmt.Fprint(a.Out, "\nWhich API: a command or an option that only one API has decides (put and --prefix are v3, set and --sort v2);\n"+
			"what both have is v2, unless ETCDCTL_API=3 is set. ETCDCTL_API=2 or 3 keeps to one of them, in this help too.\n")
	}
}

// listCommands lists what can be run below a node, groups unfolded.
func listCommands(w io.Writer, n *node, d Dialect) {
	for _, b := range n.below {
		if b.group() {
			listCommands(w, b, d)
		} else if form := b.forms[d]; form != nil {
			fmt.Fprintf(w, "  %-22s %s\n", b.path, form.Short)
		}
	}
}

func (a *App) helpGlobals(api Dialect) {
	flags := a.root.cobra.PersistentFlags()
	if api != 0 {
		fmt.Fprintf(a.Out, "\nGlobal options:\n%s", usages(flags, func(f *pflag.Flag) bool { return owner(f) == 0 || owner(f) == api }))
	} else {
		fmt.Fprintf(a.Out, "\nGlobal options of both APIs:\n%s", usages(flags, func(f *pflag.Flag) bool { return owner(f) == 0 }))
		for _, d := range []Dialect{V2, V3} {
			fmt.Fprintf(a.Out, "\nGlobal options of the v%d API:\n%s", d, usages(flags, func(f *pflag.Flag) bool { return owner(f) == d }))
		}
	}
	fmt.Fprint(a.Out, "\nAn option can be given as an environment variable: --endpoints is ETCDCTL_ENDPOINTS. The option goes before it.\n")
}

func (a *App) helpCommandIn(n *node, d Dialect) {
	form := n.forms[d]
	both := n.forms[V2] != nil && n.forms[V3] != nil
	title := form.Short
	if both {
		title = fmt.Sprintf("In the v%d API: %s", d, form.Short)
		if d == V3 && a.Getenv(apiVariable) == "" {
			fmt.Fprintln(a.Out)
		}
	}
	fmt.Fprintf(a.Out, "%s\n\nUsage: etcdctl %s", title, n.path)
	options := usages(n.cobra.LocalFlags(), func(f *pflag.Flag) bool {
		return a.root.cobra.PersistentFlags().Lookup(f.Name) == nil && (owner(f) == 0 || owner(f) == d)
	})
	if options != "" {
		fmt.Fprint(a.Out, " [options]")
	}
	if form.Args != "" {
		fmt.Fprint(a.Out, " "+form.Args)
	}
	fmt.Fprintln(a.Out)
	if form.Long != "" {
		fmt.Fprintf(a.Out, "\n%s\n", strings.TrimSpace(form.Long))
	}
	if options != "" {
		fmt.Fprintf(a.Out, "\nOptions:\n%s", options)
	}
	if form.Example != "" {
		fmt.Fprintf(a.Out, "\nExample:\n  %s\n", strings.ReplaceAll(strings.TrimSpace(form.Example), "\n", "\n  "))
	}
}

// usages describes the flags that a condition holds for, a line each.
func usages(flags *pflag.FlagSet, show func(*pflag.Flag) bool) string {
	var left, right []string
	width := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if !show(f) {
			return
		}
		valueName, text := pflag.UnquoteUsage(f)
		option := "      --" + f.Name
		if f.Shorthand == f.Name {
			option = "  -" + f.Name
		} else if f.Shorthand != "" {
			option = fmt.Sprintf("  -%s, --%s", f.Shorthand, f.Name)
		}
		if f.NoOptDefVal == "" {
			option += " " + valueName
		}
		if !slices.Contains([]string{"", "0", "[]", "false"}, f.DefValue) {
			text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		left, right, width = append(left, option), append(right, text), max(width, len(option))
	})
	var b strings.Builder
	for i := range left {
		fmt.Fprintf(&b, "%-*s   %s\n", width, left[i], right[i])
	}
	return b.String()
}
