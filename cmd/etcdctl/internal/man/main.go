// Command man writes etcdctl's man pages to a directory:
//
//	go run ./cmd/etcdctl/internal/man DIR
//
// There is a page for each command (etcdctl-member-list.1). The date of the pages is
// SOURCE_DATE_EPOCH if it is set, so that packages can be built reproducibly.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"cairn/cmd/etcdctl/internal/program"
	"cairn/internal/version"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./cmd/etcdctl/internal/man DIR")
		os.Exit(1)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// write writes the pages.
func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := program.New().Root()
	root.DisableAutoGenTag = true
	capitals(root)
	header := &doc.GenManHeader{Title: "ETCDCTL", Section: "1", Source: "cairn " + version.Cairn, Manual: "etcdctl"}
	return doc.GenManTree(root, header, dir)
}

// placeholder matches <key> in a usage line.
var placeholder = regexp.MustCompile(`<([a-zA-Z][^<>]*)>`)

// capitals writes placeholders as man pages do: KEY for <key>, which Markdown would interpret as
// HTML.
func capitals(c *cobra.Command) {
	for _, text := range []*string{&c.Use, &c.Short, &c.Long} {
		*text = placeholder.ReplaceAllStringFunc(*text, func(s string) string {
			return strings.ToUpper(strings.ReplaceAll(strings.Trim(s, "<>"), " ", "-"))
		})
	}
	for _, below := range c.Commands() {
		capitals(below)
	}
}
