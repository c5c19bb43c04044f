package member

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"cairn/internal/version"
)

// Overview is the state of one member, for displays of the whole cluster.
type Overview struct {
	API             string        `json:"api"`   // version of etcd's API
	Cairn           string        `json:"cairn"` // version
	Start           time.Time     `json:"start"` // of the process
	Leader          uint64        `json:"leader"`
	Term            uint64        `json:"term"`
	Committed       uint64        `json:"committed"` // raft indexes
	Applied         uint64        `json:"applied"`
	Revision        int64         `json:"revision"`
	CompactRevision int64         `json:"compact_revision"`
	DBBytes         int64         `json:"db_bytes"`
	DBInUseBytes    int64         `json:"db_in_use_bytes"`
	QuotaBytes      int64         `json:"quota_bytes"`
	Failure         string        `json:"failure,omitempty"` // see Live
	Certificates    []Certificate `json:"certificates"`
}

// Certificate is a certificate that a member uses.
type Certificate struct {
	Role     string    `json:"role"`
	File     string    `json:"file"`
	NotAfter time.Time `json:"not_after"`
}

// Overviews returns the states of members, for displays of the cluster.
type Overviews struct{ member *Member }

// overviewPath is the path of the call that requests an Overview, as JSON.
const overviewPath = "member/overview"

// Overview returns the state of this member.
func (v Overviews) Overview() Overview {
	m := v.member
	state := m.MetricsState()
	_, term := m.RaftStatus()
	o := Overview{
		API: version.API, Cairn: version.Cairn, Start: m.start, Leader: m.Leader(), Term: term,
		Committed: state.ProposalsCommitted, Applied: state.ProposalsApplied, Revision: state.CurrentRevision, CompactRevision: state.CompactRevision,
		DBBytes: state.DBTotalBytes, DBInUseBytes: state.DBInUseBytes, QuotaBytes: max(state.QuotaBytes, 0), Certificates: []Certificate{},
	}
	if err := m.Live(); err != nil {
		o.Failure = err.Error()
	}
	if m.cfg.Certificates != nil {
		for _, c := range m.cfg.Certificates() {
			o.Certificates = append(o.Certificates, Certificate{Role: c.Role, File: c.File, NotAfter: c.NotAfter})
		}
	}
	return o
}

// OverviewOf returns the state of any member. A member of an earlier version does not return it.
func (v Overviews) OverviewOf(ctx context.Context, id uint64) (o Overview, err error) {
	if id == v.member.cfg.ID {
		return v.Overview(), nil
	}
	text, err := v.member.calls.Call(ctx, id, overviewPath, nil)
	if err != nil {
		return o, fmt.Errorf("request the state of member %x: %w", id, err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("request the state of member %x: %w", id, err)
	}
	return o, nil
}

func (v Overviews) serve(context.Context, uint64, []byte) ([]byte, error) {
	return json.Marshal(v.Overview())
}
