package v3rpc

import (
	"fmt"
	"math"
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
	// The shortest of several times, since a busy machine may stop in each one but not in all.
	shortest := func(times int, do func(i int)) time.Duration {
		least := time.Duration(math.MaxInt64)
		for i := range times {
			begun := time.Now()
			do(i)
			least = min(least, time.Since(begun))
		}
		return least
	}
	oneWalk := shortest(5, func(int) {
		if first, _, err := s.firstOf(t.Context(), []byte("q/")); err != nil || string(first.Value) != "0" {
			t.Fatalf("leader %v, %v", first, err)
		}
	})
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
	const parts = 10
	took := shortest(parts, func(part int) {
		for i := part * reigns / parts; i < (part+1)*reigns/parts; i++ {
			leader(i)
			m.delete(t, fmt.Sprintf("q/%05d", i))
		}
	})
	leader(reigns)
	if took > reigns/parts*oneWalk/4 {
		t.Errorf("%d reads and reigns took %v, one walk over the queue %v", reigns/parts, took, oneWalk)
	}
}
