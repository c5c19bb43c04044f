package config

import (
	"fmt"
	"strings"
)

const helpHead = `etcd starts a member of a distributed key-value store, or the only one.

Usage:
  etcd [flags]
  etcd --config-file PATH
  etcd --version

Every flag can be given as an environment variable, too: --data-dir is ETCD_DATA_DIR. A flag goes before its variable.
A configuration file has the flags' names as its keys; flags and variables have no effect beside it.
`

// Help is what etcd --help prints.
func Help() string {
	var b strings.Builder
	b.WriteString(helpHead)
	for _, section := range sections {
		fmt.Fprintf(&b, "\n%s:\n", section)
		for _, o := range options {
			if o.section != section {
				continue
			}
			b.WriteString("  --" + o.name)
			if o.arg != "" {
				b.WriteString(" " + o.arg)
			}
			b.WriteString("\n      " + o.usage)
			if o.preset != "" {
				fmt.Fprintf(&b, " (default %s)", o.preset)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
