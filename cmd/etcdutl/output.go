package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"cairn/internal/backup"
	"cairn/internal/texttable"
)

// formats are the values of --write-out.
const formats = "fields, json, simple, table"

func (t *tool) checkFormat() error {
	switch t.format {
	case "fields", "json", "simple", "table":
		return nil
	}
	return usageError{fmt.Errorf("--write-out=%s: unknown format, want one of %s", t.format, formats)}
}

// column is one value of a result, in the representations of the formats.
type column struct {
	title string // of the table
	field string // of the format fields
	value any    // a number or a text
	shown string // in the formats simple and table; the value when empty
}

func (c *column) text() string {
	if c.shown != "" {
		return c.shown
	}
	return fmt.Sprint(c.value)
}

// print prints a result: object is its JSON.
func (t *tool) print(object any, columns ...column) error {
	var err error
	switch t.format {
	case "json":
		var b []byte
		if b, err = json.Marshal(object); err == nil {
			_, err = fmt.Fprintf(t.out, "%s\n", b)
		}
	case "fields":
		for _, c := range columns {
			if _, err = fmt.Fprintf(t.out, "%q : %v\n", c.field, c.value); err != nil {
				return err
			}
		}
	case "table":
		titles, texts := make([]string, len(columns)), make([]string, len(columns))
		for i, c := range columns {
			titles[i], texts[i] = c.title, c.text()
		}
		texttable.Draw(t.out, titles, [][]string{texts})
	default:
		var texts []string
		for _, c := range columns {
			if text := c.text(); text != "" {
				texts = append(texts, text)
			}
		}
		_, err = fmt.Fprintln(t.out, strings.Join(texts, ", "))
	}
	return err
}

// formatBytes shows a size as etcdutl does, with decimal units.
func formatBytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "kMGTPE"
	for value >= unit {
		value, units = value/unit, units[1:]
	}
	if value < 10 {
		return fmt.Sprintf("%.1f %cB", value, units[0])
	}
	return fmt.Sprintf("%.0f %cB", value, units[0])
}

// progressInterval is the interval of progress updates.
const progressInterval = 200 * time.Millisecond

// progress returns a function that shows the number of changes, the rate and the time left on a
// terminal, and one that removes the line. Elsewhere both do nothing.
func (t *tool) progress(doing string) (show backup.Progress, hide func()) {
	file, ok := t.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil, func() {}
	}
	began, shown := time.Now(), time.Time{}
	show = func(changes int64, part float64) {
		now := time.Now()
		if now.Sub(shown) < progressInterval {
			return
		}
		shown = now
		text := doing + ": " + progressText(changes, part, now.Sub(began))
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			text = texttable.Cut(text, columns-1) // what wraps could not be erased
		}
		fmt.Fprintf(file, "\r%s\x1b[K", text)
	}
	return show, func() { fmt.Fprint(file, "\r\x1b[K") }
}

// progressText describes the progress after some time.
func progressText(changes int64, part float64, took time.Duration) string {
	text := fmt.Sprintf("%d changes, %.0f per second", changes, float64(changes)/max(took.Seconds(), 1e-3))
	if part <= 0 {
		return text
	}
	part = min(part, 1)
	left := time.Duration(float64(took) * (1 - part) / part).Round(time.Second)
	return fmt.Sprintf("%.0f %%, %s, %v left", part*100, text, left)
}
