package invariant_test

import (
	"errors"
	"fmt"
	"testing"

	"cairn/internal/invariant"
)

// violationOf returns the violation that do panics with, nil when it returns.
func violationOf(do func()) (v *invariant.Violation) {
	defer func() {
		if err, ok := recover().(error); ok {
			errors.As(err, &v)
		}
	}()
	do()
	return nil
}

func TestCheck(t *testing.T) {
	if v := violationOf(func() { invariant.Check(true, "fine") }); v != nil {
		t.Errorf("a check that holds: %v", v)
	}
	v := violationOf(func() { invariant.Check(1 > 2, "index went from %d back to %d", 2, 1) })
	if v == nil || v.Error() != "invariant violated: index went from 2 back to 1" {
		t.Errorf("a check that fails: %v", v)
	}
}

func ExampleCheck() {
	defer func() { fmt.Println(recover()) }()
	match, next := 7, 7
	invariant.Check(match < next, "match %d, next %d", match, next)
	// Output: invariant violated: match 7, next 7
}
