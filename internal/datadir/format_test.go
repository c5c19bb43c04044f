package datadir

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodeErrors(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(tutorialText, from, to, 1) }
	for _, c := range []struct{ text, want string }{
		{"", `line 1 is not "cairn data directory"`},
		{"cairn data directory", `line 1 is not "cairn data directory"`},
		{change("cairn", "other"), `line 1 is not "cairn data directory"`},
		{change("format", "version"), "line 2: has no format"},
		{change("format: 1", "format: one"), `line 2: format "one" cannot be read`},
		{change("format: 1", "format: 0"), "line 2: there is no format 0"},
		{change("format: 1", "format: 7"), "format 7 is newer than 1, the newest that this version of cairn reads: use the version that wrote it, or a later one"},
		{tutorialText + "\n", "does not have its 6 lines"},
		{change("member-id", "node-id"), "line 3 has no member-id"},
		{change("8e9e05c52164694d", "8e9e"), "is not as it was written"},
		{change("8e9e05c52164694d", "0000000000000000"), `line 3: member-id "0000000000000000" cannot be read`},
		{change("cdf818194e3a8c32", "xyz"), `line 4: cluster-id "xyz" cannot be read`},
		{change(`"default"`, `default`), `line 5: name "default" cannot be read`},
		{change("2017-04-10", "yesterday"), `line 6: created "yesterdayT11:46:44Z" cannot be read`},
		{change("44Z", "44+01:00"), "is not as it was written"},
	} {
		if _, err := decode([]byte(c.text)); err == nil || err.Error() != c.want {
			t.Errorf("%q\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestEncode(t *testing.T) {
	if got := string(tutorial.encode()); got != tutorialText {
		t.Errorf("encoded %q, want %q", got, tutorialText)
	}
	odd := tutorial
	odd.Name = "a\n\"b\" ü"
	if got, err := decode(odd.encode()); err != nil || got != odd {
		t.Errorf("decoded %+v, %v, want %+v", got, err, odd)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(tutorialText))
	f.Add([]byte("cairn data directory\nformat: 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := decode(text)
		if newer := (newerFormatError{}); errors.As(err, &newer) && newer.format <= Format {
			t.Errorf("format %d is reported to be newer", newer.format)
		}
		if err == nil && string(id.encode()) != string(text) {
			t.Errorf("%q is decoded as %+v", text, id)
		}
	})
}
