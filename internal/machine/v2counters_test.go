package machine

import (
	"errors"
	"testing"

	"cairn/internal/v2tree"
)

// TestV2Counters counts each kind of command a different number of times.
func TestV2Counters(t *testing.T) {
	var c V2Counters
	refused := errors.New("refused")
	for n, k := range []v2tree.Kind{
		v2tree.KindSet, v2tree.KindCreate, v2tree.KindCreateInOrder, v2tree.KindUpdate, v2tree.KindCompareAndSwap,
		v2tree.KindDelete, v2tree.KindCompareAndDelete, v2tree.KindExpire,
	} {
		for range n + 1 {
			c.count(k, nil)
		}
		c.count(k, refused)
	}
	for _, w := range []struct {
		name             string
		got              *Count
		successes, fails uint64
	}{
		{"set", &c.Set, 1, 1},
		{"create", &c.Create, 2 + 3, 2},
		{"update", &c.Update, 4, 1},
		{"compareAndSwap", &c.CompareAndSwap, 5, 1},
		{"delete", &c.Delete, 6, 1},
		{"compareAndDelete", &c.CompareAndDelete, 7, 1},
	} {
		if s, f := w.got.Success.Load(), w.got.Fail.Load(); s != w.successes || f != w.fails {
			t.Errorf("%s: %d and %d, want %d and %d", w.name, s, f, w.successes, w.fails)
		}
	}
	if n := c.Expire.Load(); n != 8 {
		t.Errorf("%d expired, want 8", n)
	}
}
