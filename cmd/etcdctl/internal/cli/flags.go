package cli

import "github.com/spf13/pflag"

// FlagsOf returns the flags of a command in a dialect, without the global ones.
func (a *App) FlagsOf(d Dialect, path string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(path, pflag.ContinueOnError)
	if form := a.root.at(path).forms[d]; form != nil && form.Flags != nil {
		form.Flags(flags)
	}
	return flags
}

// Globals returns the global flags of both dialects.
func (a *App) Globals() *pflag.FlagSet { return a.root.cobra.PersistentFlags() }
