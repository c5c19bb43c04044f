package config

import (
	"fmt"
	"strings"
)

const helpHead = `etcd starts a member of a distributed key-value store.

Usage:
  etcd [flags]
  etcd --config-file PATH
  etcd gateway start [flags]
  etcd grpc-proxy start [flags]
  etcd config check [flags]
  etcd --version

Every flag has an environment variable: --data-dir is ETCD_DATA_DIR. A flag overrides its variable.
The keys of a configuration file are the names of the flags. With a file, flags and variables have no effect.
"etcd config check" prints the configuration in force, without starting anything.
`

// Help returns the output of etcd --help.
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
