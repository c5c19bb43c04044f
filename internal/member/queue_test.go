package member

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/replica"
)

func newInbox() *inbox {
	b := &inbox{wake: make(chan struct{}, 1)}
	b.backlog.bytesMax = 128 << 20
	return b
}

// TestBacklog: the number and the size of waiting requests are limited; refused ones leave nothing,
// and there is space again when the raft loop has taken some.
func TestBacklog(t *testing.T) {
	submit := func(b *inbox, size int) error {
		_, err := b.submit(context.Background(), machine.KindPut, make([]byte, size), 0)
		return err
	}
	t.Run("requests", func(t *testing.T) {
		b := newInbox()
		for i := range backlogRequestsMax {
			if err := submit(b, 1); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if err := submit(b, 1); !errors.Is(err, ErrTooManyRequests) || b.waiting() != backlogRequestsMax {
			t.Errorf("one more: %v, %d wait", err, b.waiting())
		}
		var d delivery
		b.take(&d, false)
		if len(d.proposals) != 0 {
			t.Errorf("%d proposals were accepted too early", len(d.proposals))
		}
		// Requests in progress still count; completed ones do not.
		b.take(&d, true)
		if err := submit(b, 1); !errors.Is(err, ErrTooManyRequests) || len(d.proposals) != backlogRequestsMax {
			t.Errorf("%d taken, none completed: %v", len(d.proposals), err)
		}
		d.proposals[7].finish(nil)
		if err := submit(b, 1); err != nil {
			t.Errorf("one completed: %v", err)
		}
		if err := submit(b, 1); !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("full again: %v", err)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		b := newInbox()
		payload := make([]byte, b.backlog.bytesMax/4)
		for range 4 {
			if _, err := b.submit(context.Background(), machine.KindPut, payload, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := submit(b, 1); !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("one byte more: %v", err)
		}
		// Expired requests release their bytes.
		b.expire(1, ErrTimeout)
		if err := submit(b, 1); err != nil || b.waiting() != 1 || b.backlog.bytes.Load() != 1 {
			t.Errorf("after the timeout: %v, %d wait", err, b.waiting())
		}
	})
	t.Run("reads", func(t *testing.T) {
		b := newInbox()
		for range backlogRequestsMax {
			if err := b.read(&read{done: make(chan error, 1)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.read(&read{done: make(chan error, 1)}); !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("one more: %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		b := newInbox()
		p, err := b.submit(context.Background(), machine.KindPut, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := &read{done: make(chan error, 1)}
		if err := b.read(r); err != nil {
			t.Fatal(err)
		}
		b.close(ErrStopped)
		if <-p.done; !errors.Is(p.err, ErrStopped) {
			t.Errorf("waiting proposal: %v", p.err)
		}
		if err := <-r.done; !errors.Is(err, ErrStopped) {
			t.Errorf("waiting read: %v", err)
		}
		if err := submit(b, 1); !errors.Is(err, ErrStopped) {
			t.Errorf("later proposal: %v", err)
		}
		if err := b.read(&read{done: make(chan error, 1)}); !errors.Is(err, ErrStopped) {
			t.Errorf("later read: %v", err)
		}
	})
}

// TestInboxExpire fails the requests that arrived before a time, and preserves the order of the
// rest.
func TestInboxExpire(t *testing.T) {
	b := newInbox()
	var ps []*proposal
	for i := range 6 {
		p, err := b.submit(context.Background(), machine.KindPut, []byte{byte(i)}, time.Duration(i))
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	b.expire(3, ErrTimeout)
	var d delivery
	b.take(&d, true)
	if !slices.Equal(d.proposals, ps[3:]) {
		t.Errorf("%d proposals are left", len(d.proposals))
	}
	for _, p := range ps[:3] {
		if <-p.done; !errors.Is(p.err, ErrTimeout) {
			t.Errorf("expired: %v", p.err)
		}
	}
}

// TestPendingBatches: a batch is completed once, by the first caller that removes it.
func TestPendingBatches(t *testing.T) {
	p := pendingBatches{batches: map[uint64]pendingBatch{}}
	batch := func(n uint64, since ...time.Duration) (ps []*proposal) {
		for _, s := range since {
			ps = append(ps, &proposal{backlog: new(backlog), since: s, done: make(chan struct{}, 1)})
		}
		p.add(n, 1, 0, ps)
		return ps
	}
	old, mixed, young := batch(1, 1, 2), batch(2, 2, 9), batch(3, 9)
	p.expire(5, ErrTimeout)
	if got, _ := p.remove(1, 1); got != nil {
		t.Errorf("an expired batch is still there: %v", got)
	}
	for _, pr := range old {
		if <-pr.done; !errors.Is(pr.err, ErrTimeout) {
			t.Errorf("expired: %v", pr.err)
		}
	}
	got, _ := p.remove(2, len(mixed))
	if again, _ := p.remove(2, len(mixed)); !slices.Equal(got, mixed) || again != nil {
		t.Errorf("batch 2: %v", got)
	}
	p.close(ErrStopped, ErrRemoved)
	if <-young[0].done; !errors.Is(young[0].err, ErrStopped) {
		t.Errorf("failed: %v", young[0].err)
	}
	late := batch(4, 9)
	left, _ := p.remove(4, 1)
	if <-late[0].done; !errors.Is(late[0].err, ErrRemoved) || left != nil {
		t.Errorf("after the end: %v", late[0].err)
	}
}

// TestLostBatches: of the batches of earlier terms, those are proposed again that no snapshot can
// contain, in their order; the others fail.
func TestLostBatches(t *testing.T) {
	p := pendingBatches{batches: map[uint64]pendingBatch{}}
	batch := func(n, term uint64, change *raftpb.ConfChangeV2) *proposal {
		pr := &proposal{backlog: new(backlog), change: change, done: make(chan struct{}, 1)}
		p.add(n, term, 0, []*proposal{pr})
		return pr
	}
	replaced, doubtful := batch(1, 1, nil), batch(2, 2, nil)
	p.replaced(2, ErrLeaderChanged)
	third, fourth, change, current := batch(3, 3, nil), batch(4, 3, nil), batch(5, 3, new(raftpb.ConfChangeV2)), batch(6, 4, nil)
	if lost := p.outlived(4, ErrLeaderChanged); !slices.Equal(lost, []*proposal{third, fourth}) {
		t.Errorf("%d requests are proposed again, want batches 3 and 4", len(lost))
	}
	for name, pr := range map[string]*proposal{"before the snapshot": replaced, "of the snapshot's term": doubtful, "a change of the members": change} {
		select {
		case <-pr.done:
			if !errors.Is(pr.err, ErrLeaderChanged) {
				t.Errorf("%s: %v", name, pr.err)
			}
		default:
			t.Errorf("%s: still pending", name)
		}
	}
	if got, _ := p.remove(6, 1); !slices.Equal(got, []*proposal{current}) {
		t.Errorf("the batch of the present term: %v", got)
	}
}

// TestReads: a read continues when raft has responded and the index is applied, in either order.
func TestReads(t *testing.T) {
	rs := reads{asked: map[uint64][]*read{}}
	ask := func(id uint64, since time.Duration) *read {
		r := &read{done: make(chan error, 1), since: since}
		rs.ask(id, []*read{r})
		return r
	}
	state := func(r *read) string {
		select {
		case err := <-r.done:
			if err != nil {
				return err.Error()
			}
			return "go"
		default:
			return "waits"
		}
	}
	check := func(when string, r *read, want string) {
		t.Helper()
		if got := state(r); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	applied := uint64(10)
	index := func() uint64 { return applied }
	at, ahead, lost := ask(1, 1), ask(2, 1), ask(3, 1)
	check("asked", at, "waits")
	rs.confirm([]replica.Read{{ID: 1, Index: 10}, {ID: 2, Index: 12}, {ID: 99, Index: 1}}, index)
	check("index applied", at, "go")
	check("index ahead", ahead, "waits")
	rs.reached(11)
	check("one before", ahead, "waits")
	rs.reached(12)
	check("reached", ahead, "go")
	late := ask(4, 7)
	ids := rs.unanswered(5, ErrTimeout)
	check("never completed", lost, ErrTimeout.Error())
	check("requested late", late, "waits")
	if !slices.Equal(ids, []uint64{4}) {
		t.Errorf("to be requested again: %v", ids)
	}
	waiting := ask(5, 7)
	rs.confirm([]replica.Read{{ID: 5, Index: 50}}, index)
	rs.failAll(ErrStopped)
	check("requested at the end", late, ErrStopped.Error())
	check("waiting at the end", waiting, ErrStopped.Error())
}
