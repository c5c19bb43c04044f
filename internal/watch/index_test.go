package watch

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func checkTreap(t *testing.T, n *interval) bound {
	if n == nil {
		return bound{}
	}
	want := n.bound
	for _, child := range []*interval{n.left, n.right} {
		if child != nil {
			if child.priority > n.priority {
				t.Fatal("a child has a higher priority than its parent")
			}
			want = want.max(checkTreap(t, child))
		}
	}
	if n.left != nil && n.left.compare(n.span) >= 0 || n.right != nil && n.right.compare(n.span) <= 0 {
		t.Fatal("out of order")
	}
	if n.highest != want {
		t.Fatalf("highest end is %v, want %v", n.highest, want)
	}
	return n.highest
}

// TestIndexModel compares the index with a list of ranges that is scanned.
func TestIndexModel(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		var x index
		var all []*Watcher
		ranges := make(map[*Watcher]int)
		for range 400 {
			if len(all) == 0 || r.IntN(5) < 3 {
				w := &Watcher{span: spanOf(randomRange(r))}
				ranges[w] = len(ranges)
				all = append(all, w)
				x.add(w)
			} else {
				i := r.IntN(len(all))
				x.remove(all[i])
				all = slices.Delete(all, i, i+1)
			}
			checkTreap(t, x.root)
			key := keyName(r.IntN(testKeys + 1))
			var got, want []int
			x.match([]byte(key), func(w *Watcher) { got = append(got, ranges[w]) })
			for _, w := range all {
				s := w.span
				if s.single && s.start == key || !s.single && s.start <= key && s.beyond(key) {
					want = append(want, ranges[w])
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || x.n != len(all) {
				t.Fatalf("seed %d: watchers of %s are %v of %d, want %v of %d", seed, key, got, x.n, want, len(all))
			}
		}
		for _, w := range all {
			x.remove(w)
		}
		if x.root != nil || len(x.exact) != 0 || x.intervals != 0 {
			t.Fatal("the empty index is not empty")
		}
	}
}
