package harness

import (
	"testing"
	"time"
)

// awaitMax bounds the wait for a condition. It is generous, so that no test fails on a busy
// machine.
const awaitMax = 2 * time.Minute

// Await polls a condition until it holds. It fails the test when that takes too long; what names
// the condition in the message.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(awaitMax); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", awaitMax, what)
		}
	}
}
