package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestBill describes this test's own program.
func TestBill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := run([]string{self}, "1700000000", w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs differ")
	}
	var b bill
	if err := json.Unmarshal(first.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if b.Metadata.Timestamp != "2023-11-14T22:13:20Z" {
		t.Errorf("timestamp %s", b.Metadata.Timestamp)
	}
	refs := map[string]bool{product: true}
	for _, c := range b.Components {
		refs[c.Ref] = true
	}
	for _, d := range b.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if !refs[ref] {
				t.Errorf("%s depends on %s, which is no component", d.Ref, ref)
			}
		}
	}
	if !strings.Contains(first.String(), `"purl": "pkg:golang/stdlib@1.`) {
		t.Errorf("no Go library in\n%s", first.String())
	}
}

func TestErrors(t *testing.T) {
	for want, f := range map[string]func() error{
		"no program given":      func() error { return run(nil, "", &bytes.Buffer{}) },
		"SOURCE_DATE_EPOCH":     func() error { return run([]string{"x"}, "today", &bytes.Buffer{}) },
		"read the modules of /": func() error { return run([]string{"/etc/passwd"}, "", &bytes.Buffer{}) },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
