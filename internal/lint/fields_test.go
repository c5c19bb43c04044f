package lint

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCompatibilityFields compares the list of fields in docs/compatibility.md with the published
// descriptors and the existing tests.
func TestCompatibilityFields(t *testing.T) {
	tests, err := testsIn(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range checkFields(readPage(t), tests) {
		t.Errorf("docs/compatibility.md: %s", fault)
	}
}

func TestPublishedFieldsAreRead(t *testing.T) {
	names := publishedFields()
	for _, want := range []string{"RangeRequest.key", "WatchCreateRequest.filters", "LockRequest.lease", "LeaderKey.rev", "KeyValue.lease", "Permission.permType", "RangeStreamResponse.range_response"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among the published fields", want)
		}
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(publishedFields()) {
		t.Error("two messages of one name: the list needs their packages")
	}
}

// TestCheckFieldsFindsFaults changes a correct list in small ways and expects a fault for each.
func TestCheckFieldsFindsFaults(t *testing.T) {
	good := "# Page\n\n| RPC | 3.1 | 3.7 | cairn | notes |\n" + fieldsHead + "\n| field | cairn | shown by |\n|---|---|---|\n"
	for _, name := range publishedFields() {
		good += "| `" + name + "` | works | `p.TestIt` |\n"
	}
	good += "\n## Another part\n\n| `--flag` | yes | yes | works | |\n"
	tests := map[string]bool{"p.TestIt": true}
	if faults := checkFields(good, tests); len(faults) > 0 {
		t.Fatalf("a good page is reported: %q", faults)
	}
	rest, fields := splitPage(good)
	if strings.Contains(rest, "PutRequest") || !strings.Contains(rest, "--flag") || strings.Contains(fields, "--flag") {
		t.Errorf("the page is split into\n%s\nand\n%s", rest, fields)
	}
	if a, b := strings.Count(rest, "\n"), strings.Count(good, "\n"); a != b {
		t.Errorf("the rest has %d lines of %d: its numbers are wrong", a, b)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"a field is missing":   {"`PutRequest.key`", "`PutRequest.value`", "PutRequest.key of the published API has no row"},
		"two rows for one":     {"`PutRequest.key`", "`PutRequest.value`", "PutRequest.value was on line"},
		"no such field":        {"`PutRequest.key`", "`PutRequest.other`", "no field PutRequest.other"},
		"no such test":         {"`PutRequest.key` | works | `p.TestIt`", "`PutRequest.key` | works | `p.TestOther`", "there is no test p.TestOther"},
		"no test at all":       {"`PutRequest.key` | works | `p.TestIt`", "`PutRequest.key` | works | surely", "no test is named"},
		"never without reason": {"`PutRequest.key` | works | `p.TestIt`", "`PutRequest.key` | never | ", "does not say why"},
		"an unknown state":     {"`PutRequest.key` | works", "`PutRequest.key` | soon", "is none of"},
		"a cell too many":      {"`PutRequest.key` | works", "`PutRequest.key` | | works", "4 cells, want 3"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := checkFields(strings.Replace(good, c.from, c.to, 1), tests)
			if !strings.Contains(strings.Join(faults, "\n"), c.want) {
				t.Errorf("got %q, want one that says %q", faults, c.want)
			}
		})
	}
}
