// Package guides follows the guides of docs/guides that have commands with answers: it types every
// line of their ```console blocks that begins with "$ ", in order, on one fresh server, and
// compares what comes back with the lines below.
//
// It owns how a block is read. A guide whose answers have rightly changed is written anew with `go
// test ./test/guides -args -rewrite`.
//
// Concurrency: none.
package guides

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cairn/test/harness"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands answer into the guides")

func TestMain(m *testing.M) { harness.Main(m) }

// written is where guides say that the server is.
const written = "127.0.0.1:2379"

func TestV2ToV3(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " keeps v2 and v3 keys in two stores")
	}
	follow(t, "../../docs/guides/v2-to-v3.md")
}

// follow types a guide's commands and compares their answers.
func follow(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t)
	bin := t.TempDir()
	if err := os.Symlink(harness.Etcdctl(t), filepath.Join(bin, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	var out []string
	commands, inside := 0, false
	var command, want, got string
	compare := func() {
		if command != "" && got != want && !*rewrite {
			t.Errorf("%s:\n$ %s\nanswers\n%s\nthe guide says\n%s", file, command, got, want)
		}
		command, want, got = "", "", ""
	}
	for line := range strings.Lines(string(text)) {
		switch typed, isCommand := strings.CutPrefix(line, "$ "); {
		case line == "```console\n" && !inside:
			inside = true
		case line == "```\n" && inside:
			compare()
			inside = false
		case inside && isCommand:
			compare()
			commands++
			command = strings.TrimSuffix(typed, "\n")
			answer := s.Run(t, harness.Command{
				Args: []string{"/bin/sh", "-c", "exec 2>&1; " + strings.ReplaceAll(command, written, s.Address())},
				Env:  []string{"PATH=" + bin + ":" + os.Getenv("PATH")},
			})
			got = strings.ReplaceAll(answer.Stdout, s.Address(), written)
			if got != "" && !strings.HasSuffix(got, "\n") {
				got += "\n"
			}
			if *rewrite {
				line += got
			}
		case inside:
			want += line
			if *rewrite {
				continue
			}
		}
		out = append(out, line)
	}
	if commands < 5 {
		t.Fatalf("%s has only %d commands", file, commands)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(out, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
