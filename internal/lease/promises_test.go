package lease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cairn/internal/kv"
)

const second = kv.ClusterTime(time.Second)

// fakeState is the leases of a state.
type fakeState map[kv.LeaseID]Lease

func (s fakeState) look(id kv.LeaseID) (Lease, bool, error) {
	l, ok := s[id]
	return l, ok, nil
}

// extend does in the state what a KindExtend does.
func (s fakeState) extend(p *Promises, now kv.ClusterTime, ids ...kv.LeaseID) {
	var changes []Change
	for _, id := range ids {
		l := s[id]
		l.Deadline = now + 2*l.Granted()
		l.Ahead = l.Granted()
		s[id] = l
		changes = append(changes, Change{ID: id, Deadline: l.Deadline})
	}
	p.Applied(changes, false)()
}

func renew(t *testing.T, p *Promises, s fakeState, term uint64, now kv.ClusterTime, id kv.LeaseID, want Outcome) {
	t.Helper()
	got, err := p.Renew(term, now, now, id, s.look)
	if err != nil || got.Outcome != want || (want == Renewed) != (got.TTL > 0) {
		t.Errorf("renewal of lease %d at %d in term %d: %+v, %v, want outcome %d", id, now/second, term, got, err, want)
	}
}

func dueAt(p *Promises, term uint64, now kv.ClusterTime) (ids []kv.LeaseID) {
	due, _ := p.Due(term, now, second, 10)
	for _, c := range due {
		ids = append(ids, c.ID)
	}
	return ids
}

// TestPromises walks through the life of a lease in memory.
func TestPromises(t *testing.T) {
	s := fakeState{7: {ID: 7, TTL: 10, Deadline: 11 * second}}
	p := NewPromises(func() int64 { return 42 })
	renew(t, p, s, 1, 2*second, 7, OtherTerm)
	p.Lead(1, 0)
	renew(t, p, s, 1, 2*second, 8, NotFound)
	renew(t, p, s, 1, 2*second, 7, NeedsExtension)
	s.extend(p, 2*second, 7) // to 22
	renew(t, p, s, 1, 2*second, 7, Renewed)
	renew(t, p, s, 1, 10*second, 7, Renewed) // until 20
	if ids := p.Extensions(1, 10); len(ids) != 0 {
		t.Errorf("extended too soon: %v", ids)
	}
	renew(t, p, s, 1, 11*second, 7, Renewed) // until 21: close to the deadline
	if ids := p.Extensions(1, 10); fmt.Sprint(ids) != "[7]" {
		t.Errorf("to be extended: %v", ids)
	}
	renew(t, p, s, 1, 11*second+second/2, 7, Renewed)
	if ids := p.Extensions(1, 10); len(ids) != 0 {
		t.Errorf("extended twice: %v", ids)
	}
	renew(t, p, s, 1, 15*second, 7, NeedsExtension) // the extension was lost
	s.extend(p, 15*second, 7)                       // to 35
	renew(t, p, s, 1, 15*second, 7, Renewed)        // until 25
	if l := s[7]; true {
		if at, ok := p.Deadline(1, &l); at != 25*second || !ok {
			t.Errorf("it ends at %d, %v", at, ok)
		}
	}
	if ids := dueAt(p, 1, 25*second-1); len(ids) != 0 {
		t.Errorf("due before the promise: %v", ids)
	}
	if due, _ := p.Due(1, 25*second, second, 10); len(due) != 1 || due[0].Kind != KindEnd || due[0].Deadline != 35*second || due[0].Term != 1 {
		t.Errorf("due: %+v", due)
	}
	renew(t, p, s, 1, 25*second, 7, NotFound) // it is never renewed, even if the command is lost
	if ids := dueAt(p, 1, 25*second+second/2); len(ids) != 0 {
		t.Errorf("due again too soon: %v", ids)
	}
	if ids := dueAt(p, 1, 26*second); fmt.Sprint(ids) != "[7]" {
		t.Errorf("due again: %v", ids)
	}
	delete(s, 7)
	p.Applied([]Change{{ID: 7, Ended: true}}, false)()
	if ids := dueAt(p, 1, 40*second); len(ids) != 0 || p.Len() != 0 {
		t.Errorf("due after the end: %v, %d leases", ids, p.Len())
	}
	renew(t, p, s, 1, 40*second, 7, NotFound)
}

// TestPromisesOfEarlierLeaders: a leader ends what earlier ones have extended one TTL after its
// start, unless a command has promised more since; what they have not extended, at its deadline.
func TestPromisesOfEarlierLeaders(t *testing.T) {
	s := fakeState{
		1: {ID: 1, TTL: 10, Deadline: 119 * second, Ahead: 10 * second}, // extended at 99
		2: {ID: 2, TTL: 10, Deadline: 103 * second},                     // granted at 93
		3: {ID: 3, TTL: 10, Deadline: 104 * second, Ahead: 10 * second}, // extended at 84
		4: {ID: 4, TTL: 10, Deadline: 119 * second, Ahead: 5 * second},  // renewed by command at 104
	}
	p := NewPromises(func() int64 { return 42 })
	p.Lead(5, 100*second)
	for id, want := range map[kv.LeaseID]kv.ClusterTime{1: 110, 2: 103, 3: 104, 4: 114} {
		l := s[id]
		if at, _ := p.Deadline(5, &l); at != want*second {
			t.Errorf("lease %d ends at %d, want %d", id, at/second, want)
		}
	}
	renew(t, p, s, 5, 102*second, 1, Renewed)
	renew(t, p, s, 5, 103*second, 2, NotFound)
	if l := s[1]; true {
		if at, _ := p.Deadline(5, &l); at != 112*second {
			t.Errorf("renewed until %d", at/second)
		}
	}
	p.Lead(4, 90*second) // too late
	if _, ok := p.Deadline(4, &Lease{ID: 1}); ok {
		t.Error("an earlier term leads")
	}
	p.Follow()
	renew(t, p, s, 5, 103*second, 1, OtherTerm)
}

// TestPromiseByCommand: a renewal by command is a promise, too, and invalidates an end that was
// decided before it.
func TestPromiseByCommand(t *testing.T) {
	old := Lease{ID: 1, TTL: 10, Deadline: 30 * second, Ahead: 10 * second}
	l := renewed(old, 12*second)
	if l.Deadline == old.Deadline || l.Promised() != 22*second {
		t.Errorf("renewed at 12: %+v", l)
	}
	if l = renewed(l, 11*second); l.Promised() != 22*second {
		t.Errorf("an earlier promise is shortened: %+v", l)
	}
	if l = renewed(l, 25*second); l.Deadline != 35*second || l.Ahead != 0 {
		t.Errorf("renewed at 25: %+v", l)
	}
	p := NewPromises(func() int64 { return 1 })
	p.Lead(1, 0)
	s := fakeState{1: old}
	renew(t, p, s, 1, 11*second, 1, Renewed) // until 21
	s[1] = renewed(old, 14*second)
	p.Applied([]Change{{ID: 1, Deadline: s[1].Deadline, Promised: 24 * second}}, false)()
	if ids := dueAt(p, 1, 24*second-1); len(ids) != 0 {
		t.Error("ended before the promise of the command")
	}
	if ids := dueAt(p, 1, 24*second); len(ids) != 1 {
		t.Error("not ended after the promise of the command")
	}
}

// TestPromisesFail: errors of the state are returned.
func TestPromisesFail(t *testing.T) {
	p := NewPromises(func() int64 { return 1 })
	p.Lead(1, 0)
	broken := errors.New("disk")
	_, err := p.Renew(1, 1, 1, 7, func(kv.LeaseID) (Lease, bool, error) { return Lease{}, false, broken })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestPromiseQueue compares the queue with a search for the earliest.
func TestPromiseQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q promiseQueue
	var all []kv.ClusterTime
	for range 2000 {
		if len(all) > 0 && rng.IntN(2) == 0 {
			least := 0
			for i := range all {
				if all[i] < all[least] {
					least = i
				}
			}
			if got := q.pop(); got.at != all[least] {
				t.Fatalf("popped %d, the earliest is %d", got.at, all[least])
			}
			all = append(all[:least], all[least+1:]...)
			continue
		}
		at := kv.ClusterTime(rng.IntN(100))
		q.push(queuedPromise{at, 1})
		all = append(all, at)
	}
	if q.len() != len(all) {
		t.Errorf("%d left, want %d", q.len(), len(all))
	}
}

func BenchmarkRenew(b *testing.B) {
	s := fakeState{}
	p := NewPromises(func() int64 { return 1 })
	p.Lead(1, 0)
	const n = 100_000
	for id := kv.LeaseID(1); id <= n; id++ {
		s[id] = Lease{ID: id, TTL: 1 << 30, Deadline: 1 << 61, Ahead: 1 << 40}
	}
	b.ReportAllocs()
	for i := range b.N {
		if got, _ := p.Renew(1, kv.ClusterTime(i), kv.ClusterTime(i), kv.LeaseID(1+i%n), s.look); got.Outcome != Renewed {
			b.Fatal(got)
		}
	}
}
