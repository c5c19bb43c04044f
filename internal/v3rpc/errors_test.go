package v3rpc

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
)

// The console explains each of the errors in both of its languages.
func TestConsoleExplainsErrors(t *testing.T) {
	file, err := os.ReadFile("../../web/src/text/errors.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Texts map[string]struct{ En, Zh string }
	}
	if err := json.Unmarshal(file, &table); err != nil {
		t.Fatal(err)
	}
	for _, e := range wireErrors {
		text := strings.TrimPrefix(status.Convert(WireError(e.err)).Message(), "etcdserver: ")
		if entry := table.Texts[text]; entry.En == "" || entry.Zh == "" {
			t.Errorf("web/src/text/errors.json has no entry for %q in both languages", text)
		}
	}
}
