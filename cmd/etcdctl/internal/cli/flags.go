package cli

import "github.com/spf13/pflag"

// FlagsOf returns the flags of a command in a dialect, without the global ones.
func (a *App) FlagsOf(d Dialect, path string) *pflag.FlagSet {
	for _, c := range a.root.cobra.Commands() {
		if c.Name() == path && a.nodeOf(c) == a.root { // completion, which is not in the tree
			return c.LocalNonPersistentFlags()
		}
	}
	flags := pflag.NewFlagSet(path, pflag.ContinueOnError)
	if form := a.root.at(path).forms[d]; form != nil && form.Flags != nil {
		form.Flags(flags)
	}
	return flags
}

// Globals returns the global flags of both dialects.
func (a *App) Globals() *pflag.FlagSet { return a.root.cobra.PersistentFlags() }
