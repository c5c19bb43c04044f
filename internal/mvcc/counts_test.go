package mvcc

import (
	"fmt"
	"math/rand"
	"slices"
	"sort"
	"strings"
	"testing"

	"cairn/internal/kv"
)

// liveKeys is a sorted list of keys, the model of the count index.
type liveKeys []string

func (l liveKeys) between(from, to string) int64 {
	lo, hi := sort.SearchStrings(l, from), len(l)
	if to != "" {
		hi = sort.SearchStrings(l, to)
	}
	return int64(max(0, hi-lo))
}

// checkRandomCounts compares counts of random ranges with the model.
func (st *state) checkRandomCounts(rng *rand.Rand, keys liveKeys, keySpace int) {
	st.t.Helper()
	if got := st.s.Head().Keys(); got != int64(len(keys)) {
		st.t.Fatalf("head has %d keys, want %d", got, len(keys))
	}
	for n := range 60 {
		from, to := keyN(rng.Intn(keySpace)), keyN(rng.Intn(keySpace))
		r := kv.KeyRange{Key: []byte(from), End: []byte(to)}
		switch {
		case n%10 == 0:
			r, to = kv.KeyRange{Key: []byte(from), End: []byte{0}}, ""
		case from >= to:
			continue
		}
		var none Collector
		sum, err := st.s.Range(&RangeOp{KeyRange: r, CountOnly: true}, &none)
		st.check(err)
		if want := keys.between(from, to); sum.Count != want {
			st.t.Fatalf("count of [%s, %s) is %d, want %d", from, to, sum.Count, want)
		}
		if most := st.s.Reading().CountAtMost(r); most < sum.Count || most > sum.Count+2*blockSplitKeys+batchKeysMax {
			st.t.Fatalf("[%s, %s) has at most %d keys, counted %d", from, to, most, sum.Count)
		}
		st.checkNth(keys, from, to, rng.Int63n(sum.Count+2))
	}
}

// checkNth compares the key before which n others are with the model.
func (st *state) checkNth(keys liveKeys, from, to string, n int64) {
	st.t.Helper()
	var end []byte
	if to != "" {
		end = []byte(to)
	}
	got, err := st.s.Reading().Nth([]byte(from), end, n)
	st.check(err)
	want := ""
	if n < keys.between(from, to) {
		want = keys[int64(sort.SearchStrings(keys, from))+n]
	}
	if string(got) != want {
		st.t.Fatalf("key %d of [%s, %s) is %q, want %q", n, from, to, got, want)
	}
}

// batchKeysMax is the maximum number of keys that TestCountIndex changes in a batch. Blocks may
// exceed their size by that until the next batch.
const batchKeysMax = 700

// TestCountIndex creates 8,000 keys in random order and deletes them again, in
// batches of random sizes with restarts, checking the index against a walk.
func TestCountIndex(t *testing.T) {
	const keySpace = 8_000
	rng := rand.New(rand.NewSource(4))
	st := testState(t)
	live := map[string]bool{}
	sorted := func() (l liveKeys) {
		for k := range live {
			l = append(l, k)
		}
		slices.Sort(l)
		return l
	}
	step := func(order []int, deletes bool) {
		for len(order) > 0 {
			n := min(len(order), 1+rng.Intn(batchKeysMax))
			st.begin()
			for _, k := range order[:n] {
				key := keyN(k)
				st.check(st.command(func(w *Writer) error {
					if deletes {
						return del(span(key, ""))(w)
					}
					return put(key, "v")(w)
				}))
				if deletes {
					delete(live, key)
				} else {
					live[key] = true
				}
			}
			st.commit()
			order = order[n:]
			if rng.Intn(12) == 0 {
				st.checkCounts()
				st.checkRandomCounts(rng, sorted(), keySpace)
			}
			if rng.Intn(20) == 0 {
				st.reopen()
				st.checkCounts()
			}
		}
	}
	step(rng.Perm(keySpace), false)
	st.checkCounts()
	if blocks := st.blocks(); blocks < keySpace/blockSplitKeys || blocks > 3*keySpace/blockTargetKeys {
		t.Errorf("%d keys are in %d blocks", keySpace, blocks)
	}
	st.checkRandomCounts(rng, sorted(), keySpace)
	step(rng.Perm(keySpace)[:keySpace/2], true)
	step(rng.Perm(keySpace)[:keySpace/4], false)
	st.checkCounts()
	st.checkRandomCounts(rng, sorted(), keySpace)

	// One range deletion for all.
	st.each(del(all))
	clear(live)
	st.checkCounts()
	st.checkRandomCounts(rng, nil, keySpace)
	if blocks := st.blocks(); blocks > 3 {
		t.Errorf("no keys are in %d blocks", blocks)
	}
}

func (st *state) blocks() (n int) {
	for _, c := range st.s.Head().counts.chunks {
		n += len(c.starts)
	}
	return n
}

// TestCountIndexShrinks deletes keys in ascending, descending and random order: no empty blocks may
// remain, or a key space whose keys change would accumulate them.
func TestCountIndexShrinks(t *testing.T) {
	const keys = 4000
	rng := rand.New(rand.NewSource(2))
	up := make([]int, keys)
	for i := range up {
		up[i] = i
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	inside := append(slices.Clone(up[keys/2:]), down[keys/2:]...)
	for name, order := range map[string][]int{"ascending": up, "descending": down, "inside out": inside, "random": rng.Perm(keys)} {
		t.Run(name, func(t *testing.T) {
			st := testState(t)
			for at := 0; at < keys; at += 200 {
				st.begin()
				for i := range 200 {
					st.check(st.command(put(keyN(at+i), "")))
				}
				st.commit()
			}
			if st.blocks() < 5 {
				t.Fatalf("%d keys are in %d blocks", keys, st.blocks())
			}
			for at := 0; at < keys; at += 200 {
				st.begin()
				for _, k := range order[at : at+200] {
					st.check(st.command(del(span(keyN(k), ""))))
				}
				st.commit()
				st.checkCounts()
			}
			if blocks := st.blocks(); blocks > 3 {
				t.Errorf("no keys are in %d blocks", blocks)
			}
		})
	}
}

// TestCountIndexInOneBatch: keys that an aborted command created are not counted, and a range that
// is deleted and written again in one batch is counted correctly.
func TestCountIndexInOneBatch(t *testing.T) {
	st := testState(t)
	st.begin()
	for i := range 1000 {
		st.check(st.command(put(keyN(i), "")))
	}
	st.commit()
	st.begin()
	st.w.Start()
	st.check(del(all)(st.w))
	for i := range 500 {
		st.check(put(keyN(2*i), "again")(st.w))
	}
	var none Collector
	sum, err := st.w.Range(&RangeOp{KeyRange: span(keyN(100), keyN(900)), CountOnly: true}, &none)
	st.check(err)
	if sum.Count != 400 {
		t.Errorf("open command counts %d, want 400", sum.Count)
	}
	st.w.Abort()
	sum, err = st.w.Range(&RangeOp{KeyRange: span(keyN(100), keyN(900)), CountOnly: true}, &none)
	st.check(err)
	if sum.Count != 800 {
		t.Errorf("aborted command left a count of %d, want 800", sum.Count)
	}
	st.check(st.command(del(span(keyN(10), keyN(990)))))
	st.check(st.command(put(keyN(500), "")))
	st.commit()
	st.checkCounts()
	if st.s.Head().Keys() != 21 {
		t.Errorf("%d keys, want 21", st.s.Head().Keys())
	}
}

// TestChunksDivide grows the index beyond a chunk, and loads it again.
func TestChunksDivide(t *testing.T) {
	var c countsEdit
	c.begin(&counts{chunks: []*countChunk{{starts: []string{""}, live: []int64{0}}}})
	const keys = 3 * chunkSplit * blockTargetKeys
	for i := range keys {
		c.add([]byte(fmt.Sprintf("%07d", i)), 1)
	}
	walk := func(lower, upper []byte, live func([]byte)) error {
		for i := range keys {
			if key := []byte(fmt.Sprintf("%07d", i)); inRange(key, lower, upper) {
				live(key)
			}
		}
		return nil
	}
	if err := c.divide(walk); err != nil {
		t.Fatal(err)
	}
	if len(c.chunks) < 3 || c.total() != keys {
		t.Fatalf("%d chunks, %d keys", len(c.chunks), c.total())
	}
	var starts []string
	for _, ch := range c.chunks {
		if len(ch.starts) > chunkSplit {
			t.Errorf("chunk of %d blocks", len(ch.starts))
		}
		starts = append(starts, ch.starts...)
	}
	if !slices.IsSorted(starts) {
		t.Errorf("blocks out of order: %s", strings.Join(starts[:10], " "))
	}
	for _, span := range [][2]int{{0, keys}, {0, keys / 2}, {keys / 3 / blockTargetKeys * blockTargetKeys, keys}, {blockTargetKeys, blockTargetKeys * 700}} {
		lower, upper := fmt.Sprintf("%07d", span[0]), fmt.Sprintf("%07d", span[1])
		inner, left, right, whole := c.span([]byte(lower), []byte(upper))
		if !whole {
			t.Fatalf("span %v is within a block", span)
		}
		var l, r int
		fmt.Sscanf(string(left), "%d", &l)
		fmt.Sscanf(string(right), "%d", &r)
		if got := inner + int64(l-span[0]) + int64(span[1]-r); got != int64(span[1]-span[0]) {
			t.Errorf("span %v: %d keys, inner %d, left %s, right %s", span, got, inner, left, right)
		}
	}
}
