package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// memoryLimitMin is the least memory that a member works with: its stores' caches and memtables
// take some 300 MiB.
const memoryLimitMin = 512 << 20

// units are the units of a number of bytes.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// setMemory reads --memory-limit.
func setMemory(to *int64, v string) error {
	number, unit := v, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(v, u.name); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a number of bytes: want 1073741824 or 1GiB", v)
	}
	if n *= unit; n != 0 && n < memoryLimitMin {
		return fmt.Errorf("%q is too little: a member needs at least %d MiB", v, memoryLimitMin>>20)
	}
	*to = n
	return nil
}
