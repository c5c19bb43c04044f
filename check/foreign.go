package check

import "math"

// Foreign is what clients changed whose requests are not in the history: the events of one
// revision, as watchers received them. It has no events when the revision moved without a change of
// keys, as it does for directories of v2.
type Foreign struct{ Events []Event }

// foreignReturn is when foreign changes count as answered: after everything else, and yet known.
const foreignReturn = math.MaxInt64 - 1

// AddForeign adds an operation to the history for each revision that no request of it made, and
// whose events are all of keys for which foreign returns true. The clients of the history must not
// write such keys. Requests without a known outcome remain candidates for all other revisions.
func (h *History) AddForeign(foreign func(key string) bool) (added int) {
	l := newLinearizer(h, Options{}, &Result{})
	for rev := int64(2); rev <= l.last; rev++ {
		if len(l.writers[rev]) > 0 || !allForeign(l.timeline[rev], foreign) {
			continue
		}
		h.Operations = append(h.Operations, Operation{
			Member: "foreign", Return: foreignReturn,
			Request: Request{Foreign: &Foreign{Events: l.timeline[rev]}}, Response: Response{Revision: rev},
		})
		added++
	}
	return added
}

func allForeign(events []Event, foreign func(key string) bool) bool {
	for _, e := range events {
		if !foreign(e.KV.Key) {
			return false
		}
	}
	return true
}

// errImpossible is the model's response to foreign changes that its state does not allow.
const errImpossible = "impossible"

// foreign makes changes as they were received. The numbers of the keys must follow from the state.
func (x *step) foreign(f *Foreign) Response {
	x.moved = true
	for _, e := range f.Events {
		old, live := x.s.keys.get(e.KV.Key)
		if e.Delete {
			if !live {
				return Response{Err: errImpossible}
			}
			x.remove(old)
			continue
		}
		r := x.store(record{KV: KV{Key: e.KV.Key, Value: e.KV.Value, Lease: e.KV.Lease}}, e.KV.Create == e.KV.Mod)
		if r.KV != e.KV {
			return Response{Err: errImpossible}
		}
	}
	return Response{}
}
