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
│                1 │ default │       键 │
└──────────────────┴─────────┴─────────┘
`
	if b.String() != want[1:] {
		t.Errorf("got\n%swant%s", b.String(), want)
	}
}
