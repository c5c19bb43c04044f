// Package invariant checks at run time the invariants in package comments.
//
// A broken invariant is a bug of this program, never a client's fault. Continuing would risk the
// data, so the check panics, and the member ends with the reason. Cheap checks are always on:
//
//	invariant.Check(p.done != nil, "request %d was completed twice", id)
//
// Arguments that are not constants may be allocated before the condition is tested. Where that
// matters, test the condition first:
//
//	if index < last {
//		invariant.Violated("applied index went from %d back to %d", last, index)
//	}
//
// Expensive checks run only in builds with the tag invariants, which the race run, the simulator
// and the torture test use. The compiler removes them from all other builds:
//
//	if invariant.Enabled {
//		invariant.Check(slices.IsSorted(ids), "members are not sorted: %x", ids)
//	}
package invariant

import "fmt"

// Violation is the value that a failed check panics with.
type Violation struct{ text string }

// Error implements error.
func (v *Violation) Error() string { return "invariant violated: " + v.text }

// Check panics with a Violation, whose text is made of format and args as by fmt.Sprintf, unless
// ok.
func Check(ok bool, format string, args ...any) {
	if !ok {
		Violated(format, args...)
	}
}

// Violated panics with a Violation.
func Violated(format string, args ...any) {
	panic(&Violation{text: fmt.Sprintf(format, args...)})
}
