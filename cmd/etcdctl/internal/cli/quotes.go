package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// cobra's scripts have the shell evaluate the words as they were typed: a word with an open quote
// is an error there, and nothing is completed. fish's also selects the completions that begin with
// what was typed, quotes included. Both shells quote the completions themselves, and only need the
// word with its quote closed or, in fish, without quotes.
var (
	zshQuotes = []string{
		` ${words[2,-1]}"`, ` ${words[2,-1]}${compstate[quote]}"`,
	}
	fishQuotes = []string{
		"function __etcdctl_perform_completion\n", `function __etcdctl_typed
    set -l token (commandline $argv)
    string unescape -- "$token"; or string unescape -- "$token\""; or string unescape -- "$token'"
end

function __etcdctl_perform_completion
`,
		`(string escape -- (commandline -ct))`, `(string escape -- (__etcdctl_typed -ct))`,
		`(commandline -t | string escape --style=regex)`, `(__etcdctl_typed -t | string escape --style=regex)`,
	}
)

// zshCompletion writes the completion script of zsh.
func zshCompletion(root *cobra.Command, out io.Writer, descriptions bool) error {
	generate := root.GenZshCompletion
	if !descriptions {
		generate = root.GenZshCompletionNoDesc
	}
	return writeReplaced(out, generate, zshQuotes)
}

// fishCompletion writes the completion script of fish.
func fishCompletion(root *cobra.Command, out io.Writer, descriptions bool) error {
	return writeReplaced(out, func(w io.Writer) error { return root.GenFishCompletion(w, descriptions) }, fishQuotes)
}

// writeReplaced writes a script of cobra in which texts are replaced, each by the one behind it. It
// fails unless the script has each of them once: another version of cobra may make another script.
func writeReplaced(out io.Writer, generate func(io.Writer) error, replaced []string) error {
	var script strings.Builder
	if err := generate(&script); err != nil {
		return err
	}
	for i := 0; i < len(replaced); i += 2 {
		if n := strings.Count(script.String(), replaced[i]); n != 1 {
			return fmt.Errorf("cobra's completion script has %q %d times, want once", replaced[i], n)
		}
	}
	_, err := strings.NewReplacer(replaced...).WriteString(out, script.String())
	return err
}
