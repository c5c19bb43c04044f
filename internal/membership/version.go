package membership

import (
	"fmt"
	"strconv"
	"strings"
)

// ClusterVersion returns the version that all members which have started understand, as in 3.7.0:
// the minor version of the oldest. It is empty while none has. It never goes back: a member that is
// older cannot publish itself.
func ClusterVersion(members []Member) string {
	least := ""
	for i := range members {
		if v := members[i].Version; v != "" && (least == "" || older(v, least)) {
			least = v
		}
	}
	if least == "" {
		return ""
	}
	major, minor := minorOf(least)
	return fmt.Sprintf("%d.%d.0", major, minor)
}

// older reports whether a is of an earlier minor version than b. Nothing is older than no version.
func older(a, b string) bool {
	if b == "" {
		return false
	}
	aMajor, aMinor := minorOf(a)
	bMajor, bMinor := minorOf(b)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

// minorOf reads X.Y of X.Y.Z. What is no version is 0.0.
func minorOf(version string) (major, minor uint64) {
	x, rest, _ := strings.Cut(version, ".")
	y, _, _ := strings.Cut(rest, ".")
	major, err := strconv.ParseUint(x, 10, 16)
	if err == nil {
		minor, err = strconv.ParseUint(y, 10, 16)
	}
	if err != nil {
		return 0, 0
	}
	return major, minor
}
