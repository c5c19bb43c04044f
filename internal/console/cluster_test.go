package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cairn/internal/metrics"
)

func TestCluster(t *testing.T) {
	b := newBench(t)
	b.put("/a")
	var got clusterResponse
	b.get("cluster", "{}", &got)
	if len(got.Members) != 1 || got.Quorum != (quorumJSON{1, 1, 1, 0}) || got.Leader != memberID || got.ClusterID != 7 {
		t.Fatalf("%+v", got)
	}
	m := got.Members[0]
	if m.Role != roleLeader || !m.Self || !m.Reachable || m.Revision != 2 || m.Lag != 0 || m.RaftApplied == 0 || m.Unknown != "" || len(m.Errors) != 0 {
		t.Errorf("%+v", m)
	}
	b.enableAuth()
	if status, _ := b.refused("cluster", "{}"); status != 401 {
		t.Errorf("without a session: %d", status)
	}
	b.get("cluster", "{}", &got, b.login("bob"))
	if status, _ := b.refused("plan", `{"change":"add"}`, b.login("bob")); status != 403 {
		t.Errorf("a plan for bob: %d", status)
	}
	var plan planResponse
	b.get("plan", `{"change":"add_learner"}`, &plan, b.login("root"))
	if !plan.Allowed || plan.After != got.Quorum {
		t.Errorf("%+v", plan)
	}
	for _, request := range []string{`{"change":"add","member":5}`, `{"change":"explode"}`, `{"change":"remove","member":"5"}`} {
		if status, _ := b.refused("plan", request, b.login("root")); status != 400 {
			t.Errorf("%s: %d", request, status)
		}
	}
}

// TestPlan: a cluster is written as a letter for each member: L the leader, f a follower, d one
// that is down, l a learner, u a voter that has not started, S the leader that serves the page.
func TestPlan(t *testing.T) {
	for _, c := range []struct {
		cluster, change string
		member          int // counted from 0
		after           quorumJSON
		allowed         bool
		codes           string // of the reason and the warnings
	}{
		{"L", changeAdd, 0, quorumJSON{2, 2, 1, -1}, true, "no_quorum_until_started"},
		{"L", changeRemove, 0, quorumJSON{0, 1, 0, -1}, false, "only_member"},
		{"Lf", changeAdd, 0, quorumJSON{3, 2, 2, 0}, true, ""},
		{"Lff", changeAdd, 0, quorumJSON{4, 3, 3, 0}, true, "even_voters"},
		{"Lfd", changeAdd, 0, quorumJSON{4, 3, 2, -1}, false, "unreachable_voters"},
		{"Lu", changeAdd, 0, quorumJSON{3, 2, 1, -1}, false, "unreachable_voters"},
		{"Lff", changeAddLearner, 0, quorumJSON{3, 2, 3, 1}, true, ""},
		{"Lfd", changeAddLearner, 0, quorumJSON{3, 2, 2, 0}, false, "unreachable_voters"},
		{"Lff", changeRemove, 1, quorumJSON{2, 2, 2, 0}, true, "no_failure_tolerated"},
		{"Lff", changeRemove, 0, quorumJSON{2, 2, 2, 0}, true, "no_failure_tolerated"},
		{"Sff", changeRemove, 0, quorumJSON{2, 2, 2, 0}, true, "serves_page no_failure_tolerated"},
		{"Lfd", changeRemove, 2, quorumJSON{2, 2, 2, 0}, true, "no_failure_tolerated"},
		{"Lfd", changeRemove, 1, quorumJSON{2, 2, 1, -1}, false, "would_lose_quorum"},
		{"Lffff", changeRemove, 1, quorumJSON{4, 3, 4, 1}, true, ""},
		{"Lffl", changeRemove, 3, quorumJSON{3, 2, 3, 1}, true, ""},
		{"Lffl", changePromote, 3, quorumJSON{4, 3, 4, 1}, true, "even_voters"},
		{"Lfl", changePromote, 2, quorumJSON{3, 2, 3, 1}, true, ""},
		{"Lff", changePromote, 1, quorumJSON{3, 2, 3, 1}, false, "not_learner"},
		{"Lfd", changeReplace, 2, quorumJSON{2, 2, 2, 0}, true, "no_failure_tolerated"},
		{"Lfd", changeReplace, 1, quorumJSON{2, 2, 1, -1}, false, "would_lose_quorum"},
		{"Lff", changeMoveLeader, 1, quorumJSON{3, 2, 3, 1}, true, ""},
		{"Lff", changeMoveLeader, 0, quorumJSON{3, 2, 3, 1}, false, "is_leader"},
		{"Lfd", changeMoveLeader, 2, quorumJSON{3, 2, 2, 0}, false, "unreachable"},
		{"Lfl", changeMoveLeader, 2, quorumJSON{2, 2, 2, 0}, false, "no_vote"},
		{"fdd", changeRemove, 1, quorumJSON{2, 2, 1, -1}, false, "would_lose_quorum"},
		{"fdd", changeMoveLeader, 0, quorumJSON{3, 2, 1, -1}, false, "no_quorum"},
	} {
		var members []memberJSON
		for i, letter := range c.cluster {
			m := memberJSON{ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i+1), Reachable: letter != 'd' && letter != 'u', Learner: letter == 'l', Self: letter == 'S'}
			m.Role = map[rune]string{'L': roleLeader, 'S': roleLeader, 'f': roleFollower, 'd': roleFollower, 'l': roleLearner, 'u': roleUnstarted}[letter]
			members = append(members, m)
		}
		p, err := planFor(members, planRequest{Change: c.change, Member: uint64(c.member + 1)})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		if p.Reason != nil {
			codes = append(codes, p.Reason.Code)
		}
		for _, w := range p.Warnings {
			codes = append(codes, w.Code)
		}
		if got := strings.Join(codes, " "); p.After != c.after || p.Allowed != c.allowed || got != c.codes || p.Allowed != (p.Reason == nil) || len(p.Steps) == 0 {
			t.Errorf("%s: %s of member %d: allowed %v, after %+v, %q; want %v, %+v, %q", c.cluster, c.change, c.member, p.Allowed, p.After, got, c.allowed, c.after, c.codes)
		}
	}
}

// TestHandOver: the leader hands over to a voter that is reachable before it is removed.
func TestHandOver(t *testing.T) {
	members := []memberJSON{
		{ID: 1, Role: roleLeader, Reachable: true},
		{ID: 2, Role: roleFollower},
		{ID: 3, Role: roleLearner, Learner: true, Reachable: true},
		{ID: 4, Role: roleFollower, Reachable: true},
	}
	for _, c := range []struct {
		change    string
		member    uint64
		successor uint64
		steps     string
	}{
		{changeRemove, 1, 4, "hand_over remove"},
		{changeReplace, 1, 4, "hand_over remove add_learner start promote"},
		{changeRemove, 2, 0, "remove"},
		{changeReplace, 4, 0, "remove add_learner start promote"},
	} {
		p, err := planFor(members, planRequest{Change: c.change, Member: c.member})
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, s := range p.Steps {
			steps = append(steps, s.Code)
		}
		if got := strings.Join(steps, " "); p.Successor != c.successor || got != c.steps {
			t.Errorf("%s of member %d: successor %d, steps %s; want %d, %s", c.change, c.member, p.Successor, got, c.successor, c.steps)
		}
	}
}

func TestStats(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	meters := metrics.New(9)
	b := newBench(t, func(o *Options) { o.Now = func() time.Time { return now }; o.Metrics = meters })
	meters.SetState(b.m.MetricsState)
	s := b.console.samples
	s.take()
	for i := range 400 {
		now = now.Add(10 * time.Second)
		for range i % 3 {
			meters.LogFsync.Observe(0.003)
		}
		s.take()
	}
	var all, late statsResponse
	b.get("stats", "{}", &all)
	if len(all.Samples) != samplesMax || len(all.Samples[0]) != len(series)+1 || len(all.Series) != len(series) {
		t.Fatalf("%d samples of %d values", len(all.Samples), len(all.Samples[0]))
	}
	b.get("stats", fmt.Sprintf(`{"since":%d}`, now.Add(-25*time.Second).UnixMilli()), &late)
	if len(late.Samples) != 3 || late.Now != now.UnixMilli() {
		t.Errorf("%d samples of the last 25 s", len(late.Samples))
	}
	for i, name := range all.Series {
		newest, before := late.Samples[2][i+1], late.Samples[1][i+1]
		switch name {
		case "fsync_p99": // within the bucket from 2 to 4 ms; unknown in an interval without one
			if newest != nil && before != nil {
				t.Errorf("fsync_p99 %v and %v, want one of them unknown or both in the bucket", newest, before)
			}
			for _, v := range []any{newest, before, late.Samples[0][i+1]} {
				if n, ok := v.(float64); ok && (n < 2 || n > 4) {
					t.Errorf("fsync_p99 of %v ms, want 2 to 4", n)
				}
			}
		case "revision":
			if newest != 1.0 {
				t.Errorf("revision %v", newest)
			}
		case "leases":
			if newest != nil {
				t.Errorf("leases %v: they are counted although no page shows them", newest)
			}
		}
	}
	now = now.Add(10 * time.Second)
	s.take() // a page has requested samples
	late = statsResponse{}
	b.get("stats", fmt.Sprintf(`{"since":%d}`, now.Add(-time.Second).UnixMilli()), &late)
	for i, name := range late.Series {
		if name == "leases" && late.Samples[0][i+1] != 0.0 {
			t.Errorf("leases %v while a page shows them", late.Samples[0][i+1])
		}
	}
	b.enableAuth()
	if status, _ := b.refused("stats", "{}"); status != 401 {
		t.Errorf("without a session: %d", status)
	}
	b.get("stats", "{}", &all, b.login("bob"))
}

// BenchmarkSample measures one sample, of which there are six a minute.
func BenchmarkSample(b *testing.B) {
	bench := newBench(b)
	for b.Loop() {
		bench.console.samples.take()
	}
}
