package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// TestText: no comment and no page of the module is too wide or uses a replaced phrase.
func TestText(t *testing.T) {
	faults, err := CheckText(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

func TestCheckTextFindsFaults(t *testing.T) {
	wide := strings.Repeat("word ", 30)
	for name, c := range map[string]struct {
		file, text string
		want       string // part of the only fault; none when empty
	}{
		"narrow comment":     {"a.go", "// A short one.\n", ""},
		"wide comment":       {"a.go", "package a\n\n\t// " + wide + "\n", "a.go:3: comment of"},
		"wide code":          {"a.go", "var a = \"" + wide + "\"\n", ""},
		"wide code block":    {"a.go", "//\t" + wide + "\n", ""},
		"directive":          {"a.go", "//go:generate " + wide + "\n", ""},
		"address":            {"a.go", "// https://" + strings.Repeat("x", 200) + "\n", ""},
		"generated":          {"a.pb.go", "// " + wide + "\n", ""},
		"tab takes four":     {"a.go", "\t\t// " + strings.Repeat("word ", 18) + "\n", "101 columns"},
		"replaced phrase":    {"a.go", "/" + "/ open says whether it is open.\n", `write "reports whether"`},
		"phrase behind code": {"a.go", "var a = 1 /" + "/ none any more\n", `write "no longer"`},
		"pronoun":            {"docs/a.md", "No" + "body is asked.\n", `write "no client, a user`},
		"part of a word":     {"a.go", "/" + "/ Entries are unsettled.\n", ""},
		"phrase in code":     {"a.go", "var text = \"says whether\"\n", ""},
		"wide page":          {"docs/a.md", wide + "\n", "docs/a.md:1: line of"},
		"wide table":         {"docs/a.md", "| " + wide + " |\n", ""},
		"wide fenced code":   {"docs/a.md", "```console\n$ " + wide + "\n```\n", ""},
		"after fenced code":  {"docs/a.md", "```\ncode\n```\n" + wide + "\n", "docs/a.md:4"},
		"test data":          {"testdata/a.md", wide + "\n", ""},
		"glossary's phrases": {"docs/glossary.md", "says whether\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			faults, err := CheckText(fstest.MapFS{c.file: {Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(faults) > 0:
				t.Fatalf("faults: %q, want none", faults)
			case c.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], c.want)):
				t.Fatalf("faults: %q, want one that contains %q", faults, c.want)
			}
		})
	}
}
