package membership

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// ClusterVersion returns the version that all started members support, such as 3.7.0: the minor
// version of the oldest. It is empty while none has started. It never decreases: an older member
// cannot publish itself.
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

// stillSince is the first API version whose members support membership changes that leave the
// revision alone.
const stillSince = "3.7.1"

// KnowStillChanges reports whether all started members support commands without MovesRevision. An
// older member would stop at such a command.
func KnowStillChanges(members []Member) bool {
	for i := range members {
		if v := members[i].Version; v != "" && compareVersions(v, stillSince) < 0 {
			return false
		}
	}
	return true
}

// compareVersions compares X.Y.Z numerically. A text that is not a version counts as 0.0.0.
func compareVersions(a, b string) int {
	aMajor, aMinor := minorOf(a)
	bMajor, bMinor := minorOf(b)
	return cmp.Or(cmp.Compare(aMajor, bMajor), cmp.Compare(aMinor, bMinor), cmp.Compare(patchOf(a), patchOf(b)))
}

func patchOf(version string) uint64 {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 3 {
		return 0
	}
	patch, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil {
		return 0
	}
	return patch
}

// older reports whether a is of an earlier minor version than b; false when either is empty.
func older(a, b string) bool {
	if b == "" {
		return false
	}
	aMajor, aMinor := minorOf(a)
	bMajor, bMinor := minorOf(b)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

// minorOf parses X.Y of X.Y.Z. A text that is not a version yields 0.0.
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
