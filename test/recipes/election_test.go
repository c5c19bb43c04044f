package recipes

import (
	"errors"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// next returns the next value that an observer receives.
func (f *fixture) next(observed <-chan *clientv3.GetResponse) string {
	f.t.Helper()
	select {
	case resp, ok := <-observed:
		if !ok {
			f.t.Fatal("the observer's channel is closed")
		}
		return string(resp.Kvs[0].Value)
	case <-f.ctx.Done():
		f.t.Fatal("the observer receives nothing")
		return ""
	}
}

// TestElection elects three candidates one after the other: after a resignation, after the end of a
// session, and after its expiry.
func TestElection(t *testing.T) {
	f := start(t)
	lease, err := f.Grant(f.ctx, briefTTL)
	f.must("grant", err)
	brief, err := concurrency.NewSession(f.Client, concurrency.WithLease(lease.ID), concurrency.WithContext(f.ctx))
	f.must("session", err)
	sessions := []*concurrency.Session{f.session(60), brief, f.session(60), f.session(60)}
	names := []string{"ann", "bob", "cid", "dan"}
	elections := make([]*concurrency.Election, len(names))
	won := make([]chan error, len(names))
	observed := concurrency.NewElection(sessions[3], "office").Observe(f.ctx)
	for i, name := range names {
		elections[i], won[i] = concurrency.NewElection(sessions[i], "office"), make(chan error, 1)
		go func() { won[i] <- elections[i].Campaign(f.ctx, name) }()
		f.waiting("office/", int64(i)+1)
	}
	f.must("campaign", <-won[0])
	if got := f.next(observed); got != "ann" {
		t.Errorf("observed %q, want ann", got)
	}
	leader, err := elections[2].Leader(f.ctx)
	f.must("leader", err)
	if kv := leader.Kvs[0]; string(kv.Key) != elections[0].Key() || kv.CreateRevision != elections[0].Rev() || elections[0].Header().Revision == 0 {
		t.Errorf("the leader is %v, want %s since %d", kv, elections[0].Key(), elections[0].Rev())
	}
	f.must("proclaim", elections[0].Proclaim(f.ctx, "ann the first"))
	if got := f.next(observed); got != "ann the first" {
		t.Errorf("observed %q after a proclamation", got)
	}

	f.must("resign", elections[0].Resign(f.ctx))
	f.must("bob's campaign", <-won[1])
	if got := f.next(observed); got != "bob" {
		t.Errorf("observed %q, want bob", got)
	}
	if err := elections[0].Proclaim(f.ctx, "ann again"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
		t.Errorf("a proclamation after a resignation: %v", err)
	}
	brief.Orphan()
	f.must("cid's campaign, after bob's session expired", <-won[2])
	if got := f.next(observed); got != "cid" {
		t.Errorf("observed %q, want cid", got)
	}
	if err := elections[1].Proclaim(f.ctx, "bob again"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
		t.Errorf("a proclamation after the session's end: %v", err)
	}
	f.must("end of cid's session", sessions[2].Close())
	f.must("dan's campaign", <-won[3])
	if got := f.next(observed); got != "dan" {
		t.Errorf("observed %q, want dan", got)
	}
	f.must("resign", elections[3].Resign(f.ctx))
	if _, err := elections[3].Leader(f.ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("the leader of an empty office: %v", err)
	}
}

// TestElectionResumes resumes leadership by its key and revision, as a program does after its
// restart.
func TestElectionResumes(t *testing.T) {
	f := start(t)
	s := f.session(60)
	e := concurrency.NewElection(s, "office")
	f.must("campaign", e.Campaign(f.ctx, "before"))
	again := concurrency.ResumeElection(s, "office", e.Key(), e.Rev())
	f.must("proclaim", again.Proclaim(f.ctx, "after"))
	resp, err := e.Leader(f.ctx)
	f.must("leader", err)
	if kv := resp.Kvs[0]; string(kv.Value) != "after" || kv.CreateRevision != e.Rev() {
		t.Errorf("the leader is %v", kv)
	}
	f.must("resign", again.Resign(f.ctx))
	f.waiting("office/", 0)
}
