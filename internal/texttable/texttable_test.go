package texttable

import (
	"bytes"
	"testing"
)

func TestDraw(t *testing.T) {
	var b bytes.Buffer
	Draw(&b, []string{"ID", "NAME", "DB SIZE"}, [][]string{{"2e1259d415f2a040", "a", "1"}, {"1", "default", "键"}})
	want := `
┌──────────────────┬─────────┬─────────┐
│        ID        │  NAME   │ DB SIZE │
├──────────────────┼─────────┼─────────┤
│ 2e1259d415f2a040 │       a │       1 │
│                1 │ default │      键 │
└──────────────────┴─────────┴─────────┘
`
	if b.String() != want[1:] {
		t.Errorf("got\n%swant%s", b.String(), want)
	}
}

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "键": 2, "ｗ": 2, "ﾊ": 1, "한": 2, "🚀": 2, "a\u200bb": 2, "─": 1, "𠀀": 2,
	} {
		if got := Width(text); got != want {
			t.Errorf("Width(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"abc", 1, "…"},
		{"abc", 0, ""},
		{"键值", 4, "键值"},
		{"键值", 3, "键…"},
		{"键值", 2, "…"},
		{"e\u0301tcd", 3, "e\u0301t…"},
	} {
		got := Cut(c.text, c.columns)
		if got != c.want || Width(got) > c.columns {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.text, c.columns, got, c.want)
		}
	}
}
