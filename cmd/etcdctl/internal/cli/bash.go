package cli

import (
	_ "embed" // of bashQuotes
	"io"

	"github.com/spf13/cobra"
)

// bashWords defines, unless the package bash-completion has done so, the function that cobra's
// script uses of that package. It sets cur, prev, words and cword from the command line up to the
// cursor. Bash splits words at the characters of COMP_WORDBREAKS, such as ":" and "="; words
// without white space between them are one.
const bashWords = `
if ! declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
_get_comp_words_by_ref()
{
    local rest=${COMP_LINE:0:COMP_POINT} word joined i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        joined=
        ((i > 0)) && [[ $rest != [[:space:]]* ]] && joined=1
        rest=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && word=$rest
        rest=${rest#"$word"}
        if [[ $joined ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
    done
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=
    if ((cword > 0)); then prev=${words[cword-1]}; fi
}
fi
`

// bashQuotes completes words with quotes.
//
//go:embed bash_quotes.sh
var bashQuotes string

// bashCompletion writes the completion script of bash.
func bashCompletion(root *cobra.Command, out io.Writer, descriptions bool) error {
	if err := root.GenBashCompletionV2(out, descriptions); err != nil {
		return err
	}
	_, err := io.WriteString(out, bashWords+bashQuotes)
	return err
}
