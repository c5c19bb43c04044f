package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nearest returns the candidate that an unknown name is most probably a misspelling of, or "".
// Names of up to 3 letters may differ in one letter, longer ones in two.
func nearest(name string, candidates []string) (found string) {
	best := 2
	if len(name) > 3 {
		best = 3
	}
	for _, c := range candidates {
		d := distance(name, c)
		if len(name) > 1 && strings.HasPrefix(c, name) {
			d = 0
		}
		if d < best {
			best, found = d, c
		}
	}
	return found
}

// distance returns how many letters must be inserted, deleted, replaced, or exchanged with the
// next one, to make one text of another.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// nearCommand returns the path of the command below a node that an unknown name is most like.
func (n *node) nearCommand(name string) string {
	var names []string
	for _, c := range n.cobra.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return nearest(name, names)
}

// nearFlag returns the flag of a command that the unknown flag of an error is most like, or "".
func nearFlag(c *cobra.Command, err error) string {
	unknown := new(pflag.NotExistError)
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return ""
	}
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	c.LocalFlags().VisitAll(add)
	c.InheritedFlags().VisitAll(add)
	return nearest(unknown.GetSpecifiedName(), names)
}
