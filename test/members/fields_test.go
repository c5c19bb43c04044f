package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

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
	added := c.addLearner(client, fresh)
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
		if errors.Is(err, rpctypes.ErrMemberNotLearner) { // an earlier attempt that timed out had been applied
			var list *clientv3.MemberListResponse
			if list, err = client.MemberList(ctx); err == nil {
				promoted = &clientv3.MemberPromoteResponse{Header: list.Header, Members: list.Members}
			}
		}
		return err
	})
	if i := slices.IndexFunc(promoted.Members, func(m *etcdserverpb.Member) bool { return m.ID == id }); i < 0 || promoted.Members[i].IsLearner {
		t.Errorf("after the promotion there are %v", promoted.Members)
	}

	// A busy machine may elect another leader at any time: then the transfer starts again.
	var to *member
	c.eventually("transfer of the leadership", func(ctx context.Context) error {
		leader := status(c.all[0]).Leader
		var from *member
		for _, m := range c.all {
			if status(m).Header.MemberId == leader {
				from = m
			} else if m != fresh {
				to = m
			}
		}
		if from == nil {
			return fmt.Errorf("the leader is %d, which is no member", leader)
		}
		target := status(to).Header.MemberId
		if _, err := c.dial(to).MoveLeader(ctx, target); !errors.Is(err, rpctypes.ErrNotLeader) {
			return fmt.Errorf("a follower moves the leadership: %w", err)
		}
		moved, err := c.dial(from).MoveLeader(ctx, target)
		if err != nil {
			return err
		}
		if moved.Header.MemberId != leader {
			t.Errorf("moved by %v", moved.Header)
		}
		for next := c.dial(to); ; time.Sleep(20 * time.Millisecond) {
			s, err := next.Status(ctx, to.client)
			if err != nil || s.Leader == target {
				return err // the context's at the latest
			}
		}
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
