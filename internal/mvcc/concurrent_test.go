package mvcc

import (
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"cairn/internal/kv"
)

// overlap is the load of TestReadersBesideWriter: command number i makes revision i+1. It writes
// that revision into all of the keys g0…g4, and creates or deletes one of the keys c0000… in turn.
// So every result shows the revision that it is of, and whether it is complete.
type overlap struct {
	*state
	churn int
}

func (o overlap) command(rev int64) func(w *Writer) error {
	return func(w *Writer) error {
		for g := range groupKeys {
			if err := put(fmt.Sprint("g", g), fmt.Sprint(rev))(w); err != nil {
				return err
			}
		}
		k := o.churnKey(rev)
		if o.creates(rev) {
			return put(k, "x")(w)
		}
		return del(span(k, ""))(w)
	}
}

const groupKeys = 5

func (o overlap) churnKey(rev int64) string { return fmt.Sprintf("c%04d", rev*7919%int64(o.churn)) }

// creates: rounds over the keys alternately create and delete all of them.
func (o overlap) creates(rev int64) bool { return (rev-2)/int64(o.churn)%2 == 0 }

// keysAt returns the number of churn keys at a revision.
func (o overlap) keysAt(rev int64) int64 {
	done, round := (rev-1)%int64(o.churn), (rev-1)/int64(o.churn)
	if round%2 == 0 {
		return done
	}
	return int64(o.churn) - done
}

// check reads at a revision, 0 for the current one, by every kind of read.
func (o overlap) check(rng *rand.Rand, requested int64) error {
	s := o.s
	var group Collector
	sum, err := s.Range(&RangeOp{KeyRange: span("g", "h"), Revision: requested}, &group)
	if err != nil {
		return err
	}
	rev := requested
	if rev == 0 {
		rev = sum.Revision
	}
	if rev > FirstRevision && len(group.Keys) != groupKeys {
		return fmt.Errorf("revision %d: %d of %d keys", rev, len(group.Keys), groupKeys)
	}
	for _, k := range group.Keys {
		if string(k.Value) != fmt.Sprint(rev) || k.Mod.Main != rev {
			return fmt.Errorf("revision %d: %s", rev, showKey(&k))
		}
	}
	op := RangeOp{KeyRange: span("c", "d"), Revision: requested, CountOnly: true}
	limited := rng.Intn(2) == 0
	if limited {
		op.CountOnly, op.Limit = false, 3
	}
	var some Collector
	sum, err = s.Range(&op, &some)
	if err != nil {
		return err
	}
	if rev = requested; rev == 0 {
		rev = sum.Revision
	}
	if want := o.keysAt(rev); sum.Count != want || limited && sum.More != (want > 3) {
		return fmt.Errorf("revision %d of %d: count %d, more %v, want %d", rev, sum.Revision, sum.Count, sum.More, want)
	}
	return o.checkTxn(requested)
}

// checkTxn: all reads of one transaction are of one revision.
func (o overlap) checkTxn(requested int64) error {
	get := Op{Range: &RangeOp{KeyRange: span("g0", ""), Revision: requested}}
	count := Op{Range: &RangeOp{KeyRange: span("c", "d"), Revision: requested, CountOnly: true}}
	res, err := o.s.ReadTxn(&TxnOp{
		Compares: []Compare{{KeyRange: span("g", "h"), Target: CompareMod, Result: CompareGreater}},
		Success:  []Op{get, count, get}, Failure: []Op{get, count, get},
	}, nil)
	if err != nil {
		return err
	}
	rev := requested
	if rev == 0 {
		rev = res.Revision
	}
	for _, i := range []int{0, 2} {
		for _, k := range res.Results[i].Range.Keys {
			if k.Mod.Main != rev {
				return fmt.Errorf("transaction at %d read %s", rev, showKey(&k))
			}
		}
	}
	if got, want := res.Results[1].Range.Count, o.keysAt(rev); got != want {
		return fmt.Errorf("transaction at %d counted %d, want %d", rev, got, want)
	}
	return nil
}

// TestReadersBesideWriter reads at the head and at old revisions while the writer applies, compacts
// and sweeps: every result is of one revision, and complete.
func TestReadersBesideWriter(t *testing.T) {
	o := overlap{state: testState(t), churn: 700}
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer func() {
		stop.Store(true)
		wg.Wait()
	}()
	var reads, compacted atomic.Int64
	for r := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewSource(int64(r)))
			for !stop.Load() {
				requested := int64(0)
				h := o.s.Head()
				if oldest := max(h.CompactRevision, 2); r > 0 && h.Revision > oldest {
					requested = oldest + rng.Int63n(min(h.Revision-oldest, 200))
				}
				err := o.check(rng, requested)
				if errors.Is(err, ErrCompacted) && requested > 0 {
					// A read may return ErrCompacted a moment before the compaction is published.
					for o.s.Head().CompactRevision <= requested && !stop.Load() {
						runtime.Gosched()
					}
					compacted.Add(1)
					continue
				}
				if err != nil {
					t.Errorf("requested for %d at %d: %v", requested, h.Revision, err)
					return
				}
				reads.Add(1)
			}
		}()
	}
	rng := rand.New(rand.NewSource(99))
	rev := int64(FirstRevision)
	for range 300 {
		o.begin()
		for range 1 + rng.Intn(8) {
			rev++
			o.state.check(o.state.command(o.command(rev)))
			if rng.Intn(20) == 0 {
				o.state.check(o.w.Compact(rev - rng.Int63n(min(rev-o.w.CompactRevision(), 100))))
			}
		}
		o.commitUnpublished()
		runtime.Gosched()
		o.w.Publish()
		if rng.Intn(3) == 0 {
			_, err := o.w.SweepTombstones(50)
			o.state.check(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	o.checkCounts()
	t.Logf("%d revisions, %d reads, %d overtaken by a compaction", rev, reads.Load(), compacted.Load())
	if reads.Load() < 10 {
		t.Errorf("only %d reads", reads.Load())
	}
}

// compactedUnpublished returns a store with keys k0…k99 made by the revisions 2…101, where the
// store holds an unpublished batch that compacts at revision 103.
func compactedUnpublished(t *testing.T) *state {
	st := testState(t)
	for i := range 100 {
		st.each(put(keyN(i), "v"))
	}
	st.begin()
	st.check(st.command(put(keyN(0), "lost")))
	st.check(st.command(put(keyN(0), "new")))
	st.check(st.w.Compact(103))
	st.commitUnpublished()
	st.s.cache.suspend(true) // reads go to the tables
	return st
}

// TestCountOvertakenBeforePublish: a count at an older revision corrects the current one by the
// events since. When a compaction has removed these, the count must fail, although the compaction
// is not published yet.
func TestCountOvertakenBeforePublish(t *testing.T) {
	st := compactedUnpublished(t)
	var none Collector
	sum, err := st.s.Range(&RangeOp{KeyRange: all, Revision: 95, CountOnly: true}, &none)
	if err == nil && sum.Count != 94 {
		t.Fatalf("count at revision 95 is %d, want 94 or %v", sum.Count, ErrCompacted)
	}
	if err != nil && !errors.Is(err, ErrCompacted) {
		t.Fatalf("count at revision 95: %v", err)
	}
}

// resetSink reports when a read starts over.
type resetSink struct {
	Collector
	onReset func()
}

func (s *resetSink) Reset() {
	s.Collector.Reset()
	s.onReset()
}

// TestReadOvertakenBeforePublish: a read at the current revision that misses an event starts over,
// until the head of the compaction that removed the event is published.
func TestReadOvertakenBeforePublish(t *testing.T) {
	st := compactedUnpublished(t)
	var once sync.Once
	keys := resetSink{onReset: func() { once.Do(st.w.Publish) }}
	sum, err := st.s.Range(&RangeOp{KeyRange: span(keyN(0), "")}, &keys)
	if err != nil || sum.Revision != 103 || len(keys.Keys) != 1 || string(keys.Keys[0].Value) != "new" {
		t.Fatalf("%+v %+v %v", sum, keys.Keys, err)
	}
}

// TestReadTxnOvertakenBeforePublish is the same for a transaction.
func TestReadTxnOvertakenBeforePublish(t *testing.T) {
	st := compactedUnpublished(t)
	get := Op{Range: &RangeOp{KeyRange: span(keyN(0), "")}}
	type result struct {
		res TxnResult
		err error
	}
	begun, done := make(chan struct{}), make(chan result, 1)
	go func() {
		close(begun)
		res, err := st.s.ReadTxn(&TxnOp{Success: []Op{get}}, nil)
		done <- result{res, err}
	}()
	<-begun
	// Leave it time to fail too early; a read that begins later cannot fail.
	for range 1000 {
		runtime.Gosched()
	}
	st.w.Publish()
	a := <-done
	if a.err != nil || a.res.Revision != 103 || string(a.res.Results[0].Range.Keys[0].Value) != "new" {
		t.Fatalf("%+v %v", a.res, a.err)
	}
	var want kv.Revision
	if want.Main = 103; a.res.Results[0].Range.Keys[0].Mod != want {
		t.Fatalf("read version %v, want %v", a.res.Results[0].Range.Keys[0].Mod, want)
	}
}
