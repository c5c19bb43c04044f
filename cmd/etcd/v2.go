package main

import (
	"context"
	"fmt"

	"cairn/internal/datadir"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/member"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// v2Member is a member as the v2 API sees it: a v2http.Backend.
type v2Member struct {
	*member.Member
	clusterID string
}

func newV2Member(m *member.Member, id *datadir.Identity) v2Member {
	return v2Member{Member: m, clusterID: fmt.Sprintf("%x", id.ClusterID)}
}

// ProposeV2 implements v2http.Backend.
func (m v2Member) ProposeV2(ctx context.Context, c *v2tree.Command) (v2tree.Result, error) {
	res, err := m.Propose(ctx, machine.KindV2, c.Append(nil))
	if err != nil {
		return v2tree.Result{}, err
	}
	return *res.V2, nil
}

// Read implements v2http.Backend.
func (m v2Member) Read() mvcc.Reading { return m.Keys().Reading() }

// Now implements v2http.Backend.
func (m v2Member) Now() kv.ClusterTime { return m.ClusterTime() }

// ClusterID implements v2http.Backend.
func (m v2Member) ClusterID() string { return m.clusterID }
