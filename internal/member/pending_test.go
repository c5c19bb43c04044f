package member

import (
	"context"
	"testing"
	"time"

	"cairn/internal/machine"
)

// TestForgedEntryCompletesNothing applies an entry that names a waiting batch of this member but
// has another number of commands: the requests keep waiting, and the proposed entry completes them.
func TestForgedEntryCompletesNothing(t *testing.T) {
	m := start(t, testConfig(newDisk(t)))
	defer closeMember(t, m)
	p, err := m.inbox.submit(context.Background(), machine.KindPut, []byte("x"), m.now())
	if err != nil {
		t.Fatal(err)
	}
	var d delivery
	m.inbox.take(&d, true)
	const batch = 4711
	if !m.pending.add(batch, 1, m.now(), []*proposal{p}) {
		t.Fatal("the member has failed")
	}
	complete := func(e *machine.EntryResults) { m.applier.do(func() { m.applier.complete(e) }) }
	complete(&machine.EntryResults{Batch: batch, Commands: 2, Results: []machine.Result{{Revision: 7}, {Revision: 8}}})
	select {
	case <-p.done:
		t.Fatalf("a forged entry completed the request: %+v", p.result)
	default:
	}
	if m.Err() != nil {
		t.Fatalf("a forged entry stopped the member: %v", m.Err())
	}
	complete(&machine.EntryResults{Batch: batch, Commands: 1, Results: []machine.Result{{Revision: 1}}})
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Fatal("the proposed entry did not complete the request")
	}
	if p.err != nil || p.result.Revision != 1 {
		t.Errorf("revision %d, error %v, want revision 1", p.result.Revision, p.err)
	}
}
