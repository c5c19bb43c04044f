package lease

import (
	"errors"
	"math"
	"testing"
)

// TestCommandBytes shows that commands survive encoding, and that truncated or extended bytes are
// refused.
func TestCommandBytes(t *testing.T) {
	for _, c := range []Command{
		{Kind: KindGrant, ID: 1, TTL: TTLMax},
		{Kind: KindRevoke, ID: -1},
		{Kind: KindRenew, ID: math.MinInt64},
		{Kind: KindExpire, ID: math.MaxInt64, Deadline: math.MaxInt64},
	} {
		b := c.Append(nil)
		if got, err := Decode(b); got != c || err != nil {
			t.Errorf("%+v is read as %+v, %v", c, got, err)
		}
		for n := range b {
			if _, err := Decode(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of %+v: %v", n, c, err)
			}
		}
		if _, err := Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a byte behind %+v: %v", c, err)
		}
	}
	for _, c := range []Command{{Kind: KindGrant, ID: 1, TTL: TTLMax + 1}, {Kind: KindRevoke}, {Kind: 5, ID: 1}, {ID: 1}} {
		if _, err := Decode(c.Append(nil)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestLeaseBytes does the same for the values of table l.
func TestLeaseBytes(t *testing.T) {
	l := Lease{ID: -5, TTL: 300, Deadline: math.MaxInt64}
	b := l.value()
	if got, err := decode(leaseKey(l.ID), b); got != l || err != nil {
		t.Errorf("%+v is read as %+v, %v", l, got, err)
	}
	for n := range b {
		if _, err := decode(leaseKey(l.ID), b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
