package lint

import (
	"flag"
	"os"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write docs/layers.svg")

// TestPicture: docs/layers.svg shows the packages of the table.
func TestPicture(t *testing.T) {
	const file = "../../docs/layers.svg"
	want := Picture()
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s does not show the table of layers: go test ./internal/lint -run TestPicture -rewrite", file)
	}
}
