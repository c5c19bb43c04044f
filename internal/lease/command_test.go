package lease

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"cairn/internal/kv"
)

// TestCommandBytes shows that commands survive encoding, and that truncated or extended bytes are
// refused.
func TestCommandBytes(t *testing.T) {
	for _, c := range []Command{
		{Kind: KindGrant, ID: 1, TTL: TTLMax},
		{Kind: KindRevoke, ID: -1},
		{Kind: KindRenew, ID: math.MinInt64},
		{Kind: KindExpire, ID: math.MaxInt64, Deadline: math.MaxInt64},
		{Kind: KindEnd, ID: 3, Deadline: 1 << 40, Term: 300},
		{Kind: KindExtend, Term: 300, IDs: []kv.LeaseID{1, -1, math.MinInt64}},
	} {
		b := c.Append(nil)
		if got, err := Decode(b); !reflect.DeepEqual(got, c) || err != nil {
			t.Errorf("%+v is read as %+v, %v", c, got, err)
		}
		for n := range b {
			if c.Kind == KindExtend && n == 1+2+8 || c.Kind == KindExtend && n == 1+2+16 {
				continue // an extension of fewer leases
			}
			if _, err := Decode(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of %+v: %v", n, c, err)
			}
		}
		if _, err := Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a byte behind %+v: %v", c, err)
		}
	}
	for _, c := range []Command{
		{Kind: KindGrant, ID: 1, TTL: TTLMax + 1},
		{Kind: KindRevoke},
		{Kind: 7, ID: 1},
		{ID: 1},
		{Kind: KindExtend},
		{Kind: KindExtend, IDs: []kv.LeaseID{0}},
		{Kind: KindEnd},
	} {
		if _, err := Decode(c.Append(nil)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestLeaseBytes does the same for the values of table l.
func TestLeaseBytes(t *testing.T) {
	for _, l := range []Lease{
		{ID: -5, TTL: 300, Deadline: math.MaxInt64}, {ID: 5, TTL: 1, Deadline: 9, Ahead: 3},
	} {
		b := l.value()
		if got, err := decode(leaseKey(l.ID), b); got != l || err != nil {
			t.Errorf("%+v is read as %+v, %v", l, got, err)
		}
		whole := len(b)
		if l.Ahead > 0 {
			whole-- // without its last number it is a lease, too
		}
		for n := range whole {
			if _, err := decode(leaseKey(l.ID), b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		for _, wrong := range [][]byte{append(slices.Clone(b), 0), append(slices.Clone(b), 1, 1)} {
			if _, err := decode(leaseKey(l.ID), wrong); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%x behind %+v: %v", wrong[len(b):], l, err)
			}
		}
	}
}
