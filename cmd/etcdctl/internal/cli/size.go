package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// FormatBytes returns a number of bytes for people: in powers of 1,000, with two or three digits.
func FormatBytes(n int64) string {
	if n < 10 {
		return fmt.Sprintf("%d B", n)
	}
	units, size := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}, float64(n)
	for size >= 1000 && len(units) > 1 {
		units, size = units[1:], size/1000
	}
	if size = math.Floor(size*10+0.5) / 10; size < 10 {
		return fmt.Sprintf("%.1f %s", size, units[0])
	}
	return fmt.Sprintf("%.0f %s", size, units[0])
}

// byteUnits are the units that ParseBytes accepts, in lower case.
var byteUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
	"ki": 1 << 10, "kib": 1 << 10, "mi": 1 << 20, "mib": 1 << 20, "gi": 1 << 30, "gib": 1 << 30, "ti": 1 << 40, "tib": 1 << 40,
}

// ParseBytes reads a number of bytes with an optional unit: 1048576, 2MB, 8GiB.
func ParseBytes(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGTIbkmgti ")
	factor, known := byteUnits[strings.ToLower(strings.TrimSpace(text[len(digits):]))]
	n, err := strconv.ParseFloat(digits, 64)
	if !known || err != nil || n < 0 || n*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a number of bytes: want a number with an optional unit, as in 1048576, 2MB or 8GiB", text)
	}
	return int64(n * factor), nil
}

// Bytes is a flag's value: a number of bytes that may have a unit.
type Bytes int64

func (b *Bytes) String() string { return strconv.FormatInt(int64(*b), 10) }

// Set reads the value as ParseBytes does.
func (b *Bytes) Set(text string) error {
	n, err := ParseBytes(text)
	if err == nil {
		*b = Bytes(n)
	}
	return err
}

// Type names the value in help texts.
func (b *Bytes) Type() string { return "bytes" }
