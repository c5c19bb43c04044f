package lint

import (
	"os"
	"strings"
	"testing"

	"cairn/internal/config"
)

const pageFile = "../../docs/compatibility.md"

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestCompatibilityPage compares docs/compatibility.md with the published descriptors and the
// server's own flags.
func TestCompatibilityPage(t *testing.T) {
	page := readPage(t)
	for _, fault := range checkPage(page, config.Help()) {
		t.Errorf("docs/compatibility.md: %s", fault)
	}
	// Every flag of etcd on the page is known to the server: supported, ignored with a reason, or
	// refused with an explanation.
	rest, _ := splitPage(page)
	lines, _ := readLines(rest)
	for _, l := range lines {
		for _, name := range l.names {
			if !strings.HasPrefix(name, "--") || strings.HasSuffix(name, "…") {
				continue
			}
			_, err := config.Load([]string{name + "=x"}, nil, os.ReadFile)
			if err != nil && strings.Contains(err.Error(), "unknown flag "+name) {
				t.Errorf("docs/compatibility.md:%d: the server does not know %s", l.number, name)
			}
		}
	}
}

func TestPublishedIsRead(t *testing.T) {
	names := strings.Join(published(), "\n")
	for _, want := range []string{"KV/Range", "KV/RangeStream", "Auth/AuthStatus", "POST /v3/kv/range", "POST /v3/kv/lease/leases"} {
		if !strings.Contains(names, want) {
			t.Errorf("%s is not among the published names", want)
		}
	}
}

// TestCheckPageFindsFaults changes a correct page in small ways and expects a fault for each.
func TestCheckPageFindsFaults(t *testing.T) {
	const help = "Member:\n  --name NAME\n      the name\n"
	good := "| RPC | 3.1 | 3.7 | cairn | notes |\n|---|---|---|---|---|\n| `--name` | yes | yes | works | |\n"
	for _, name := range published() {
		good += "| `" + name + "` | yes | yes | planned | |\n"
	}
	if faults := checkPage(good, help); len(faults) > 0 {
		t.Fatalf("a good page is reported: %q", faults)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"an RPC is missing":      {"`Watch/Watch`", "`Watch/Other`", "Watch/Watch of the published API has no line"},
		"a path is missing":      {"`POST /v3/watch`", "`POST /v3/other`", "POST /v3/watch of the published API has no line"},
		"an unknown state":       {"works", "soon", `is "soon", want one of`},
		"never without a reason": {"`KV/Put` | yes | yes | planned", "`KV/Put` | yes | yes | never", "does not say why"},
		"a cell too many":        {"`KV/Put` |", "`KV/Put` | |", "6 cells, want 5"},
		"nothing named":          {"`KV/Put`", "KV/Put", "has nothing in backquotes"},
		"a flag without a line":  {"`--name`", "`--other`", "--name is in etcd --help, but has no line"},
		"a flag that is no more": {"`KV/Put` | yes | yes | planned", "`--gone` | yes | yes | works | |\n| `KV/Put` | yes | yes | planned", "--gone works, but is not in etcd --help"},
		"two lines for one":      {"`KV/Put` | yes", "`KV/Put` | yes | yes | planned | |\n| `KV/Put` | yes", "was on line"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := checkPage(strings.Replace(good, c.from, c.to, 1), help)
			if !strings.Contains(strings.Join(faults, "\n"), c.want) {
				t.Errorf("got %q, want one that says %q", faults, c.want)
			}
		})
	}
}
