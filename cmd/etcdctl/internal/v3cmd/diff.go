package v3cmd

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/cmd/etcdctl/internal/cli"
)

var diffCommand = cli.Command{
	Path: "diff", Args: "[prefix]", Beyond: true,
	Short: "compare the keys of two revisions",
	Long: "--rev is given twice, or once to compare with the current revision. Values are compared line by line; values that are not\n" +
		"text are shown by their sizes. With --name-only each changed key is one line: A added, D deleted, M modified.",
	Example: "$ etcdctl diff --rev 7 --rev 9 /app/\n--- /app/mode  revision 7\n+++ /app/mode  revision 9\n- blue\n+ green",
	Flags: func(flags *pflag.FlagSet) {
		flags.Int64Slice("rev", nil, "`revision` to compare; given once or twice")
		flags.Bool("name-only", false, "print only the changed keys")
	},
	Run: diff, Complete: completeKeys,
}

func diff(s *cli.Session) error {
	prefix, err := prefixArg(s, "diff")
	if err != nil {
		return err
	}
	revisions := value(s.Flags.GetInt64Slice("rev"))
	if len(revisions) < 1 || len(revisions) > 2 {
		return failf(exitArgs, "diff needs --rev once or twice: the revisions to compare")
	}
	return withKubeView(s, func(c *clientv3.Client, view *kubeView) error {
		from, to := newPages(c, prefix, revisions[0]), newPages(c, prefix, 0)
		if len(revisions) == 2 {
			to.revision = revisions[1]
		}
		return merge(s, from, to, func(before, after *mvccpb.KeyValue) error {
			return printDiff(s, view, from.revision, to.revision, before, after)
		})
	})
}

// merge calls changed for each key that differs between two revisions. before or after is nil for a
// key that one revision does not have.
func merge(s *cli.Session, from, to *pages, changed func(before, after *mvccpb.KeyValue) error) error {
	a, err := from.take(s)
	if err != nil {
		return err
	}
	b, err := to.take(s)
	for err == nil && (a != nil || b != nil) {
		order := 0
		switch {
		case b == nil:
			order = -1
		case a == nil:
			order = 1
		default:
			order = bytes.Compare(a.GetKey(), b.GetKey())
		}
		switch {
		case order < 0:
			err = changed(a, nil)
		case order > 0:
			err = changed(nil, b)
		case a.GetModRevision() != b.GetModRevision():
			err = changed(a, b)
		}
		if err != nil {
			return err
		}
		if order <= 0 {
			if a, err = from.take(s); err != nil {
				return err
			}
		}
		if order >= 0 {
			b, err = to.take(s)
		}
	}
	return err
}

func printDiff(s *cli.Session, view *kubeView, from, to int64, before, after *mvccpb.KeyValue) error {
	kind, key := "M", before.GetKey()
	switch {
	case before == nil:
		kind, key = "A", after.GetKey()
	case after == nil:
		kind = "D"
	}
	if s.Bool("name-only") {
		fmt.Fprintf(s.Out, "%s %s\n", kind, readable(key))
		return nil
	}
	fmt.Fprintln(s.Out, paint(s, bold, fmt.Sprintf("--- %s  revision %d", keyOr(before, "(no key)"), from)))
	fmt.Fprintln(s.Out, paint(s, bold, fmt.Sprintf("+++ %s  revision %d", keyOr(after, "(no key)"), to)))
	return printChange(s, view, before.GetValue(), after.GetValue(), before != nil, after != nil)
}

func keyOr(kv *mvccpb.KeyValue, text string) string {
	if kv == nil {
		return text
	}
	return readable(kv.GetKey())
}

// readable returns a key as it can be shown on a terminal: quoted if it is not text in one line. A
// key with an escape sequence must not control the terminal.
func readable(key []byte) string {
	if isText(key) && !bytes.ContainsAny(key, "\n\t\r") {
		return string(key)
	}
	return strconv.Quote(string(key))
}

// printChange prints the lines that differ between two values, as the view shows them.
func printChange(s *cli.Session, view *kubeView, before, after []byte, hadBefore, hasAfter bool) (err error) {
	if hadBefore {
		if before, err = view.yaml(before); err != nil {
			return err
		}
	}
	if hasAfter {
		if after, err = view.yaml(after); err != nil {
			return err
		}
	}
	if view != nil { // the line end of the YAML is not an empty line
		before, after = bytes.TrimSuffix(before, []byte("\n")), bytes.TrimSuffix(after, []byte("\n"))
	}
	if !isText(before) || !isText(after) {
		if hadBefore {
			fmt.Fprintln(s.Out, paint(s, red, fmt.Sprintf("- (%d bytes, not text)", len(before))))
		}
		if hasAfter {
			fmt.Fprintln(s.Out, paint(s, green, fmt.Sprintf("+ (%d bytes, not text)", len(after))))
		}
		return nil
	}
	var a, b []string
	if hadBefore {
		a = strings.Split(string(before), "\n")
	}
	if hasAfter {
		b = strings.Split(string(after), "\n")
	}
	for _, line := range lineDiff(a, b) {
		switch line[0] {
		case '-':
			line = paint(s, red, line)
		case '+':
			line = paint(s, green, line)
		}
		fmt.Fprintln(s.Out, line)
	}
	return nil
}

// isText reports whether a value can be shown on a terminal.
func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' })
}

// diffCells bounds the work of lineDiff; larger values are shown whole.
const diffCells = 4 << 20

// lineDiff returns the lines of a and b: "- " before lines of a only, "+ " before lines of b only,
// and "  " before common lines, of which it keeps those next to a change.
//
// It fills the table of the longest common subsequences of the suffixes: with a = [x y], b = [y z]
// the common line is y, and the result is "- x", "  y", "+ z".
func lineDiff(a, b []string) (lines []string) {
	if len(a)*len(b) > diffCells {
		for _, line := range a {
			lines = append(lines, "- "+line)
		}
		for _, line := range b {
			lines = append(lines, "+ "+line)
		}
		return lines
	}
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			lines = append(lines, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, "- "+a[i])
			i++
		default:
			lines = append(lines, "+ "+b[j])
			j++
		}
	}
	return nearChanges(lines)
}

// contextLines is the number of common lines that are shown around a change.
const contextLines = 3

// nearChanges drops common lines that are not next to a change.
func nearChanges(lines []string) (kept []string) {
	near := make([]bool, len(lines))
	for i, line := range lines {
		if line[0] == ' ' {
			continue
		}
		for j := max(0, i-contextLines); j <= min(len(lines)-1, i+contextLines); j++ {
			near[j] = true
		}
	}
	for i, line := range lines {
		if near[i] {
			kept = append(kept, line)
		} else if i > 0 && near[i-1] {
			kept = append(kept, "  …")
		}
	}
	return kept
}
