package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrite writes the pages and looks into some of them.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"etcdctl.1":             {"etcdctl-member(1)", "--endpoints"},
		"etcdctl-get.1":         {"to return; 0 means no limit", "etcdctl get KEY [range end]", "In the v2 API"},
		"etcdctl-member-list.1": {"list the members of the cluster"},
		"etcdctl-certs-init.1":  {"create a certificate authority"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		plain := strings.ReplaceAll(string(text), `\`, "")
		for _, want := range wants {
			if !strings.Contains(plain, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, text)
			}
		}
	}
}
