package lint

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The widths of text, in columns; a tab takes four.
const (
	commentColumns  = 100
	markdownColumns = 120
)

// phrase is wording that docs/glossary.md replaces by a standard term.
type phrase struct {
	pattern *regexp.Regexp
	instead string
}

// phrases lists wordings that have no correct use in this tree. Words that are wrong only in some
// sentences are left to review.
var phrases = []phrase{
	{regexp.MustCompile(`(?i)\bsays? whether\b`), "reports whether"},
	{regexp.MustCompile(`(?i)\banew\b`), "again, or from the start"},
	{regexp.MustCompile(`(?i)\bwhoever\b`), "the caller, the client or the goroutine"},
	{regexp.MustCompile(`(?i)\bnone any more\b`), "no longer"},
	{regexp.MustCompile(`(?i)\bha(?:s|ve) come to\b`), "has become"},
	{regexp.MustCompile(`(?i)\bbefall|\bbefell`), "happen"},
	{regexp.MustCompile(`(?i)\b(?:no|some|any|every)body\b`), "no client, a user, any goroutine, all members"},
	{regexp.MustCompile(`(?i)\bof whom\b`), "the members or users, by name"},
	{regexp.MustCompile(`(?i)\blets? go of\b`), "releases, closes"},
	{regexp.MustCompile(`(?i)\b(?:holds?|held) up\b`), "delays, blocks"},
	{regexp.MustCompile(`(?i)\bsettle[sd]?\b`), "completes, is stable"},
	{regexp.MustCompile(`(?i)\baside\b`), "except"},
	{regexp.MustCompile(`(?i)\bhasty\b`), "with a short timeout"},
	{regexp.MustCompile(`(?i)\bmay nothing\b`), "has no permissions"},
	{regexp.MustCompile(`(?i)\ball the same\b`), "despite that, still"},
	{regexp.MustCompile(`(?i)\bof no use\b`), "useless"},
	{regexp.MustCompile(`(?i)\bat hand\b`), "available"},
	{regexp.MustCompile(`(?i)\bgoes by\b`), "uses"},
	{regexp.MustCompile(`(?i)\blook(?:s|ed)? after\b`), "detects, supervises"},
	{regexp.MustCompile(`(?i)\bfalls? due\b|\blapses?\b`), "expires"},
}

// CheckText returns the comment lines of hand-written Go files and the lines of Markdown files
// below fsys that are too wide, and the phrases in them that docs/glossary.md replaces. Code
// blocks, tables, directives and single words that cannot be broken may be wide.
func CheckText(fsys fs.FS) (faults []string, err error) {
	err = eachFile(fsys, func(name string) error {
		switch path.Ext(name) {
		case ".go":
			if strings.HasSuffix(name, ".pb.go") {
				return nil
			}
			return eachLine(fsys, name, func(n int, line string) {
				faults = append(faults, checkComment(name, n, line)...)
			})
		case ".md":
			inCode := false
			return eachLine(fsys, name, func(n int, line string) {
				if strings.HasPrefix(strings.TrimSpace(line), "```") {
					inCode = !inCode
					return
				}
				if !inCode {
					faults = append(faults, checkMarkdown(name, n, line)...)
				}
			})
		}
		return nil
	})
	return faults, err
}

// eachFile calls check with the name of each file of the project below fsys.
func eachFile(fsys fs.FS, check func(name string) error) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			return check(name)
		case name != "." && skippedDirectory(d.Name()):
			return fs.SkipDir
		default:
			return nil
		}
	})
}

// skippedDirectory reports whether a directory has third-party or built files.
func skippedDirectory(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || slices.Contains([]string{"bin", "dist", "node_modules", "testdata"}, name)
}

func eachLine(fsys fs.FS, name string, check func(n int, line string)) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		check(n, strings.TrimSuffix(line, "\n"))
	}
	return nil
}

func checkComment(name string, n int, line string) (faults []string) {
	if _, comment, ok := strings.Cut(line, "// "); ok {
		faults = checkPhrases(name, n, comment)
	}
	comment, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), "//")
	if !ok {
		return faults
	}
	prose := strings.HasPrefix(comment, " ") && !strings.HasPrefix(comment, "  ")
	if prose && columns(line) > commentColumns && strings.Contains(strings.TrimSpace(comment), " ") {
		faults = append(faults, fmt.Sprintf("%s:%d: comment of %d columns, want at most %d", name, n, columns(line), commentColumns))
	}
	return faults
}

func checkMarkdown(name string, n int, line string) (faults []string) {
	if name != "docs/glossary.md" {
		faults = checkPhrases(name, n, line)
	}
	table := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ")
	if !table && columns(line) > markdownColumns && strings.Contains(strings.TrimLeft(line, "-*> "), " ") {
		faults = append(faults, fmt.Sprintf("%s:%d: line of %d columns, want at most %d", name, n, columns(line), markdownColumns))
	}
	return faults
}

func checkPhrases(name string, n int, text string) (faults []string) {
	for _, p := range phrases {
		if found := p.pattern.FindString(text); found != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: %q: write %q (docs/glossary.md)", name, n, found, p.instead))
		}
	}
	return faults
}

func columns(line string) int {
	return utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
}
