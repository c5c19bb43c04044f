package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A transcript is a text file of shell commands with their expected output:
//
//	# a comment
//	$ etcdctl get /k          a line for sh; etcdctl is the client under test
//	> value                   a line of its standard output; all of them must be there
//	2> Error: …               a line that its standard error must contain, among others
//	exit 4                    its exit status, 0 by default
//
// In output {n} matches any number, {any} any text, and {+3} the number three above the anchor.
type step struct {
	line   int
	shell  string
	stdout []string
	stderr []string
	exit   int
}

// Transcript runs the commands of a file against the server, with etcdctl as the path of the
// client. environment is added to the usual one; {+0} matches anchor.
func (s *Server) Transcript(t *testing.T, file, etcdctl string, anchor int64, env ...string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(etcdctl, filepath.Join(bin, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	env = append(env, "PATH="+bin+":"+os.Getenv("PATH"))
	for _, st := range readTranscript(t, file) {
		got := s.Run(t, Command{Args: []string{"/bin/sh", "-c", st.shell}, Env: env})
		if filepath.Dir(etcdctl) == "/usr/bin" { // Debian's
			got.Stderr = clientLog.ReplaceAllString(got.Stderr, "")
		}
		at := fmt.Sprintf("%s:%d: %s", file, st.line, st.shell)
		if got.Exit != st.exit {
			t.Errorf("%s\nexit %d, want %d\n%s%s", at, got.Exit, st.exit, got.Stdout, got.Stderr)
		}
		want := ""
		for _, line := range st.stdout {
			want += line + "\n"
		}
		if !pattern(want, anchor).MatchString(got.Stdout) {
			t.Errorf("%s\nsaid %q\nwant %q (the anchor is %d)", at, got.Stdout, want, anchor)
		}
		for _, line := range st.stderr {
			if !anyLine(pattern(line, anchor), got.Stderr) {
				t.Errorf("%s\nstandard error %q has no line %q (the anchor is %d)", at, got.Stderr, line, anchor)
			}
		}
		if len(st.stderr) == 0 && got.Stderr != "" {
			t.Errorf("%s\nunexpected on standard error: %s", at, got.Stderr)
		}
	}
}

func readTranscript(t *testing.T, file string) (steps []*step) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var last *step
	for i, line := range strings.Split(string(text), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || mark == "#":
		case mark == "$":
			last = &step{line: i + 1, shell: rest}
			steps = append(steps, last)
		case last != nil && mark == ">":
			last.stdout = append(last.stdout, rest)
		case last != nil && mark == "2>":
			last.stderr = append(last.stderr, rest)
		case last != nil && mark == "exit":
			if last.exit, err = strconv.Atoi(rest); err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
		default:
			t.Fatalf("%s:%d: %q is not of a transcript's form", file, i+1, line)
		}
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	return steps
}

// clientLog matches the lines in which Debian's etcdctl logs attempts that it repeats, which depend
// on the moment: an election that is interrupted, a machine that stops.
var clientLog = regexp.MustCompile(`(?m)^\{"level":"warn".*\n`)

// placeholder matches {n}, {any} and {+3}, after regexp.QuoteMeta.
var placeholder = regexp.MustCompile(`\\\{(n|any|\\\+\d+)\\\}`)

// pattern returns the regular expression of a complete expected text.
func pattern(text string, anchor int64) *regexp.Regexp {
	return regexp.MustCompile("^" + placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(text), func(found string) string {
		switch word := placeholder.FindStringSubmatch(found)[1]; word {
		case "n":
			return `\d+`
		case "any":
			return `.*`
		default:
			off, err := strconv.ParseInt(strings.TrimPrefix(word, `\+`), 10, 64)
			if err != nil {
				return `\b\B` // matches nothing
			}
			return strconv.FormatInt(anchor+off, 10)
		}
	}) + "$")
}

func anyLine(re *regexp.Regexp, text string) bool {
	for line := range strings.Lines(text) {
		if re.MatchString(strings.TrimSuffix(line, "\n")) {
			return true
		}
	}
	return false
}
