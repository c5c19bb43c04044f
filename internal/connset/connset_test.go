package connset_test

import (
	"slices"
	"testing"

	"cairn/internal/connset"
)

func drained(s *connset.Set[int]) bool {
	select {
	case <-s.Drained():
		return true
	default:
		return false
	}
}

// TestStop: after Stop no connection enters the set, and it is drained when the last one has left.
func TestStop(t *testing.T) {
	s := connset.New[int]()
	if !s.Add(1) || !s.Add(2) || s.Stopping() {
		t.Fatal("a new set takes no connections")
	}
	s.Remove(3)
	s.Remove(1)
	if !s.Add(1) || drained(s) {
		t.Error("the set is drained before Stop")
	}
	s.Stop()
	if s.Add(3) || !s.Stopping() || drained(s) {
		t.Errorf("after Stop: stopping %t, drained %t", s.Stopping(), drained(s))
	}
	left := s.AppendAll([]int{0})
	if slices.Sort(left); !slices.Equal(left, []int{0, 1, 2}) {
		t.Errorf("in the set: %v", left)
	}
	s.Remove(1)
	s.Stop()
	if drained(s) {
		t.Error("drained with a connection left")
	}
	s.Remove(2)
	s.Remove(2)
	s.Stop()
	if !drained(s) {
		t.Error("not drained after the last connection has left")
	}
}

// TestStopEmpty: an empty set is drained at once.
func TestStopEmpty(t *testing.T) {
	s := connset.New[int]()
	s.Stop()
	if !drained(s) {
		t.Error("not drained")
	}
}
