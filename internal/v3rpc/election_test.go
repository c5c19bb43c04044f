package v3rpc

import (
	"fmt"
	"testing"
	"time"

	"cairn/internal/v3electionpb"
	"cairn/internal/watch"
)

// TestLeaderOfALongQueue reads the leader of an election with thousands of candidates again and
// again, while the leaders resign one after another. A read must not look at the whole queue.
func TestLeaderOfALongQueue(t *testing.T) {
	const candidates, reigns = 20_000, 100
	m := newLocalStore(t, watch.Limits{})
	s := m.server()
	s.queues.linger = queueLinger
	for i := range candidates {
		m.put(t, fmt.Sprintf("q/%05d", i), fmt.Append(nil, i))
	}
	whole := time.Now()
	for range 5 {
		if first, _, err := s.firstOf(t.Context(), []byte("q/")); err != nil || string(first.Value) != "0" {
			t.Fatalf("leader %v, %v", first, err)
		}
	}
	oneWalk := time.Since(whole) / 5
	leader := func(want int) {
		t.Helper()
		resp, err := s.electionLeader(t.Context(), &v3electionpb.LeaderRequest{Name: []byte("q")})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(resp.(*v3electionpb.LeaderResponse).Kv.Value); got != fmt.Sprint(want) {
			t.Fatalf("leader %s, want %d", got, want)
		}
	}
	leader(0) // loads the copy of the queue
	begun := time.Now()
	for i := range reigns {
		leader(i)
		m.delete(t, fmt.Sprintf("q/%05d", i))
	}
	leader(reigns)
	if took := time.Since(begun); took > reigns*oneWalk/4 {
		t.Errorf("%d reads and reigns took %v, one walk over the queue %v", reigns, took, oneWalk)
	}
}
