package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func milliseconds(v float64) string { return fmt.Sprintf("%g ms", v) }

// elements parses SVG and returns its elements as texts "name attribute=value …", and all texts.
func elements(t *testing.T, svg []byte) (tags, texts []string) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return tags, texts
		}
		if err != nil {
			t.Fatalf("the file is no XML: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			tag := token.Name.Local
			for _, a := range token.Attr {
				tag += " " + a.Name.Local + "=" + a.Value
			}
			tags = append(tags, tag)
		case xml.CharData:
			texts = append(texts, string(token))
		}
	}
}

func TestWrite(t *testing.T) {
	f := Figure{
		Title: `large & "small" <keys>`,
		Bands: []Band{{"fill", 0, 50}, {"kill", 50, 51}, {"again", 51, 100}},
		Charts: []Chart{
			{Title: "operations", Format: number, Series: []Series{{"keys", []Point{{0, 0}, {100, 1000}}}}},
			{Title: "latency", Format: milliseconds, Log: true, Series: []Series{
				{"p50", []Point{{0, 1}, {50, math.NaN()}, {75, 2}, {100, 1}}},
				{"p99", []Point{{0, 1}, {50, 0}, {100, 100}}},
			}},
		},
	}
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	tags, texts := elements(t, b.Bytes())
	for _, want := range []string{f.Title, "1 fill  ·  2 kill  ·  3 again", "1 ms", "100 ms", "seconds", "1000", "p99"} {
		if !slices.Contains(texts, want) {
			t.Errorf("no text %q", want)
		}
	}
	// The first series goes from the lower left corner of its chart to near the upper right one; a
	// NaN, and a 0 on a logarithmic axis, are gaps.
	for _, want := range []string{
		"path class=c0 d=M84.0 256.0L884.0 75.0",
		"path class=c0 d=M84.0 508.0M684.0 479.4L884.0 508.0",
		"path class=c1 d=M84.0 508.0M884.0 318.0",
		"rect class=b x=84.0 y=66 width=400.0 height=190",
	} {
		if !slices.Contains(tags, want) {
			t.Errorf("no element %q in\n%s", want, strings.Join(tags, "\n"))
		}
	}
	// The number of the narrow second band is centered in it; that of the third one is far enough.
	if !slices.ContainsFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, "text class=s x=488.0 y=62 ") }) {
		t.Errorf("no number above the second band in\n%s", strings.Join(tags, "\n"))
	}
}

// A figure without any value is still a valid file.
func TestWriteNothing(t *testing.T) {
	var b bytes.Buffer
	f := Figure{Title: "nothing", Charts: []Chart{{Title: "empty", Format: number, Log: true}, {Title: "zero", Format: number, Series: []Series{{"a", []Point{{1, 0}}}}}}}
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	elements(t, b.Bytes())
	if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
		t.Errorf("numbers that are none in\n%s", b.String())
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		got, want []float64
	}{
		{linearTicks(0, 100, 5), []float64{0, 20, 40, 60, 80, 100}},
		{linearTicks(0, 7, 10), []float64{0, 1, 2, 3, 4, 5, 6, 7}},
		{linearTicks(0, 0.4, 4), []float64{0, 0.1, 0.2, 0.30000000000000004, 0.4}},
		{logTicks(1, 20), []float64{1, 2, 5, 10, 20}},
		{logTicks(1, 10_000), []float64{1, 10, 100, 1000, 10_000}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("ticks %v, want %v", c.got, c.want)
		}
	}
}

func TestBounds(t *testing.T) {
	log := func(values ...float64) Chart {
		var points []Point
		for i, v := range values {
			points = append(points, Point{float64(i), v})
		}
		return Chart{Log: true, Series: []Series{{"", points}}}
	}
	for _, c := range []struct {
		chart     Chart
		low, high float64
	}{{log(3, 40), 1, 50}, {log(1, 1), 1, 2}, {log(10, 100), 10, 100}, {log(0, math.NaN()), 1, 10}, {log(999, 6), 1, 1000}} {
		low, high := c.chart.bounds()
		if math.Abs(low-c.low) > 1e-9 || math.Abs(high-c.high) > 1e-9 {
			t.Errorf("%v: bounds %v to %v, want %v to %v", c.chart.Series[0].Points, low, high, c.low, c.high)
		}
	}
}
