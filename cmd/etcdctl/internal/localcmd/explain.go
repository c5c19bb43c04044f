package localcmd

import (
	"fmt"
	"strings"

	"cairn/cmd/etcdctl/internal/cli"
)

var explainCommands = []cli.Command{{
	Path: "explain", Args: "<code|text>", Short: "explain an error, and what to do about it", Beyond: true,
	Long:    "The argument is an error code of the v2 API, an exit code written as exit-N, an alarm, or a part of an error's text.",
	Example: "$ etcdctl explain 101\n101  Compare failed …\n$ etcdctl explain \"database space exceeded\"",
	Run:     explain,
}}

// explanation is an error with its meaning and the next step.
type explanation struct{ code, text, meaning, next string }

func explain(s *cli.Session) error {
	if len(s.Args) == 0 {
		return failf(exitArgs, "explain needs an error code or a part of an error's text")
	}
	query := strings.ToLower(strings.TrimSpace(strings.Join(s.Args, " ")))
	var found []explanation
	for _, e := range explanations {
		if strings.EqualFold(e.code, query) || len(query) > 3 && (strings.Contains(strings.ToLower(e.text), query) || e.text != "" && strings.Contains(query, strings.ToLower(e.text))) {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return failf(1, "no explanation of %q: give a v2 error code (100 to 401), exit-N, an alarm (NOSPACE, CORRUPT), or a few words of the error", query)
	}
	for i, e := range found {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		fmt.Fprintf(s.Out, "%s\n  %s\n  %s\n", strings.TrimSpace(e.code+"  "+e.text), e.meaning, e.next)
	}
	return nil
}
