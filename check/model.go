package check

import (
	"slices"
	"strconv"
)

// record is a key in the model.
type record struct {
	KV
	life
}

// life is the lifetime of something with a TTL.
type life struct {
	TTL    bool
	Length int64 // nanoseconds
	// The TTL started between From and To.
	From, To int64
}

// over reports whether the TTL may have ended at a time, on clocks that differ by slack.
func (l life) over(at, slack int64) bool { return l.TTL && at >= l.From+l.Length-slack }

// overdue returns how long ago the TTL must have ended, or 0 if it need not have.
func (l life) overdue(at int64, o Options) int64 {
	if !l.TTL || l.To == Never {
		return 0
	}
	return max(0, at-max(l.To, o.StableSince)-l.Length-o.LeaseGrace)
}

// State is the content of the cluster at one point of the order. It never changes.
type State struct {
	Revision  int64
	Compacted int64
	keys      *tree[record]
	leases    *tree[life]
	dirs      *tree[directory]
	auth      *authState
	// past is the state before the last change of the revision.
	past *State
}

// NewState returns the state of a new cluster.
func NewState() *State { return &State{Revision: 1, auth: &authState{}} }

// Equal reports whether two states are equivalent for all future requests.
func (s *State) Equal(o *State) bool {
	return s == o || s.Revision == o.Revision && s.Compacted == o.Compacted && equalTrees(s.keys, o.keys) &&
		equalTrees(s.leases, o.leases) && equalTrees(s.dirs, o.dirs) && s.auth.equal(o.auth)
}

// at returns the state of an earlier revision.
func (s *State) at(revision int64) *State {
	for s.Revision > revision && s.past != nil {
		s = s.past
	}
	return s
}

// within returns the keys of a range, in order.
func (s *State) within(key, end string) (found []record) {
	if end == "" {
		if r, ok := s.keys.get(key); ok {
			found = append(found, r)
		}
		return found
	}
	s.keys.walk(key, func(k string, r record) bool {
		if !InRange(k, key, end) {
			return false
		}
		found = append(found, r)
		return true
	})
	return found
}

func leaseName(id int64) string { return strconv.FormatInt(id, 16) }

func leaseID(name string) int64 {
	id, err := strconv.ParseInt(name, 16, 64)
	if err != nil {
		panic(err) // leaseName wrote it
	}
	return id
}

// step executes a request on a state.
type step struct {
	before *State
	s      State
	events []Event
	moved  bool // the revision moves, also without events
	// from and to are the earliest and latest time of the execution: TTLs start between them.
	from, to int64
}

// Step executes a request that was called and returned at the given times, and returns the state
// after it, the response, and the events.
func Step(s *State, r Request, call, ret int64) (*State, Response, []Event) {
	x := step{before: s, s: *s, from: call, to: ret}
	resp := x.run(r)
	if resp.Err != "" {
		if r.V2 != nil {
			resp.Revision = s.Revision
		}
		return s, resp, nil
	}
	return x.done(resp)
}

// done completes a step that was not refused.
func (x *step) done(resp Response) (*State, Response, []Event) {
	next := x.s
	if x.changed() {
		next.Revision++
		next.past = x.before
	}
	resp.Revision = next.Revision
	return &next, resp, x.events
}

// changed reports whether the step moves the revision.
func (x *step) changed() bool { return x.moved || len(x.events) > 0 }

// revision returns the revision that the step's own reads see.
func (x *step) revision() int64 {
	if x.changed() {
		return x.s.Revision + 1
	}
	return x.s.Revision
}

func (x *step) run(r Request) Response {
	if !x.s.auth.permits(&x.s, r) {
		return Response{Err: ErrDenied}
	}
	switch {
	case r.Compact != nil:
		switch {
		case r.Compact.Revision <= x.s.Compacted:
			return Response{Err: ErrCompacted}
		case r.Compact.Revision > x.s.Revision:
			return Response{Err: ErrFuture}
		}
		x.s.Compacted = r.Compact.Revision
		return Response{}
	case r.Lease != nil:
		return x.lease(r.Lease)
	case r.V2 != nil:
		return x.limitedV2(r)
	case r.Auth != nil:
		next, err := x.s.auth.apply(r.Auth)
		x.s.auth = next
		return Response{Err: err}
	case r.Member != nil:
		return Response{}
	case r.Foreign != nil:
		return x.foreign(r.Foreign)
	default:
		return x.op(r)
	}
}

// op executes an operation that may be part of a transaction.
func (x *step) op(r Request) Response {
	switch {
	case r.Range != nil:
		return x.read(r.Range)
	case r.Put != nil:
		return x.put(r.Put)
	case r.Delete != nil:
		return x.delete(r.Delete)
	default:
		return x.txn(r.Txn)
	}
}

func (x *step) read(r *Range) Response {
	from := &x.s
	switch {
	case r.Revision > x.revision():
		return Response{Err: ErrFuture}
	case r.Revision > 0 && r.Revision < x.s.Compacted:
		return Response{Err: ErrCompacted}
	case r.Revision > 0 && r.Revision <= x.before.Revision:
		from = x.before.at(r.Revision)
	}
	found := from.within(r.Key, r.End)
	out := &RangeResponse{Count: int64(len(found))}
	if r.CountOnly {
		return Response{Range: out}
	}
	for _, k := range found {
		if r.Limit > 0 && int64(len(out.KVs)) == r.Limit {
			out.More = true
			break
		}
		kv := k.KV
		if r.KeysOnly {
			kv.Value = ""
		}
		out.KVs = append(out.KVs, kv)
	}
	return Response{Range: out}
}

func (x *step) put(r *Put) (resp Response) {
	if r.Lease != 0 {
		if _, ok := x.s.leases.get(leaseName(r.Lease)); !ok {
			return Response{Err: ErrLeaseNotFound}
		}
	}
	old, live := x.s.keys.get(r.Key)
	if !live && (r.IgnoreValue || r.IgnoreLease) {
		return Response{Err: ErrKeyNotFound}
	}
	next := record{KV: KV{Key: r.Key, Value: r.Value, Lease: r.Lease}}
	if r.IgnoreValue {
		next.Value = old.Value
	}
	if r.IgnoreLease {
		next.Lease = old.Lease
	}
	x.store(next, false)
	if live && r.PrevKV {
		resp.Prev = &old.KV
	}
	return resp
}

// store writes a key; with recreate it counts as created although it exists.
func (x *step) store(r record, recreate bool) record {
	old, live := x.s.keys.get(r.Key)
	r.Mod, r.Create, r.Version = x.s.Revision+1, x.s.Revision+1, 1
	if live && !recreate {
		r.Create, r.Version = old.Create, old.Version+1
	}
	x.s.keys = x.s.keys.with(r.Key, r)
	e := Event{KV: r.KV}
	if live {
		e.Prev = &old.KV
	}
	x.events = append(x.events, e)
	return r
}

func (x *step) remove(old record) {
	x.s.keys = x.s.keys.without(old.Key)
	x.events = append(x.events, Event{Delete: true, KV: KV{Key: old.Key, Mod: x.s.Revision + 1}, Prev: &old.KV})
}

// noteDir records a change of a directory.
func (x *step) noteDir(path string, deleted bool) {
	x.events = append(x.events, Event{Delete: deleted, Dir: true, KV: KV{Key: path, Mod: x.s.Revision + 1}})
}

func (x *step) delete(r *Delete) (resp Response) {
	for _, old := range x.s.within(r.Key, r.End) {
		x.remove(old)
		resp.Deleted++
		if r.PrevKV {
			resp.Prevs = append(resp.Prevs, old.KV)
		}
	}
	return resp
}

// txn executes a transaction. All comparisons, including those of nested transactions, use the
// state before the whole. When a part is refused, so is all of it: the caller discards the step.
func (x *step) txn(t *Txn) Response {
	out := &TxnResponse{Succeeded: true}
	for i := range t.If {
		if !x.holds(&t.If[i]) {
			out.Succeeded = false
			break
		}
	}
	ops := t.Else
	if out.Succeeded {
		ops = t.Then
	}
	for _, op := range ops {
		resp := x.op(op)
		if resp.Err != "" {
			return Response{Err: resp.Err}
		}
		out.Responses = append(out.Responses, resp)
	}
	return Response{Txn: out}
}

func (x *step) holds(c *Compare) bool {
	found := x.before.within(c.Key, c.End)
	if len(found) == 0 {
		// An absent key has no value; all its numbers are 0.
		return c.Target != CompareValue && c.holds(&KV{})
	}
	return !slices.ContainsFunc(found, func(r record) bool { return !c.holds(&r.KV) })
}

func (c *Compare) holds(k *KV) bool {
	var n int64
	switch c.Target {
	case CompareVersion:
		n = k.Version
	case CompareCreate:
		n = k.Create
	case CompareMod:
		n = k.Mod
	case CompareLease:
		n = k.Lease
	default:
		return ordered(k.Value, c.Value, c.Result)
	}
	return ordered(n, c.Number, c.Result)
}

func ordered[T int64 | string](have, want T, result int) bool {
	switch result {
	case Equal:
		return have == want
	case Greater:
		return have > want
	case Less:
		return have < want
	default:
		return have != want
	}
}

// life returns the lifetime of a TTL that starts now.
func (x *step) life(ttl bool, length int64) life {
	if !ttl {
		return life{}
	}
	return life{true, length, x.from, x.to}
}

func (x *step) lease(r *Lease) Response {
	name := leaseName(r.ID)
	l, ok := x.s.leases.get(name)
	switch {
	case r.Do == Grant && ok:
		return Response{Err: ErrLeaseExists}
	case r.Do == Grant:
		x.s.leases = x.s.leases.with(name, x.life(true, r.TTL*1e9))
		return Response{TTL: r.TTL}
	case !ok:
		return Response{Err: ErrLeaseNotFound}
	case r.Do == Renew:
		x.s.leases = x.s.leases.with(name, x.life(true, l.Length))
		return Response{TTL: l.Length / 1e9}
	default:
		x.endLease(r.ID)
		return Response{}
	}
}

// attached returns the keys of a lease, in order.
func (s *State) attached(id int64) (keys []record) {
	s.keys.walk("", func(_ string, r record) bool {
		if r.Lease == id {
			keys = append(keys, r)
		}
		return true
	})
	return keys
}

func (x *step) endLease(id int64) {
	for _, r := range x.s.attached(id) {
		x.remove(r)
	}
	x.s.leases = x.s.leases.without(leaseName(id))
}

// expireLease is the expiry of a lease by the cluster.
func expireLease(s *State, id int64) (*State, []Event) {
	x := step{before: s, s: *s}
	x.endLease(id)
	next, _, events := x.done(Response{})
	return next, events
}
