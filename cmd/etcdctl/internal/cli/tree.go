package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"cairn/internal/version"
)

// node is a name in the tree, with the command of each dialect.
type node struct {
	path  string
	forms [V3 + 1]*Command // by dialect; nil if the dialect has no such command
	below []*node
	cobra *cobra.Command
}

// group reports whether a node is a group of commands.
func (n *node) group() bool { return len(n.below) > 0 || n.path == "" }

// in reports whether a dialect has the command or, for a group, any command in it. Dialect 0 stands
// for either.
func (n *node) in(d Dialect) bool {
	if d == 0 || n.group() && slices.ContainsFunc(n.below, func(b *node) bool { return b.in(d) }) {
		return true
	}
	return !n.group() && n.forms[d] != nil
}

// App is the program: the tree of the commands of both dialects, and the streams that they use.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	dialects Dialects
	root     *node
	v2Flags  map[string]*pflag.Flag // all flags of v2 commands, by name
	allFlags []*pflag.FlagSet       // the flags of every command, and the global ones
}

// New builds the tree.
func New(d Dialects) *App {
	a := &App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, dialects: d, v2Flags: map[string]*pflag.Flag{}}
	a.root = &node{}
	for dialect, commands := range map[Dialect][]Command{V2: d.V2, V3: d.V3} {
		for i := range commands {
			a.root.at(commands[i].Path).forms[dialect] = &commands[i]
		}
	}
	for i := range d.Both {
		n := a.root.at(d.Both[i].Path)
		n.forms[V2], n.forms[V3] = &d.Both[i], &d.Both[i]
	}
	a.build(a.root)
	root := a.root.cobra
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	a.addGlobals(root.PersistentFlags())
	a.allFlags = append(a.allFlags, root.PersistentFlags())
	a.completeGlobals(root)
	root.AddCommand(a.completionCommand(), a.optionsCommand())
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		if c.Parent() != root || !a.helpBuiltin(c.Name()) {
			a.help(a.nodeOf(c))
		}
	})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		hint := ""
		if near := nearFlag(c, err); near != "" {
			hint = fmt.Sprintf("Did you mean '--%s'? ", near)
		}
		return usage("%v\n%sRun 'etcdctl help%s' for a list of options. Write -- before an argument that begins with a dash.",
			err, hint, strings.TrimPrefix(c.CommandPath(), "etcdctl"))
	})
	return a
}

// at returns the node of a path below n. It creates the node if it does not exist.
func (n *node) at(path string) *node {
	name, rest, more := strings.Cut(path, " ")
	full := strings.TrimSpace(n.path + " " + name)
	i := slices.IndexFunc(n.below, func(b *node) bool { return b.path == full })
	if i < 0 {
		i = len(n.below)
		n.below = append(n.below, &node{path: full})
	}
	if more {
		return n.below[i].at(rest)
	}
	return n.below[i]
}

// build makes the cobra commands of a node and of the nodes below it.
func (a *App) build(n *node) {
	name := n.name()
	n.cobra = &cobra.Command{Use: cmp.Or(name, "etcdctl"), Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		return a.run(n, args)
	}}
	n.cobra.ValidArgsFunction = a.completer(n)
	n.cobra.Flags().SortFlags = false
	a.addFlags(n.cobra.Flags(), n.forms)
	a.allFlags = append(a.allFlags, n.cobra.Flags())
	n.describe()
	slices.SortFunc(n.below, func(x, y *node) int { return strings.Compare(x.path, y.path) })
	for _, b := range n.below {
		a.build(b)
		n.cobra.AddCommand(b.cobra)
	}
}

// addFlags adds the flags of both dialects to a command. A flag of only one dialect is annotated.
func (a *App) addFlags(flags *pflag.FlagSet, forms [V3 + 1]*Command) {
	var makers [V3 + 1]func(*pflag.FlagSet)
	for d, form := range forms {
		if form != nil {
			makers[d] = form.Flags
		}
	}
	a.mergeFlags(flags, makers)
}

func (a *App) mergeFlags(flags *pflag.FlagSet, makers [V3 + 1]func(*pflag.FlagSet)) {
	for _, d := range []Dialect{V2, V3} {
		if makers[d] == nil {
			continue
		}
		own := pflag.NewFlagSet("", pflag.ContinueOnError)
		own.SortFlags = false
		makers[d](own)
		own.VisitAll(func(f *pflag.Flag) {
			if d == V2 {
				a.v2Flags[f.Name] = f
			}
			if shared := flags.Lookup(f.Name); shared != nil {
				delete(shared.Annotations, annotation)
				return
			}
			f.Annotations = map[string][]string{annotation: {fmt.Sprint(int(d))}}
			flags.AddFlag(f)
		})
	}
}

// addGlobals adds the options of every command.
func (a *App) addGlobals(flags *pflag.FlagSet) {
	flags.SortFlags = false
	common := func(flags *pflag.FlagSet) {
		flags.StringSlice("endpoints", nil, "endpoints of the cluster, `URLS` separated by commas (default 127.0.0.1:2379; v2 tries 127.0.0.1:4001 as well)")
		flags.Bool("debug", false, "v2: print a curl command for each request; v3: enable client-side debug logging")
		flags.String("discovery-srv", "", "find the endpoints in the DNS SRV records of this `domain` (short: -D in v2, -d in v3)")
		flags.Bool("insecure-discovery", false, "accept endpoints without TLS from SRV records (default in v3)")
		flags.String("profile", "", "use the options of the profile of this `name` (see `etcdctl help profile`)")
		flags.BoolP("help", "h", false, "show help")
		flags.BoolP("version", "v", false, "print the version")
	}
	both := func(more func(*pflag.FlagSet)) func(*pflag.FlagSet) {
		return func(flags *pflag.FlagSet) {
			common(flags)
			if more != nil {
				more(flags)
			}
		}
	}
	a.mergeFlags(flags, [V3 + 1]func(*pflag.FlagSet){V2: both(a.dialects.V2Globals), V3: both(a.dialects.V3Globals)})
	flags.Lookup("discovery-srv").Shorthand = ""
}

// Run runs a command line, without the program's name, and returns the exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	if a.Getenv(apiVariable) != "3" {
		args = lenient(args, a.v2Flags, a.allFlags)
	}
	// -d is v3's short form; pflag supports one short form only, and v2 uses -D.
	if slices.Contains(args, "-d") {
		args = expandShort(args, "-d", "--discovery-srv")
	}
	args = groupFlagsLast(args)
	if api, err := parseAPI(a.Getenv(apiVariable)); err == nil && api != V2 {
		args = a.expandPrefixes(args, api)
	}
	a.root.cobra.SetArgs(args)
	a.root.cobra.SetOut(a.Out)
	a.root.cobra.SetErr(a.Err)
	err := a.root.cobra.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	exit := asExit(err)
	fmt.Fprint(a.Err, exit.Message)
	return exit.Code
}

// groupFlagsLast moves a flag that etcd has on the group `endpoint` behind the name of the
// subcommand, which has it here: its documentation has `etcdctl endpoint --cluster health`.
func groupFlagsLast(args []string) []string {
	i := slices.Index(args, "endpoint")
	if i < 0 || i+2 >= len(args) || slices.Contains(args[:i], "--") || strings.HasPrefix(args[i+2], "-") {
		return args
	}
	if flag := args[i+1]; flag != "--cluster" && !strings.HasPrefix(flag, "--cluster=") {
		return args
	}
	args = slices.Clone(args)
	args[i+1], args[i+2] = args[i+2], args[i+1]
	return args
}

func expandShort(args []string, short, long string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		if arg == short {
			out[i] = long
		}
	}
	return out
}

// run runs the command of a node.
func (a *App) run(n *node, args []string) error {
	flags := n.cobra.Flags()
	api, err := parseAPI(a.Getenv(apiVariable))
	if err != nil {
		return err
	}
	if shown, _ := flags.GetBool("version"); shown && (n.group() || n.forms[V2] != nil) {
		a.printVersion(cmp.Or(api, V2))
		return nil
	}
	if n.group() {
		return a.runGroup(n, api, args)
	}
	if flags.Changed("version") && n.forms[V2] == nil { // `put k -v` is meant to store "-v"
		return usage("unknown flag: -v: `etcdctl %s` has no such option; write -- before an argument that begins with a dash", n.path)
	}
	d, err := choose(api, n, flags)
	if err != nil {
		return err
	}
	// which must work when the file is broken or names no profile
	if !strings.HasPrefix(n.path, "profile ") {
		if err := a.applyProfile(flags, d); err != nil {
			return err
		}
	}
	return n.forms[d].Run(a.session(n, args))
}

// session returns the session of a command.
func (a *App) session(n *node, args []string) *Session {
	flags := n.cobra.Flags()
	return &Session{
		Context: n.cobra.Context(), Args: args, Dash: flags.ArgsLenAtDash(), Flags: flags,
		In: a.In, Out: a.Out, Err: a.Err, Getenv: a.Getenv,
	}
}

// printVersion prints the two lines that scripts parse from `etcdctl --version`.
func (a *App) printVersion(d Dialect) {
	fmt.Fprintf(a.Out, "etcdctl version: %s\nAPI version: %s\n", version.API, APIVersion(d))
}

// APIVersion returns the version of a dialect as etcdctl prints it.
func APIVersion(d Dialect) string {
	if d == V2 {
		return "2"
	}
	return version.Minor
}

// unknown returns the error for an unknown command. v2 has a special exit code for it.
func (a *App) unknown(n *node, api Dialect, name string) error {
	path := strings.TrimSpace("etcdctl " + n.path)
	hint := fmt.Sprintf("Run '%s --help' for a list of commands.", path)
	if near := n.nearCommand(name); near != "" {
		hint = fmt.Sprintf("Did you mean '%s %s'? %s", path, near, hint)
	}
	if api == V3 {
		return usage("unknown command %q for %q\n%s", name, path, hint)
	}
	return &Exit{Code: exitUnknown, Message: fmt.Sprintf("No help topic for '%s'\n%s\n", name, hint)}
}

// nodeOf finds the node of a cobra command.
func (a *App) nodeOf(c *cobra.Command) *node {
	var find func(n *node) *node
	find = func(n *node) *node {
		if n.cobra == c {
			return n
		}
		for _, b := range n.below {
			if found := find(b); found != nil {
				return found
			}
		}
		return nil
	}
	if n := find(a.root); n != nil {
		return n
	}
	return a.root
}

// Commands returns the paths of a dialect's commands, in order.
func (a *App) Commands(d Dialect) (paths []string) {
	var walk func(n *node)
	walk = func(n *node) {
		if !n.group() && n.forms[d] != nil {
			paths = append(paths, n.path)
		}
		for _, b := range n.below {
			walk(b)
		}
	}
	walk(a.root)
	return paths
}
