package lint

import (
	"fmt"
	"slices"
	"strings"
)

// The measures of the picture, in pixels.
const (
	boxHeight   = 26
	boxGap      = 8
	rowGap      = 22
	charWidth   = 8
	leftMargin  = 70
	pictureWide = 940
)

// Picture draws the packages of internal as an SVG: one row of boxes per layer, the highest layer
// first. Each import goes from a box to one in a lower row.
func Picture() string {
	byLayer := map[int][]string{}
	top := 0
	for dir, layer := range layers {
		name, internal := strings.CutPrefix(dir, "internal/")
		if !internal || layer == outside {
			continue
		}
		byLayer[layer] = append(byLayer[layer], strings.TrimSuffix(name, "/..."))
		top = max(top, layer)
	}
	var boxes strings.Builder
	y := rowGap
	for layer := top; layer >= 0; layer-- {
		names := byLayer[layer]
		slices.Sort(names)
		fmt.Fprintf(&boxes, `<text x="12" y="%d" class="layer">layer %d</text>`+"\n", y+18, layer)
		x := leftMargin
		for _, name := range names {
			width := charWidth*len(name) + 16
			if x+width > pictureWide {
				x, y = leftMargin, y+boxHeight+boxGap
			}
			fmt.Fprintf(&boxes, `<rect x="%d" y="%d" width="%d" height="%d" rx="4"/><text x="%d" y="%d">%s</text>`+"\n",
				x, y, width, boxHeight, x+8, y+18, name)
			x += width + boxGap
		}
		y += boxHeight + rowGap
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="monospace" font-size="13">
<title>The packages of internal by layer; imports go down</title>
<style>rect{fill:#eef3f8;stroke:#557}text{fill:#223}.layer{fill:#778;font-size:11px}</style>
<rect width="100%%" height="100%%" style="fill:#fff;stroke:none"/>
`, pictureWide+12, y) + boxes.String() + "</svg>\n"
}
