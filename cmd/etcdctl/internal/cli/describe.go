package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Root returns the tree of commands, for the man pages.
func (a *App) Root() *cobra.Command { return a.root.cobra }

// describe gives the cobra command of a node its texts, for shell completion and man pages. Help
// itself is printed by App.help.
func (n *node) describe() {
	c := n.cobra
	if n.path == "" {
		c.Short = "read, write and watch keys, and administer a cluster"
		return
	}
	var long, examples []string
	for _, d := range []Dialect{V3, V2} {
		form := n.forms[d]
		if form == nil {
			continue
		}
		if c.Short == "" {
			c.Short = form.Short
			if form.Args != "" {
				c.Use += " " + form.Args
			}
		}
		text := form.Short
		if n.forms[V2] != nil && n.forms[V3] != nil && !n.both() {
			text = fmt.Sprintf("In the v%d API, `%s`: %s", d, strings.TrimSpace(n.path+" "+form.Args), form.Short)
		}
		if form.Long != "" {
			text += ".\n\n" + strings.TrimSpace(form.Long)
		}
		long = append(long, text)
		if form.Example != "" {
			examples = append(examples, strings.TrimSpace(form.Example))
		}
		if n.both() {
			break
		}
	}
	c.Long, c.Example = strings.Join(long, "\n\n"), strings.Join(examples, "\n\n")
	c.DisableFlagsInUseLine = true
}
