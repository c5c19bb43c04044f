package harness

import "testing"

// The transcripts depend on the correct comparison of their lines.
func TestPattern(t *testing.T) {
	for _, c := range []struct {
		text, got string
		match     bool
	}{
		{"a.b (c)", "a.b (c)", true},
		{"a.b", "axb", false},
		{"a", "ab", false},
		{"index [{+3}]", "index [13]", true},
		{"index [{+3}]", "index [14]", false},
		{"{n} keys", "42 keys", true},
		{"{n} keys", "no keys", false},
		{`{"id":{n},"x":"{any}"}`, `{"id":7,"x":"y z"}`, true},
		{"{other}", "{other}", true},
	} {
		if got := pattern(c.text, 10).MatchString(c.got); got != c.match {
			t.Errorf("%q matches %q: %t, want %t", c.text, c.got, got, c.match)
		}
	}
	if !anyLine(pattern("Error: x", 0), "warning\nError: x\n") || anyLine(pattern("Error: x", 0), "Error: xy\n") {
		t.Error("anyLine does not find whole lines")
	}
}
