package lease

import (
	"sync"

	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Promises are the renewals of a leader that are not in the state.
//
// A renewal promises a client that its lease lives for one TTL more. The state has a deadline that
// is not before any promise, so that another leader, which uses the deadlines in the state, ends no
// lease early; and this leader ends a lease when its promise has passed, which is before the
// deadline, by a command that has no effect in another term (KindEnd).
//
// Invariants, while the term lasts: a promise is not after the deadline in the state (Renew); a
// promise that has passed is never renewed (Renew), so that an end which is decided cannot
// contradict a later renewal; a lease whose deadline is not ahead is promised exactly that.
//
// A member has one, which is empty while it does not lead. All methods may be called from any
// goroutine; while Applied has not ended, the others wait.
type Promises struct {
	// revision returns the revision of the published state.
	revision func() int64

	mu     sync.Mutex // guards the fields below
	term   uint64     // of the leadership; 0: none
	start  kv.ClusterTime
	leases map[kv.LeaseID]promise
	queue  promiseQueue
	// extend has the leases whose deadlines should be moved ahead soon.
	extend []kv.LeaseID
	// loaded is set when all leases that earlier leaders have extended are in leases; next is where
	// Load continues.
	loaded bool
	next   []byte
}

// promise is the state of one lease.
type promise struct {
	until    kv.ClusterTime // promised to clients
	deadline kv.ClusterTime // in the state
	ttl      int64
	queued   kv.ClusterTime // the time of its place in the queue
	// extending is set while the lease is in Promises.extend, or an extension is in progress.
	extending bool
}

// NewPromises returns an empty Promises. revision returns the revision of the published state.
func NewPromises(revision func() int64) *Promises { return &Promises{revision: revision} }

// Lookup returns a lease of the state. It must see all changes that Applied was called with.
type Lookup func(id kv.LeaseID) (Lease, bool, error)

// Outcome is the result of a renewal in memory.
type Outcome int

// The results of Renew.
const (
	// Renewed: the lease lives for a TTL after the time of the request.
	Renewed Outcome = iota
	// NotFound: there is no such lease, or it has expired.
	NotFound
	// NeedsExtension: the promise would pass the deadline in the state. The caller proposes the
	// command of Extension, waits until it is applied, and calls Renew again.
	NeedsExtension
	// OtherTerm: the leadership of the given term is over, or has not begun.
	OtherTerm
)

// Lead begins the leadership of a term whose clock started at a cluster time, unless it or a later
// one has begun already. Until then the promises of an earlier term are used no more.
func (p *Promises) Lead(term uint64, start kv.ClusterTime) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if term <= p.term {
		return
	}
	p.reset()
	p.term, p.start = term, start
}

// Follow forgets everything: this member does not lead.
func (p *Promises) Follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset()
	p.term = 0
}

func (p *Promises) reset() {
	p.leases, p.queue, p.extend, p.loaded, p.next = nil, promiseQueue{}, nil, false, nil
}

// Renewal is the result of a renewal in memory.
type Renewal struct {
	Outcome  Outcome
	TTL      int64 // seconds, if it is renewed
	Revision int64 // of the state in which the lease was renewed or not found
}

// Renew renews a lease. from is the cluster time of the request and now the current one, both of
// the term's clock; the caller has confirmed after from that the leadership of the term was not
// over. A nil look does not read the state: a lease that was not renewed in this term yet is
// NotFound.
func (p *Promises) Renew(term uint64, from, now kv.ClusterTime, id kv.LeaseID, look Lookup) (Renewal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return Renewal{Outcome: OtherTerm}, nil
	}
	r := Renewal{Outcome: NotFound, Revision: p.revision()}
	e, ok := p.leases[id]
	if !ok && look != nil {
		var err error
		if e, ok, err = p.add(id, look); err != nil {
			return r, err
		}
	}
	if !ok || e.until <= now {
		return r, nil
	}
	until := max(e.until, deadlineOf(from, e.ttl))
	if until > e.deadline {
		r.Outcome = NeedsExtension
		return r, nil
	}
	e.until = until
	invariant.Check(e.until <= e.deadline, "lease %x is promised until %d, its deadline is %d", uint64(id), e.until, e.deadline)
	if !e.extending && e.deadline-until < marginOf(e.ttl) {
		e.extending = true
		p.extend = append(p.extend, id)
	}
	p.leases[id] = e
	r.Outcome, r.TTL = Renewed, e.ttl
	return r, nil
}

// marginOf returns how close to its deadline a promise may come before the deadline is moved ahead
// in the background: an eighth of the TTL is the time that this may take without delaying renewals.
func marginOf(ttl int64) kv.ClusterTime { return min(deadlineOf(0, ttl), aheadOf(ttl)) / 8 }

// add takes a lease from the state, with what earlier leaders may have promised.
func (p *Promises) add(id kv.LeaseID, look Lookup) (promise, bool, error) {
	l, ok, err := look(id)
	if err != nil || !ok {
		return promise{}, false, err
	}
	e := promise{until: p.promised(&l), deadline: l.Deadline, ttl: l.TTL}
	if p.leases == nil {
		p.leases = make(map[kv.LeaseID]promise)
	}
	e.queued = e.until
	p.leases[id] = e
	p.queue.push(queuedPromise{e.queued, id})
	return e, true, nil
}

// promised returns the end of a lease that this leadership has not renewed. Earlier leaders have
// promised nothing after one TTL from the start of this leadership, whatever the deadline.
func (p *Promises) promised(l *Lease) kv.ClusterTime {
	return min(l.Deadline, max(l.Promised(), deadlineOf(p.start, l.TTL)))
}

// Deadline returns when the leader of a term ends a lease of the state, unless it is renewed; false
// if its leadership is over.
func (p *Promises) Deadline(term uint64, l *Lease) (kv.ClusterTime, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return 0, false
	}
	if e, ok := p.leases[l.ID]; ok {
		return e.until, true
	}
	return p.promised(l), true
}

// Applied takes over changes of the state, before they can be read; replaced means that all leases
// may have changed. The caller calls readable once they can be read. Until then nothing is renewed.
func (p *Promises) Applied(changes []Change, replaced bool) (readable func()) {
	p.mu.Lock()
	if replaced {
		p.leases, p.queue, p.extend = nil, promiseQueue{}, nil
		return p.mu.Unlock
	}
	for i := range changes {
		c := &changes[i]
		e, ok := p.leases[c.ID]
		switch {
		case !ok:
		case c.Ended:
			delete(p.leases, c.ID)
		default:
			e.deadline, e.until, e.extending = c.Deadline, max(e.until, c.Promised), false
			p.leases[c.ID] = e
		}
	}
	return p.mu.Unlock
}

// Load takes up to limit leases from the state and keeps those whose deadlines earlier leaders have
// moved ahead, so that Due finds them. It reports whether it has to be called again.
func (p *Promises) Load(term uint64, r mvcc.Reading, limit int) (more bool, err error) {
	p.mu.Lock()
	from, done := p.next, p.loaded || p.term != term
	p.mu.Unlock()
	if done {
		return false, nil
	}
	found, next, err := listExtended(r, from, limit)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return false, nil
	}
	p.next, p.loaded = next, next == nil
	for _, id := range found {
		if _, ok := p.leases[id]; ok {
			continue
		}
		// Read again under the lock, since it may have been changed meanwhile.
		if _, _, err := p.add(id, func(id kv.LeaseID) (Lease, bool, error) { return Get(r, id) }); err != nil {
			return false, err
		}
	}
	return !p.loaded, nil
}

// Extension returns the command that moves the deadlines of leases ahead.
func Extension(term uint64, ids []kv.LeaseID) Command {
	return Command{Kind: KindExtend, Term: term, IDs: ids}
}

// Extensions returns up to limit leases whose deadlines should be moved ahead. If the
// caller cannot move a deadline, the next renewal that needs it moved does so.
func (p *Promises) Extensions(term uint64, limit int) (ids []kv.LeaseID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return nil
	}
	n := min(limit, len(p.extend))
	ids = append(ids, p.extend[:n]...)
	if p.extend = p.extend[n:]; len(p.extend) == 0 {
		p.extend = nil
	}
	return ids
}

// dueScanMax bounds how many places of the queue a call of Due corrects, since renewals wait
// meanwhile.
const dueScanMax = 1024

// Due returns the commands that end leases whose promises have passed at now, up to limit, and
// whether to call it again for more. A lease that still exists later is returned again after retry.
// Leases whose deadlines in the state have passed are found by the function Due.
func (p *Promises) Due(term uint64, now, retry kv.ClusterTime, limit int) (due []Command, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		return nil, false
	}
	for n := 0; p.queue.len() > 0 && p.queue.first().at <= now; n++ {
		if n == dueScanMax || len(due) == limit {
			return due, true
		}
		next := p.queue.pop()
		e, ok := p.leases[next.id]
		if !ok || e.queued != next.at {
			continue // it has ended
		}
		e.queued = e.until
		if e.until <= now {
			e.queued = now + retry
			if e.deadline > now {
				due = append(due, Command{Kind: KindEnd, ID: next.id, Deadline: e.deadline, Term: term})
			}
		}
		p.leases[next.id] = e
		p.queue.push(queuedPromise{e.queued, next.id})
	}
	return due, false
}

// Len returns the number of leases in memory.
func (p *Promises) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.leases)
}
