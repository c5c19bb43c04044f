package kv

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestRefused(t *testing.T) {
	full := NewRefusal("store is full")
	same := NewRefusal("store is full")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.ErrUnexpectedEOF, false},
		{fmt.Errorf("read key: %w", io.ErrUnexpectedEOF), false},
		{full, true},
		{fmt.Errorf("put key: %w", full), true},
		{errors.Join(nil, full), true},
	} {
		if got := Refused(c.err); got != c.want {
			t.Errorf("Refused(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if errors.Is(full, same) {
		t.Error("two refusals with the same text are the same error")
	}
}
