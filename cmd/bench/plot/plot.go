// Package plot draws line charts over time as SVG.
//
// It owns the geometry, the ticks and the colors; the caller has the figures and formats them. The
// files follow the reader's light or dark color scheme, and need no script and no font.
//
// Concurrency: Write has no state.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// Figure is a column of charts that share the time axis.
type Figure struct {
	Title  string
	Bands  []Band
	Charts []Chart
}

// Band is a phase of the run. It is shaded alternately, numbered, and named below the charts.
type Band struct {
	Name       string
	Start, End float64 // seconds
}

// Chart is one coordinate system.
type Chart struct {
	Title  string
	Format func(float64) string // of the ticks of the vertical axis
	Log    bool                 // a logarithmic axis: values of 0 or less are gaps
	Series []Series
}

// Series is one line.
type Series struct {
	Name   string
	Points []Point
}

// Point is a value at a time in seconds. The line has a gap at a NaN.
type Point struct{ X, Y float64 }

// The geometry, in pixels.
const (
	width       = 900
	left, right = 84, 16
	chartHeight = 190
	chartGap    = 62 // between two charts, for the title of the second
	header      = 66
	bandSpacing = 16 // between the numbers of two bands
)

const style = `<style>svg{background:#fff}text{fill:#222;font:12px sans-serif}.t{font-size:15px;font-weight:bold}.s{fill:#666}` +
	`.g{stroke:#ddd}.b{fill:#f1f4f7}path{fill:none;stroke-width:1.6;stroke-linejoin:round}.c0{stroke:#1667b7}.c1{stroke:#c2410c}.c2{stroke:#15803d}.c3{stroke:#7e22ce}` +
	`@media(prefers-color-scheme:dark){svg{background:#16181c}text{fill:#e4e6ea}.s{fill:#9aa0a8}.g{stroke:#3a3f46}.b{fill:#1e2228}` +
	`.c0{stroke:#6cb2f5}.c1{stroke:#fb9a5c}.c2{stroke:#5fd38a}.c3{stroke:#c99bf7}}</style>`

const colors = 4

// Write draws the figure.
func (f Figure) Write(w io.Writer) error {
	var b bytes.Buffer
	end := f.end()
	x := func(seconds float64) float64 { return left + (width-left-right)*seconds/end }
	bottom := header + len(f.Charts)*(chartHeight+chartGap) - chartGap
	legend := f.bandLegend()
	height := bottom + 52 + 18*len(legend)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">`+"\n<title>%s</title>\n%s\n", width, height, escape(f.Title), style)
	fmt.Fprintf(&b, `<text class="t" x="%d" y="20">%s</text>`+"\n", left, escape(f.Title))
	for i, c := range f.Charts {
		top := header + i*(chartHeight+chartGap)
		f.writeBands(&b, x, top)
		c.write(&b, x, top)
	}
	ticks := linearTicks(0, end, 10)
	for _, tick := range ticks {
		fmt.Fprintf(&b, `<text class="s" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(tick), bottom+18, number(tick))
	}
	fmt.Fprintf(&b, `<text class="s" x="%d" y="%d" text-anchor="end">seconds</text>`+"\n", width-right, bottom+34)
	for i, line := range legend {
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", left, bottom+52+18*i, escape(line))
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// end returns the right end of the time axis.
func (f Figure) end() float64 {
	end := 0.0
	for _, band := range f.Bands {
		end = max(end, band.End)
	}
	for _, c := range f.Charts {
		for _, s := range c.Series {
			for _, p := range s.Points {
				end = max(end, p.X)
			}
		}
	}
	if end == 0 {
		return 1
	}
	return end
}

// writeBands shades every second band and numbers all. Numbers of narrow bands move to the right,
// so that they stay apart.
func (f Figure) writeBands(b *bytes.Buffer, x func(float64) float64, top int) {
	last := math.Inf(-1)
	for i, band := range f.Bands {
		from, to := x(band.Start), x(band.End)
		if i%2 == 0 {
			fmt.Fprintf(b, `<rect class="b" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", from, top, max(to-from, 0), chartHeight)
		}
		last = max((from+to)/2, last+bandSpacing)
		fmt.Fprintf(b, `<text class="s" x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", last, top-4, i+1)
	}
}

// bandLegend returns the lines that name the bands.
func (f Figure) bandLegend() (lines []string) {
	const columns = 115
	line := ""
	for i, band := range f.Bands {
		item := fmt.Sprintf("%d %s", i+1, band.Name)
		if line != "" && len(line)+len(item) > columns {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += "  ·  "
		}
		line += item
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func (c Chart) write(b *bytes.Buffer, x func(float64) float64, top int) {
	low, high := c.bounds()
	scale := func(v float64) float64 { return v }
	ticks := linearTicks(low, high, 5)
	if c.Log {
		scale, ticks = math.Log10, logTicks(low, high)
	}
	y := func(v float64) float64 {
		share := (scale(v) - scale(low)) / (scale(high) - scale(low))
		return float64(top) + chartHeight*(1-share)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", left, top-20, escape(c.Title))
	for _, tick := range ticks {
		fmt.Fprintf(b, `<line class="g" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, left, width-right, y(tick), y(tick))
		fmt.Fprintf(b, `<text class="s" x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-6, y(tick)+4, escape(c.Format(tick)))
	}
	legend := width - right - 110*len(c.Series)
	for i, s := range c.Series {
		fmt.Fprintf(b, `<path class="c%d" d="%s"/>`+"\n", i%colors, c.line(s, x, y))
		at := legend + 110*i
		fmt.Fprintf(b, `<path class="c%d" d="M%d %dh18"/><text x="%d" y="%d">%s</text>`+"\n", i%colors, at, top-24, at+24, top-20, escape(s.Name))
	}
}

// line returns the path of a series.
func (c Chart) line(s Series, x, y func(float64) float64) string {
	var b strings.Builder
	command := "M"
	for _, p := range s.Points {
		if math.IsNaN(p.Y) || (c.Log && p.Y <= 0) {
			command = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", command, x(p.X), y(p.Y))
		command = "L"
	}
	return b.String()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder returns no error
	return b.String()
}
