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
				next = n.byPrefix(name, api)
			}
			if next == nil && n.path == "" && a.helpBuiltin(name) {
				return nil
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

// help prints the help of a node: for the dialect of ETCDCTL_API if it is set, else for both.
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
			if n.both() {
				break
			}
		}
	}
	fmt.Fprintf(a.Out, "\nGlobal options: see 'etcdctl --help'.\n")
}

func (a *App) helpGroup(n *node, api Dialect) {
	if n.path == "" {
		fmt.Fprintf(a.Out, "etcdctl %s (cairn %s): read, write and watch keys, and administer a cluster.\n", version.API, version.Cairn)
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
		if !n.in(d) || api != 0 && api != d || n.group() && n.allBoth() {
			continue
		}
		if n.path == "" || api == 0 {
			fmt.Fprintf(a.Out, "\nCommands of the v%d API:\n", d)
		} else {
			fmt.Fprintf(a.Out, "\nCommands:\n")
		}
		listCommands(a.Out, n, d, false)
	}
	if n.anyBoth() {
		fmt.Fprintf(a.Out, "\nCommands without a server:\n")
		listCommands(a.Out, n, V3, true)
	}
	if n.path != "" {
		fmt.Fprintf(a.Out, "\nSee 'etcdctl help %s COMMAND' for one of them.\n", n.path)
		return
	}
	fmt.Fprintf(a.Out, "\n  help, h                print this list, or help on a command: etcdctl help get\n"+
		"  completion             print a shell completion script: source <(etcdctl completion bash)\n  options                list the global options\n")
	a.helpGlobals(api)
	if api == 0 {
		fmt.Fprint(a.Out, "\nThe API: a command or an option that only one API has selects this API (put and --prefix are v3, set and --sort v2).\n"+
			"A command that both APIs have runs in v2 unless ETCDCTL_API=3 is set. ETCDCTL_API=2 or 3 selects one API, also for this help.\n")
	}
}

// both reports whether the same command belongs to both dialects.
func (n *node) both() bool { return n.forms[V3] != nil && n.forms[V2] == n.forms[V3] }

// anyBoth reports whether a command that belongs to both dialects is below a group.
func (n *node) anyBoth() bool {
	return slices.ContainsFunc(n.below, func(b *node) bool { return b.anyBoth() || len(b.below) == 0 && b.both() })
}

// allBoth reports whether all commands below a group belong to both dialects.
func (n *node) allBoth() bool {
	return !slices.ContainsFunc(n.below, func(b *node) bool { return !b.both() || len(b.below) > 0 && !b.allBoth() })
}

// listCommands lists the commands below a node, including those in groups: with both, the commands
// that belong to both dialects; else the other ones of dialect d.
func listCommands(w io.Writer, n *node, d Dialect, both bool) {
	for _, b := range n.below {
		if b.group() {
			listCommands(w, b, d, both)
		} else if form := b.forms[d]; form != nil && b.both() == both {
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
	fmt.Fprint(a.Out, "\nAn option can be given as an environment variable: --endpoints is ETCDCTL_ENDPOINTS. An option takes precedence over its variable.\n")
}

func (a *App) helpCommandIn(n *node, d Dialect) {
	form := n.forms[d]
	both := n.forms[V2] != nil && n.forms[V3] != nil && !n.both()
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

// usages describes the flags that show accepts, one per line.
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

// runGroup shows the help of a group, or of the command below it that follows the word help.
func (a *App) runGroup(n *node, api Dialect, args []string) error {
	help := len(args) > 0 && (args[0] == "help" || args[0] == "h" && api != V3)
	if len(args) > 0 && !help {
		return a.unknown(n, api, args[0])
	}
	if help {
		for _, name := range args[1:] {
			i := slices.IndexFunc(n.below, func(b *node) bool { return b.name() == name })
			if i < 0 {
				return a.unknown(n, api, name)
			}
			n = n.below[i]
		}
	}
	a.help(n)
	return nil
}
