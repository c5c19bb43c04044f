package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"cairn/test/harness"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ids lists members' IDs.
func ids(members []*etcdserverpb.Member) (list []uint64) {
	for _, m := range members {
		list = append(list, m.ID)
	}
	slices.Sort(list)
	return list
}

// TestClusterFields adds a learner, promotes it, transfers leadership to another member, and
// removes the new one. Each response must have the members at that time.
func TestClusterFields(t *testing.T) {
	c := start(t)
	client := c.dial(c.all...)
	before, err := client.MemberList(c.ctx)
	must(t, err)
	fresh := &member{name: "n4", client: "http://" + free(t), peer: "http://" + free(t), log: &harness.Buffer{}}
	var added *clientv3.MemberAddResponse
	// Changes are refused as unhealthy until the members have been connected for some time.
	c.eventually("add a learner", func(ctx context.Context) (err error) {
		added, err = client.MemberAddAsLearner(ctx, []string{fresh.peer})
		return err
	})
	id := added.Member.ID
	if m := added.Member; m.ID == 0 || m.Name != "" || !m.IsLearner || !slices.Equal(m.PeerURLs, []string{fresh.peer}) || len(m.ClientURLs) != 0 {
		t.Errorf("added %v", m)
	}
	if want := append(ids(before.Members), id); len(added.Members) != 4 || !slices.Equal(ids(added.Members), slices.Sorted(slices.Values(want))) {
		t.Errorf("after the addition there are %v", added.Members)
	}
	_, err = client.MemberPromote(c.ctx, id)
	if !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
		t.Errorf("promotion of a learner that does not run: %v", err)
	}
	c.all = append(c.all, fresh)
	c.run(fresh, "ETCD_NAME=n4", "ETCD_INITIAL_ADVERTISE_PEER_URLS="+fresh.peer, "ETCD_INITIAL_CLUSTER="+c.peers+",n4="+fresh.peer, "ETCD_INITIAL_CLUSTER_STATE=existing")
	status := func(m *member) (found *clientv3.StatusResponse) {
		t.Helper()
		c.eventually("status of "+m.name, func(ctx context.Context) (err error) {
			found, err = c.dial(m).Status(ctx, m.client)
			return err
		})
		return found
	}
	if s := status(fresh); !s.IsLearner || s.Header.MemberId != id {
		t.Errorf("the learner reports %v", s)
	}
	var promoted *clientv3.MemberPromoteResponse
	c.eventually("promotion", func(ctx context.Context) (err error) {
		promoted, err = client.MemberPromote(ctx, id)
		return err
	})
	if i := slices.IndexFunc(promoted.Members, func(m *etcdserverpb.Member) bool { return m.ID == id }); i < 0 || promoted.Members[i].IsLearner {
		t.Errorf("after the promotion there are %v", promoted.Members)
	}

	leader := status(c.all[0]).Leader
	var from, to *member
	for _, m := range c.all[:3] {
		if status(m).Header.MemberId == leader {
			from = m
		} else {
			to = m
		}
	}
	if from == nil {
		t.Fatalf("the leader is %d, none of the first three", leader)
	}
	target := status(to).Header.MemberId
	_, err = c.dial(to).MoveLeader(c.ctx, target)
	if !errors.Is(err, rpctypes.ErrNotLeader) {
		t.Errorf("a follower moves the leadership: %v", err)
	}
	moved, err := c.dial(from).MoveLeader(c.ctx, target)
	must(t, err)
	if moved.Header.MemberId != leader {
		t.Errorf("moved by %v", moved.Header)
	}
	c.eventually("the new leader", func(ctx context.Context) error {
		s, err := c.dial(to).Status(ctx, to.client)
		if err == nil && s.Leader != target {
			err = fmt.Errorf("%d leads, want %d", s.Leader, target)
		}
		return err
	})

	var removed *clientv3.MemberRemoveResponse
	c.eventually("removal", func(ctx context.Context) (err error) {
		removed, err = client.MemberRemove(ctx, id)
		// an earlier attempt that timed out had been applied
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			removed, err = &clientv3.MemberRemoveResponse{Header: before.Header, Members: before.Members}, nil
		}
		return err
	})
	if !slices.Equal(ids(removed.Members), ids(before.Members)) {
		t.Errorf("after the removal there are %v", removed.Members)
	}
	for what, h := range map[string]*etcdserverpb.ResponseHeader{"add": added.Header, "promote": promoted.Header, "remove": removed.Header} {
		if h.GetClusterId() != before.Header.ClusterId || h.GetRaftTerm() == 0 || !slices.Contains(ids(before.Members), h.GetMemberId()) && h.GetMemberId() != id {
			t.Errorf("%s has the header %v", what, h)
		}
	}
	for _, linearizable := range []bool{true, false} {
		list, err := etcdserverpb.NewClusterClient(c.dial(to).ActiveConnection()).MemberList(c.ctx, &etcdserverpb.MemberListRequest{Linearizable: linearizable})
		must(t, err)
		if linearizable && !slices.Equal(ids(list.Members), ids(before.Members)) || len(list.Members) < 3 {
			t.Errorf("listed (linearizable: %t) %v", linearizable, list.Members)
		}
	}
}
