package sim

import (
	"fmt"
	"testing"

	"cairn/check"
	"cairn/internal/membership"
	"cairn/internal/replica"
)

// The tests of this file are named after issues of etcd whose failures must not occur here;
// docs/reliability.md lists them.

// TestIssue13766 cuts the power under load, at syncs of the log and of the state: data and applied
// index must stay consistent.
func TestIssue13766(t *testing.T) {
	crashes := 0
	for seed := uint64(1); seed <= 3; seed++ {
		out := Run(Case{Seed: seed, Members: 1, Only: []string{"kv", "txn"}})
		if out.Err != nil {
			t.Error(out.Report())
		}
		crashes += out.Stats.Crashes
	}
	if crashes == 0 {
		t.Error("the power was never cut")
	}
	for seed := uint64(1); ; seed++ {
		if Run(Case{Seed: seed, Members: 1, Only: []string{"kv", "txn"}, Bug: "applied index outside of the batch"}).Err != nil {
			return
		}
		if seed == 20 {
			t.Fatal("the failure itself is not found")
		}
	}
}

// TestIssue14370: writes acknowledged by a single member survive an immediate power failure.
func TestIssue14370(t *testing.T) {
	play(t, 1, func(s *script) {
		m := s.members[0]
		for i := range 5 {
			put := s.must(m, putOf("k", fmt.Sprint(i)))
			m.powerCut()
			m.start()
			got := s.must(m, getOf("k"))
			if len(got.Range.KVs) != 1 || got.Range.KVs[0].Value != fmt.Sprint(i) || got.Revision != put.Revision {
				t.Fatalf("put %d at revision %d; after the power cut %v", i, put.Revision, got)
			}
		}
	})
}

// TestIssue15069: a torn last record of the log loses only unacknowledged writes.
func TestIssue15069(t *testing.T) {
	play(t, 1, func(s *script) {
		m := s.members[0]
		for i := range 8 {
			s.must(m, putOf("k", fmt.Sprint(i)))
			how := torn
			m.cut = &how
			s.ask(m, putOf("lost", fmt.Sprintf("lost.%d", i)))
			if m.up {
				t.Fatal("the power was not cut")
			}
			m.start()
			if got := s.must(m, getOf("k")); got.Range.KVs[0].Value != fmt.Sprint(i) {
				t.Fatalf("after a torn record: %v", got)
			}
		}
	})
}

// TestIssue17780: the revision does not decrease when the power is cut around a compaction that
// removes the newest revisions, which are deletes.
func TestIssue17780(t *testing.T) {
	play(t, 1, func(s *script) {
		m := s.members[0]
		for i := range 4 {
			s.must(m, putOf("a", fmt.Sprint("a", i)))
			s.must(m, putOf("b", fmt.Sprint("b", i)))
			last := s.must(m, check.Request{Delete: &check.Delete{Key: "a", End: "c"}})
			s.must(m, check.Request{Compact: &check.Compact{Revision: last.Revision}})
			if i%2 == 0 {
				if _, err := m.machine.Sweep(); err != nil {
					t.Fatal(err)
				}
				m.flush()
			}
			m.powerCut()
			m.start()
			if got := s.must(m, getOf("a")); got.Revision != last.Revision || len(got.Range.KVs) != 0 {
				t.Fatalf("deleted at revision %d; after the power cut %v", last.Revision, got)
			}
		}
	})
}

// TestIssue18799 (and 18667, 21432): a transaction that reads a compacted or a future revision
// changes nothing, on no member, also when the read follows a write; one that reads an available
// revision has the same effect everywhere.
func TestIssue18799(t *testing.T) {
	play(t, 3, func(s *script) {
		for i := range 4 {
			s.must(s.leader(), putOf("k", fmt.Sprint(i)))
		}
		s.must(s.leader(), check.Request{Compact: &check.Compact{Revision: 4}})
		txn := func(revision int64) check.Request {
			return check.Request{Txn: &check.Txn{Then: []check.Request{
				putOf("new", fmt.Sprint("at", revision)), {Range: &check.Range{Key: "k", Revision: revision}},
			}}}
		}
		for _, m := range s.members {
			for revision, want := range map[int64]string{2: check.ErrCompacted, 99: check.ErrFuture} {
				if resp, known := s.ask(m, txn(revision)); !known || resp.Err != want {
					t.Errorf("read of revision %d: %v", revision, resp)
				}
			}
			if got := s.must(m, getOf("new")); len(got.Range.KVs) != 0 || got.Revision != 5 {
				t.Fatalf("%s has %v", m.name, got)
			}
		}
		for _, m := range s.members {
			s.must(m, txn(4))
		}
		s.pass(second)
		s.compareAll()
	})
}

// TestIssue13933 (and 20650): a member that crashes while it receives successive snapshots has the
// old state or a new one.
func TestIssue13933(t *testing.T) {
	play(t, 3, func(s *script) {
		leader := s.leader()
		lagging := s.another(leader)
		for i := range 5 {
			s.isolate(lagging)
			for j := range 5 {
				s.must(leader, putOf("k", fmt.Sprintf("%d.%d", i, j)))
			}
			for _, m := range s.members {
				if m != lagging && (!m.flush() || m.r.Truncate(replica.Keep{}) != nil) {
					t.Fatal("the log was not truncated")
				}
			}
			before := s.stats.Snapshots
			s.rejoin()
			if i%2 == 1 {
				s.pass(300 * millisecond)
				lagging.powerCut()
				lagging.start()
			}
			s.pass(5 * second)
			if s.stats.Snapshots == before {
				t.Fatalf("no snapshot was installed\n%s", s.trace)
			}
			if got := s.must(lagging, check.Request{Range: &check.Range{Key: "k", Serializable: true}}); got.Range.KVs[0].Value != fmt.Sprintf("%d.4", i) {
				t.Errorf("after a snapshot: %v", got)
			}
		}
	})
}

// TestIssue15247 (and 12528): a leader that was paused, and is not aware of its successor, revokes
// no lease that was renewed meanwhile.
func TestIssue15247(t *testing.T) {
	play(t, 3, func(s *script) {
		old := s.leader()
		s.must(old, check.Request{Lease: &check.Lease{Do: check.Grant, ID: 7, TTL: 6}})
		s.must(old, check.Request{Put: &check.Put{Key: "l", Value: "1", Lease: 7}})
		old.pausedUntil = s.now + 7*second
		for range 12 {
			s.pass(second / 2)
			s.must(s.another(old), check.Request{Lease: &check.Lease{Do: check.Renew, ID: 7}})
		}
		s.pass(3 * second) // the old leader continues, and considers the lease expired
		if got := s.must(s.another(old), getOf("l")); len(got.Range.KVs) != 1 {
			t.Errorf("the key of a renewed lease was deleted: %v", got)
		}
	})
}

// TestIssue13508: a change of leadership does not restart the TTL of leases.
func TestIssue13508(t *testing.T) {
	play(t, 3, func(s *script) {
		s.must(s.leader(), check.Request{Lease: &check.Lease{Do: check.Grant, ID: 7, TTL: 10}})
		s.must(s.leader(), check.Request{Put: &check.Put{Key: "l", Value: "1", Lease: 7}})
		granted := s.now
		for range 3 {
			s.pass(2 * second)
			s.moveLeader(&fault{leader: true})
			s.pass(second)
			s.leader()
		}
		for s.now < granted+14*second {
			if got := s.must(s.leader(), getOf("l")); len(got.Range.KVs) == 0 {
				if s.now < granted+9*second {
					t.Errorf("a lease of 10 s ended after %d ms", (s.now-granted)/millisecond)
				}
				return
			}
			s.pass(second / 4)
		}
		t.Errorf("a lease of 10 s is there after %d ms and three changes of leadership", (s.now-granted)/millisecond)
	})
}

// TestIssue20418 (and 21378): a leader that was paused while another one was elected serves no read
// from its stale state.
func TestIssue20418(t *testing.T) {
	play(t, 3, func(s *script) {
		old := s.leader()
		s.must(old, putOf("k", "before"))
		old.pausedUntil = s.now + 8*second
		var got []check.Response
		for range 5 {
			s.client.ask(old, getOf("k"), func(resp *check.Response, known bool) {
				if known {
					got = append(got, *resp)
				}
			})
		}
		s.pass(4 * second)
		s.must(s.another(old), putOf("k", "after"))
		for range 30 {
			s.pass(200 * millisecond)
			if resp, known := s.ask(old, getOf("k")); known && resp.Err == "" && resp.Range.KVs[0].Value != "after" {
				t.Fatalf("a stale read: %v", resp)
			}
		}
	})
}

// TestIssue19557 (and 20793, 20967): a promoted member is a voter, and a removed one is none, after
// restarts and after snapshots, in raft's configuration and in member lists.
func TestIssue19557(t *testing.T) {
	play(t, 3, func(s *script) {
		leader := s.leader()
		joined := s.join(s.rng, true)
		s.must(leader, check.Request{Member: &check.Member{Do: check.MemberAddLearner, ID: int64(joined.id), URL: joined.name}})
		s.pass(3 * second)
		s.must(leader, check.Request{Member: &check.Member{Do: check.MemberPromote, ID: int64(joined.id)}})
		removed := s.another(leader)
		s.must(leader, check.Request{Member: &check.Member{Do: check.MemberRemove, ID: int64(removed.id)}})
		s.pass(2 * second)
		verify := func(when string) {
			for _, m := range s.members {
				if !m.up || m == removed {
					continue
				}
				record, ok := membership.Find(m.machine.Members(), joined.id)
				if !ok || record.Learner {
					t.Errorf("%s: %s shows the promoted member as %+v, %t", when, m.name, record, ok)
				}
				if _, ok := membership.Find(m.machine.Members(), removed.id); ok || !m.machine.Removed(removed.id) {
					t.Errorf("%s: %s knows the removed member", when, m.name)
				}
				if voters := m.machine.ConfState().GetVoters(); len(voters) != 3 || len(m.machine.ConfState().GetLearners()) != 0 {
					t.Errorf("%s: %s counts the votes of %v", when, m.name, voters)
				}
			}
		}
		verify("at once")
		for _, m := range s.members {
			if m.up && m != removed {
				m.powerCut()
				m.start()
			}
		}
		s.pass(4 * second)
		verify("after a power cut everywhere")
		leader = s.leader()
		lagging := s.another(leader)
		if lagging == removed {
			t.Fatal("a removed member runs")
		}
		s.isolate(lagging)
		s.must(leader, putOf("k", "v"))
		for _, m := range s.members {
			if m.up && m != lagging && (!m.flush() || m.r.Truncate(replica.Keep{}) != nil) {
				t.Fatal("the log was not truncated")
			}
		}
		before := s.stats.Snapshots
		s.rejoin()
		s.pass(5 * second)
		if s.stats.Snapshots == before {
			t.Error("no snapshot was installed")
		}
		verify("after a snapshot")
	})
}

// TestLastOfTwo: the last of two members knows after a power failure that it is alone. Raft's
// commit index is not synced, so the state must have it.
func TestLastOfTwo(t *testing.T) {
	play(t, 2, func(s *script) {
		leader := s.leader()
		removed := s.another(leader)
		s.must(leader, check.Request{Member: &check.Member{Do: check.MemberRemove, ID: int64(removed.id)}})
		for !removed.left {
			s.pass(millisecond)
		}
		leader.powerCut()
		s.pass(2 * second) // the other one never returns
		leader.start()
		s.must(leader, putOf("k", "v"))
	})
}
