package mvcc

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"cairn/internal/kv"
)

// randomTxn returns a transaction of puts, deletes, ranges and nested transactions. It puts no key
// twice.
func randomTxn(rng *rand.Rand, head int64, depth int, keys *[]int) *TxnOp {
	t := &TxnOp{}
	for range 1 + rng.IntN(4) {
		var op Op
		from := rng.IntN(10)
		span := kv.KeyRange{Key: fmt.Appendf(nil, "k%d", from), End: fmt.Appendf(nil, "k%d", from+1+rng.IntN(9-from+1))}
		switch n := rng.IntN(8); {
		case n == 0 && depth < 2:
			op.Txn = randomTxn(rng, head, depth+1, keys)
		case n == 1 && len(*keys) > 0:
			op.Put = &PutOp{Key: fmt.Appendf(nil, "k%d", (*keys)[0]), Value: fmt.Appendf(nil, "v%d", rng.IntN(1000))}
			*keys = (*keys)[1:]
		case n == 2:
			op.Delete = &DeleteOp{KeyRange: span}
		default:
			op.Range = &RangeOp{KeyRange: span, KeysOnly: rng.IntN(4) == 0, Limit: int64(rng.IntN(4)), Order: SortOrder(rng.IntN(3))}
			if rng.IntN(4) == 0 {
				op.Range.Revision = head - int64(rng.IntN(3))
			}
		}
		t.Success = append(t.Success, op)
	}
	return t
}

// TestDeferredRanges compares the results of transactions whose ranges are read when later writes
// have been published with those of the same transactions whose ranges are read at once.
func TestDeferredRanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	now, later := newState(t), newState(t)
	defer now.close()
	defer later.close()
	apply := func(run func(st *state) error) {
		for _, st := range []*state{now, later} {
			st.w.Start()
			if err := run(st); err != nil {
				t.Fatal(err)
			}
			st.check(st.w.End())
		}
	}
	deferred := 0
	for round := range 300 {
		now.begin()
		later.begin()
		var want, got []TxnResult
		for range 1 + rng.IntN(3) {
			keys := rng.Perm(10)
			// revisions of the batch itself cannot be read yet
			txn := randomTxn(rng, now.s.Head().Revision, 0, &keys)
			apply(func(st *state) error {
				if st == now {
					res, err := st.w.Txn(txn)
					want = append(want, res)
					return err
				}
				res, err := st.w.TxnDeferring(txn, 3)
				got = append(got, res)
				return err
			})
			apply(func(st *state) error {
				_, err := st.w.Put(&PutOp{Key: fmt.Appendf(nil, "k%d", round%10), Value: fmt.Appendf(nil, "r%d", round)})
				return err
			})
		}
		now.commit()
		later.commit()
		for i := range got {
			if got[i].Deferred() {
				deferred++
			}
			if err := later.s.ReadDeferred(&got[i]); err != nil {
				t.Fatal(err)
			}
			if a, b := fmt.Sprintf("%+v", flat(&got[i])), fmt.Sprintf("%+v", flat(&want[i])); a != b || got[i].Deferred() {
				t.Fatalf("round %d: read later:\n%s\nread at once:\n%s", round, a, b)
			}
		}
	}
	if deferred < 100 {
		t.Errorf("%d transactions had deferred ranges", deferred)
	}
}

// flat returns what a result and those nested in it have.
func flat(r *TxnResult) (all []any) {
	for i := range r.Results {
		switch o := &r.Results[i]; {
		case o.Txn != nil:
			all = append(all, flat(o.Txn)...)
		case o.Range != nil:
			all = append(all, *o.Range)
		case o.Put != nil:
			all = append(all, *o.Put)
		default:
			all = append(all, *o.Delete)
		}
	}
	return all
}

// TestDeferrable defers a range before the first write of its transaction, or after the last; in
// between it collects at once, because no revision has what such a range sees.
func TestDeferrable(t *testing.T) {
	st := newState(t)
	defer st.close()
	put := func(key string) Op { return Op{Put: &PutOp{Key: []byte(key), Value: []byte("value")}} }
	all := Op{Range: &RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}}}
	st.begin()
	st.w.Start()
	_, err := st.w.Put(put("a").Put)
	st.check(err)
	st.check(st.w.End())
	st.w.Start()
	nested := Op{Txn: &TxnOp{Success: []Op{all, put("c"), all}}}
	res, err := st.w.TxnDeferring(&TxnOp{Success: []Op{all, put("b"), all, nested, all}}, 1)
	st.check(err)
	st.check(st.w.End())
	st.commit()
	in := res.Results[3].Txn.Results
	ranges := []*RangeResult{res.Results[0].Range, res.Results[2].Range, in[0].Range, in[2].Range, res.Results[4].Range}
	var deferred []bool
	for _, r := range ranges {
		deferred = append(deferred, r.deferred != nil)
	}
	if want := []bool{true, false, false, true, true}; !reflect.DeepEqual(deferred, want) {
		t.Errorf("deferred: %v, want %v", deferred, want)
	}
	st.check(st.s.ReadDeferred(&res))
	for i, want := range []int{1, 2, 2, 3, 3} {
		if r := ranges[i]; len(r.Keys) != want || r.Count != int64(want) {
			t.Errorf("range %d has %d keys and the count %d, want %d", i, len(r.Keys), r.Count, want)
		}
	}
}
