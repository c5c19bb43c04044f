package terminal

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"cairn/internal/texttable"
)

// emulator is the screen of a terminal like xterm. It knows line ends, backspace, and the control
// sequences that move the cursor and erase (CSI H, A to D, J, K); others have no effect.
type emulator struct {
	columns int
	cells   [][]string // of the screen, line by line; "" is the second half of a wide character
	x, y    int        // of the cursor; x is columns behind the last column
	rest    []byte     // of a sequence or character that is not complete
}

func (e *emulator) resize(columns, lines int) {
	old := e.cells
	e.columns, e.cells = columns, nil
	for y := range lines {
		line := e.blank()
		if y < len(old) {
			copy(line, old[y])
		}
		e.cells = append(e.cells, line)
	}
	e.x, e.y = min(e.x, columns), min(e.y, lines-1)
}

func (e *emulator) blank() []string {
	line := make([]string, e.columns)
	for x := range line {
		line[x] = " "
	}
	return line
}

func (e *emulator) text() (lines []string) {
	for _, line := range e.cells {
		lines = append(lines, strings.TrimRight(strings.Join(line, ""), " "))
	}
	return lines
}

func (e *emulator) write(b []byte) {
	b = append(e.rest, b...)
	for len(b) > 0 {
		n := e.take(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	e.rest = append([]byte(nil), b...)
}

// take processes the first character or sequence, and returns its length, or 0 if the rest of it is
// missing.
func (e *emulator) take(b []byte) int {
	switch b[0] {
	case '\r':
		e.x = 0
	case '\n':
		e.lineFeed()
	case '\b':
		e.x = max(min(e.x, e.columns-1)-1, 0)
	case '\a':
	case '\033':
		return e.escape(b)
	default:
		if !utf8.FullRune(b) {
			return 0
		}
		_, n := utf8.DecodeRune(b)
		e.put(string(b[:n]))
		return n
	}
	return 1
}

func (e *emulator) lineFeed() {
	if e.y++; e.y == len(e.cells) {
		e.y--
		e.cells = append(e.cells[1:], e.blank())
	}
}

// put writes a character at the cursor, at the begin of the next line if this one is full.
func (e *emulator) put(character string) {
	width := texttable.Width(character)
	if width == 0 {
		if e.x > 0 {
			e.cells[e.y][e.x-1] += character
		}
		return
	}
	if e.x+width > e.columns {
		e.x = 0
		e.lineFeed()
	}
	e.cells[e.y][e.x] = character
	if width == 2 && e.x+1 < e.columns {
		e.cells[e.y][e.x+1] = ""
	}
	e.x += width
}

// escape processes a sequence of control.
func (e *emulator) escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] != '[' {
		return 2
	}
	end := 2
	for end < len(b) && (b[end] < '@' || b[end] > '~') {
		end++
	}
	if end == len(b) {
		return 0
	}
	var numbers [2]int
	for i, text := range strings.SplitN(string(b[2:end]), ";", 2) {
		numbers[i], _ = strconv.Atoi(text)
	}
	e.control(b[end], numbers)
	return end + 1
}

func (e *emulator) control(kind byte, numbers [2]int) {
	x, step := min(e.x, e.columns-1), max(numbers[0], 1)
	switch kind {
	case 'H':
		e.x, e.y = min(max(numbers[1], 1), e.columns)-1, min(step, len(e.cells))-1
	case 'A':
		e.x, e.y = x, max(e.y-step, 0)
	case 'B':
		e.x, e.y = x, min(e.y+step, len(e.cells)-1)
	case 'C':
		e.x = min(x+step, e.columns-1)
	case 'D':
		e.x = max(x-step, 0)
	case 'K':
		from, to := x, e.columns
		if numbers[0] > 0 {
			from = 0
		}
		if numbers[0] == 1 {
			to = x + 1
		}
		copy(e.cells[e.y][from:to], e.blank())
	case 'J':
		if numbers[0] == 2 {
			e.y, e.x, x = 0, 0, 0
		}
		copy(e.cells[e.y][x:], e.blank())
		for y := e.y + 1; y < len(e.cells); y++ {
			e.cells[y] = e.blank()
		}
	}
}
