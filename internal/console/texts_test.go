package console

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// The pages explain the errors of the console's API in both languages: each code, and each text
// that has no details. internal/v3rpc has a test of the errors of etcd's API.
func TestErrorsAreExplained(t *testing.T) {
	file, err := os.ReadFile("../../web/src/text/errors.json")
	if err != nil {
		t.Fatal(err)
	}
	type entries map[string]struct{ En, Zh string }
	var table struct {
		Codes         map[codes.Code]struct{ En, Zh string }
		Texts, Begins entries
	}
	if err := json.Unmarshal(file, &table); err != nil {
		t.Fatal(err)
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		if e := table.Codes[c]; e.En == "" || e.Zh == "" {
			t.Errorf("no entry for the code %d, %v, in both languages", c, c)
		}
	}
	has := func(in entries, text string) {
		if e := in[text]; e.En == "" || e.Zh == "" {
			t.Errorf("no entry for %q in both languages", text)
		}
	}
	for _, err := range []error{errNoCredentials, errBusy, errReadOnly} {
		st, _ := statusOf(err)
		has(table.Texts, strings.TrimPrefix(st.Message(), "etcdserver: "))
	}
	for _, text := range v2Texts {
		has(table.Begins, text+": ")
	}
}

// The pages translate the sentences of the cluster's page and of plans by their codes.
func TestSentencesAreTranslated(t *testing.T) {
	known := regexp.MustCompile(`(?m)^    (\w+): '`)
	codesOf := regexp.MustCompile(`(?:(?:refuse|warn|step)\(|remark\{)"([a-z_]+)", "`)
	var source []byte
	for _, name := range []string{"plan.go", "cluster.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	found := codesOf.FindAllSubmatch(source, -1)
	if len(found) < 15 {
		t.Fatalf("%d codes in plan.go and cluster.go", len(found))
	}
	for _, page := range []string{"en-cluster.ts", "zh-cluster.ts"} {
		text, err := os.ReadFile("../../web/src/text/" + page)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for _, m := range known.FindAllSubmatch(text, -1) {
			has[string(m[1])] = true
		}
		for _, m := range found {
			if !has[string(m[1])] {
				t.Errorf("%s: no sentence for the code %s", page, m[1])
			}
		}
	}
}
