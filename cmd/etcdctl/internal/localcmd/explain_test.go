package localcmd

import (
	"bytes"
	"strings"
	"testing"

	"cairn/cmd/etcdctl/internal/cli"
)

// explained returns what explain prints, and its error.
func explained(words ...string) (string, error) {
	var out bytes.Buffer
	err := explain(&cli.Session{Args: words, Out: &out})
	return out.String(), err
}

// TestExplain: errors are found by code, by alarm, by a part of their text, and by a longer text
// that has them.
func TestExplain(t *testing.T) {
	for query, want := range map[string]string{
		"101":       "Compare failed",
		"nospace":   "database space exceeded",
		"CORRUPT":   "corrupt cluster",
		"exit-5":    "interrupted",
		"no leader": "majority of the members",
		"rpc error: code = Unavailable desc = etcdserver: leader changed":                            "leader changed",
		"100: Key not found (/a) [5]":                                                                "etcdctl ls",
		"x509: certificate is valid for localhost, not db1":                                          "--hosts",
		"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: now…": "endpoint certs",
	} {
		if got, err := explained(strings.Fields(query)...); err != nil || !strings.Contains(got, want) {
			t.Errorf("explain %s: %v\n%s", query, err, got)
		}
	}
	if got, err := explained("nonsense"); err == nil {
		t.Errorf("explain nonsense: %s", got)
	}
}

// TestExplanationsAreComplete: each has a meaning and a next step, and no two the same error.
func TestExplanationsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range explanations {
		if e.meaning == "" || e.next == "" || e.code == "" && e.text == "" {
			t.Errorf("%+v lacks something", e)
		}
		if key := e.code + e.text; seen[key] {
			t.Errorf("%s is explained twice", key)
		} else {
			seen[key] = true
		}
	}
}
