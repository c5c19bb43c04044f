// Package texttable draws tables of text for terminals, as etcdctl 3.7 and etcdutl 3.7 do.
//
// It owns the lines, the alignment, and the number of terminal columns that a text takes. It does
// not own the columns of a table and their texts: the commands of the two programs choose them.
//
// Concurrency: none; the functions use their arguments only.
package texttable

import (
	"fmt"
	"io"
	"strings"
)

// Draw draws a table with box-drawing characters: the header centred, the cells aligned to the
// right. Errors of w are for w to report.
func Draw(w io.Writer, header []string, rows [][]string) {
	widths := make([]int, len(header))
	for i := range header {
		widths[i] = Width(header[i])
		for _, row := range rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	rule := func(left, middle, right string) {
		lines := make([]string, len(widths))
		for i, width := range widths {
			lines[i] = strings.Repeat("─", width+2)
		}
		fmt.Fprintln(w, left+strings.Join(lines, middle)+right)
	}
	rule("┌", "┬", "┐")
	for i, title := range header {
		space := widths[i] - Width(title)
		fmt.Fprintf(w, "│ %s%s%s ", strings.Repeat(" ", space/2), title, strings.Repeat(" ", space-space/2))
	}
	fmt.Fprintln(w, "│")
	if len(rows) > 0 {
		rule("├", "┼", "┤")
	}
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprintf(w, "│ %s ", PadLeft(cell, widths[i]))
		}
		fmt.Fprintln(w, "│")
	}
	rule("└", "┴", "┘")
}
