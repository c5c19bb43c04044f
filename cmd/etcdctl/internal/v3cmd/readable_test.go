package v3cmd

import "testing"

// TestReadable: keys that are text are shown as they are, others are quoted.
func TestReadable(t *testing.T) {
	for key, want := range map[string]string{
		"/app/a":           "/app/a",
		"/名/ключ":          "/名/ключ",
		"":                 "",
		"a\nb":             `"a\nb"`,
		"bin\x01\xff":      `"bin\x01\xff"`,
		"\x1b]0;title\x07": `"\x1b]0;title\a"`,
		"c1\u009b":         `"c1\u009b"`,
	} {
		if got := readable([]byte(key)); got != want {
			t.Errorf("%q is shown as %s, want %s", key, got, want)
		}
	}
}
