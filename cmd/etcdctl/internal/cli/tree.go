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

// node is a name in the tree, with what each dialect does under it.
type node struct {
	path  string
	forms [V3 + 1]*Command // by dialect; nil where it has nothing
	below []*node
	cobra *cobra.Command
}

// group reports whether a node only holds others.
func (n *node) group() bool { return len(n.below) > 0 || n.path == "" }

// in reports whether a dialect has the node or, for a group, anything in it; 0 is either dialect.
func (n *node) in(d Dialect) bool {
	if d == 0 || n.group() && slices.ContainsFunc(n.below, func(b *node) bool { return b.in(d) }) {
		return true
	}
	return !n.group() && n.forms[d] != nil
}

// suggestDistance is how many letters may differ between a name that is not in the tree and one
// that is suggested.
const suggestDistance = 2

// App is the program: the tree of both dialects' commands over one set of streams.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	dialects Dialects
	root     *node
	v2Flags  map[string]*pflag.Flag // every flag that v2 has anywhere, by name
	allFlags []*pflag.FlagSet       // of every command, and the global ones
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
	a.build(a.root)
	root := a.root.cobra
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	a.addGlobals(root.PersistentFlags())
	a.allFlags = append(a.allFlags, root.PersistentFlags())
	root.AddCommand(a.completionCommand(), a.optionsCommand())
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { a.help(a.nodeOf(c)) })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%v\nRun 'etcdctl help%s' for the options that there are. An argument that begins with a dash goes behind --.",
			err, strings.TrimPrefix(c.CommandPath(), "etcdctl"))
	})
	return a
}

// at returns the node of a path below n, and makes it if need be.
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

// build makes the cobra command of a node and of those below it.
func (a *App) build(n *node) {
	name := n.path[strings.LastIndex(n.path, " ")+1:]
	n.cobra = &cobra.Command{Use: cmp.Or(name, "etcdctl"), Args: cobra.ArbitraryArgs, RunE: func(_ *cobra.Command, args []string) error {
		return a.run(n, args)
	}}
	n.cobra.SuggestionsMinimumDistance = suggestDistance
	n.cobra.Flags().SortFlags = false
	a.addFlags(n.cobra.Flags(), n.forms)
	a.allFlags = append(a.allFlags, n.cobra.Flags())
	slices.SortFunc(n.below, func(x, y *node) int { return strings.Compare(x.path, y.path) })
	for _, b := range n.below {
		a.build(b)
		n.cobra.AddCommand(b.cobra)
	}
}

// addFlags gives a command the flags of both dialects' forms, each marked if only one has it.
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

// addGlobals adds the options that every command takes.
func (a *App) addGlobals(flags *pflag.FlagSet) {
	flags.SortFlags = false
	common := func(flags *pflag.FlagSet) {
		flags.StringSlice("endpoints", nil, "where the cluster is, as `URLS` with commas between them (default 127.0.0.1:2379)")
		flags.Bool("debug", false, "v2: print a curl command for each request; v3: log what the client does")
		flags.String("discovery-srv", "", "find the endpoints in the SRV records of this `domain` (v2 short: -D, v3 short: -d)")
		flags.Bool("insecure-discovery", false, "take endpoints without TLS from SRV records (in v3 the default)")
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
	// v3's short form; pflag has one letter for a flag and v2's is D
	if slices.Contains(args, "-d") {
		args = expandShort(args, "-d", "--discovery-srv")
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

// run does what the command line asks of a node.
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
		if len(args) > 0 {
			return a.unknown(n, api, args[0])
		}
		a.help(n)
		return nil
	}
	if flags.Changed("version") && n.forms[V2] == nil { // `put k -v` was meant to store something
		return usage("unknown flag: -v: `etcdctl %s` has no such option; an argument that begins with a dash goes behind --", n.path)
	}
	d, err := choose(api, n, flags)
	if err != nil {
		return err
	}
	return n.forms[d].Run(&Session{
		Context: n.cobra.Context(), Args: args, Dash: flags.ArgsLenAtDash(), Flags: flags,
		In: a.In, Out: a.Out, Err: a.Err, Getenv: a.Getenv,
	})
}

// printVersion prints what scripts read from `etcdctl --version`: these two lines and nothing else.
func (a *App) printVersion(d Dialect) {
	fmt.Fprintf(a.Out, "etcdctl version: %s\nAPI version: %s\n", version.API, APIVersion(d))
}

// APIVersion is how etcdctl names the version of a dialect.
func APIVersion(d Dialect) string {
	if d == V2 {
		return "2"
	}
	return version.Minor
}

// unknown is the error for a name that is not in the tree. v2 has an exit code of its own for it.
func (a *App) unknown(n *node, api Dialect, name string) error {
	path := strings.TrimSpace("etcdctl " + n.path)
	hint := fmt.Sprintf("Run '%s --help' for the commands that there are.", path)
	if near := n.cobra.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf("Did you mean '%s %s'? %s", path, near[0], hint)
	}
	if api == V3 {
		return usage("unknown command %q for %q\n%s", name, path, hint)
	}
	return &Exit{exitUnknown, fmt.Sprintf("No help topic for '%s'\n%s\n", name, hint)}
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
