package texttable

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// runeWidth returns the number of columns that a character takes on a terminal: two if its
// East_Asian_Width is W or F (Unicode Standard Annex 11), none for combining marks and format
// characters.
func runeWidth(r rune) int {
	if r < unicode.MaxLatin1 {
		return 1 // the usual case
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// Width returns the number of columns that a text without control characters takes on a terminal.
func Width(text string) (columns int) {
	for _, r := range text {
		columns += runeWidth(r)
	}
	return columns
}

// Cut returns a text that takes at most a number of columns: the text, or its begin and an
// ellipsis.
func Cut(text string, columns int) string {
	if columns <= 0 {
		return ""
	}
	if Width(text) <= columns {
		return text
	}
	taken := 0
	for i, r := range text {
		if taken += runeWidth(r); taken > columns-1 {
			return text[:i] + "…"
		}
	}
	return text
}

// PadRight returns a text followed by spaces up to a number of columns.
func PadRight(text string, columns int) string {
	return text + strings.Repeat(" ", max(columns-Width(text), 0))
}

// PadLeft returns a text behind spaces up to a number of columns.
func PadLeft(text string, columns int) string {
	return strings.Repeat(" ", max(columns-Width(text), 0)) + text
}
