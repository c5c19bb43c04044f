package console

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/member"
	"cairn/internal/membership"
)

// overviewTimeout is how long the cluster's page waits for the state of another member.
const overviewTimeout = 2 * time.Second

// Roles of members.
const (
	roleLeader    = "leader"
	roleFollower  = "follower"
	roleLearner   = "learner"
	roleUnstarted = "unstarted"
)

type memberJSON struct {
	ID             uint64     `json:"id,string"`
	Name           string     `json:"name"`
	PeerURLs       []string   `json:"peer_urls"`
	ClientURLs     []string   `json:"client_urls"`
	Role           string     `json:"role"`
	Learner        bool       `json:"learner"`
	Self           bool       `json:"self"`
	Reachable      bool       `json:"reachable"`
	ConnectedSince *time.Time `json:"connected_since,omitempty"`
	Version        string     `json:"version"`
	Alarms         []string   `json:"alarms"`
	Errors         []remark   `json:"errors"`
	// why the fields below are not known
	Unknown string `json:"unknown,omitempty"`

	Cairn           string               `json:"cairn,omitempty"`
	StartTime       *time.Time           `json:"start_time,omitempty"`
	Revision        int64                `json:"revision"`
	CompactRevision int64                `json:"compact_revision"`
	Term            uint64               `json:"term"`
	RaftIndex       uint64               `json:"raft_index"`
	RaftApplied     uint64               `json:"raft_applied"`
	Lag             int64                `json:"lag"` // entries; -1 unknown
	DBBytes         int64                `json:"db_bytes"`
	DBInUseBytes    int64                `json:"db_in_use_bytes"`
	QuotaBytes      int64                `json:"quota_bytes"`
	Certificates    []member.Certificate `json:"certificates"`
}

// quorumJSON is how many voters must be reachable, and are.
type quorumJSON struct {
	Voters    int `json:"voters"`
	Needed    int `json:"needed"`
	Reachable int `json:"reachable"`
	Tolerates int `json:"tolerates"` // further failures; negative without a quorum
}

func newQuorum(voters, reachable int) quorumJSON {
	needed := voters/2 + 1
	return quorumJSON{Voters: voters, Needed: needed, Reachable: reachable, Tolerates: reachable - needed}
}

type clusterResponse struct {
	ClusterID uint64       `json:"cluster_id,string"`
	Leader    uint64       `json:"leader,string"`
	Version   string       `json:"version"`
	Term      uint64       `json:"term"`
	Members   []memberJSON `json:"members"`
	Quorum    quorumJSON   `json:"quorum"`
}

// cluster returns the members and their states, as this member sees them.
func (c *call) cluster() (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	if err := c.identified(); err != nil {
		return nil, err
	}
	out := &clusterResponse{ClusterID: c.opts.ClusterID, Leader: c.member.Leader(), Version: c.member.ClusterVersion(), Members: c.records()}
	states := c.overviews()
	committed := uint64(0)
	for _, s := range states {
		committed, out.Term = max(committed, s.Committed), max(out.Term, s.Term)
	}
	for i := range out.Members {
		m := &out.Members[i]
		if s := states[m.ID]; s != nil {
			m.show(s, committed)
		} else {
			m.Unknown = "the member does not respond, or has an earlier version"
		}
	}
	out.Quorum = quorumOf(out.Members)
	return out, nil
}

// records returns the members without their states.
func (c *Console) records() []memberJSON {
	out := []memberJSON{}
	since := map[uint64]time.Time{}
	for _, p := range c.member.Peers() {
		since[p.ID] = p.ActiveSince
	}
	alarms := c.member.Alarms().List(alarm.None)
	leader, self := c.member.Leader(), c.member.ID()
	for _, record := range c.member.Members() {
		m := memberJSON{
			ID: record.ID, Name: record.Name, PeerURLs: notNil(record.PeerURLs), ClientURLs: notNil(record.ClientURLs), Learner: record.Learner,
			Role: roleOf(&record, leader), Self: record.ID == self, Reachable: record.ID == self, Version: record.Version,
			Alarms: []string{}, Errors: []remark{}, Lag: -1, Certificates: []member.Certificate{},
		}
		if at := since[record.ID]; !at.IsZero() {
			m.Reachable, m.ConnectedSince = true, &at
		}
		for _, a := range alarms {
			if a.Member == record.ID {
				m.Alarms = append(m.Alarms, a.Kind.String())
			}
		}
		out = append(out, m)
	}
	return out
}

func notNil(list []string) []string { return append([]string{}, list...) }

func roleOf(m *membership.Member, leader uint64) string {
	switch {
	case !m.Started():
		return roleUnstarted
	case m.ID == leader:
		return roleLeader
	case m.Learner:
		return roleLearner
	default:
		return roleFollower
	}
}

// overviews returns the states of the members that respond.
func (c *call) overviews() map[uint64]*member.Overview {
	ctx, cancel := context.WithTimeout(c.r.Context(), overviewTimeout)
	defer cancel()
	var (
		mu     sync.Mutex
		states = map[uint64]*member.Overview{}
		work   sync.WaitGroup
	)
	for _, m := range c.member.Members() {
		work.Go(func() {
			if state, err := c.member.OverviewOf(ctx, m.ID); err == nil {
				mu.Lock()
				defer mu.Unlock()
				states[m.ID] = &state
			}
		})
	}
	work.Wait()
	return states
}

// show adds the member's state; committed is the highest index that is known to be committed.
func (m *memberJSON) show(s *member.Overview, committed uint64) {
	m.Cairn, m.StartTime, m.Revision, m.CompactRevision = s.Cairn, &s.Start, s.Revision, s.CompactRevision
	m.Term, m.RaftIndex, m.RaftApplied, m.Lag = s.Term, s.Committed, s.Applied, int64(committed-s.Applied)
	m.DBBytes, m.DBInUseBytes, m.QuotaBytes = s.DBBytes, s.DBInUseBytes, s.QuotaBytes
	if s.Certificates != nil {
		m.Certificates = s.Certificates
	}
	if s.Failure != "" {
		m.Errors = append(m.Errors, remark{"failure", s.Failure})
	}
	if s.Leader == 0 {
		m.Errors = append(m.Errors, remark{"no_leader", "the member knows no leader"})
	}
}

func quorumOf(members []memberJSON) quorumJSON {
	voters, reachable := 0, 0
	for i := range members {
		if members[i].Learner {
			continue
		}
		voters++
		if members[i].Reachable && members[i].Role != roleUnstarted {
			reachable++
		}
	}
	return newQuorum(voters, reachable)
}

type permissionRequest struct {
	User string `json:"user"`
	Key  []byte `json:"key"`
	End  []byte `json:"range_end"`
}

// plan returns the effects that a change of the members would have, without making it.
func (c *call) plan() (any, error) {
	var in planRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	err := c.read(func(caller *auth.Caller) error { return auth.PermitRoot(caller.Subject) })
	if err != nil {
		return nil, err
	}
	out, err := planFor(c.records(), in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// moveLeader makes a member the leader. etcd's own request for it is served by the leader only, and
// the page speaks to one member.
func (c *call) moveLeader() (any, error) {
	var in struct {
		Member uint64 `json:"member,string"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	err := c.guard().Do(c.r.Context(), c.credentials(c.r), func(ctx context.Context, caller *auth.Caller) error {
		if err := auth.PermitRoot(caller.Subject); err != nil {
			return err
		}
		return c.member.RequestMove(ctx, in.Member)
	})
	if err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

func nameOf(m *memberJSON) string {
	if m.Name == "" {
		return fmt.Sprintf("%x", m.ID)
	}
	return fmt.Sprintf("%s (%x)", m.Name, m.ID)
}
