package v2http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/peer"
)

// Statistics has the statistics of the responding member.
type Statistics interface {
	// ID returns the ID of the member, Leader that of the leader, or 0.
	ID() uint64
	Leader() uint64
	// StartTime returns when the member started, LeaderSince since when it knows the present
	// leader.
	StartTime() time.Time
	LeaderSince() time.Time
	// Peers returns statistics of the traffic with the other members.
	Peers() []peer.Stats
	V2Counters() *machine.V2Counters
}

// Counters count the requests that a handler serves itself; writes are counted where they are
// applied. Both start at 0 with the process.
type Counters struct {
	Gets, RecursiveGets machine.Count
	Watches             atomic.Uint64 // requests to watch, streams and long polls
	Watchers            atomic.Int64  // of them, that wait now
}

// countGet counts the outcome of a read.
func (c *Counters) countGet(recursive bool, err error) {
	n := &c.Gets
	if recursive {
		n = &c.RecursiveGets
	}
	if err == nil {
		n.Success.Add(1)
	} else {
		n.Fail.Add(1)
	}
}

// serveStatsSelf serves statistics of this member. The counts of requests between members stay 0,
// as a member sends none to itself.
func (h *Handler) serveStatsSelf(w http.ResponseWriter, _ *http.Request) {
	type leaderInfo struct {
		Leader    string    `json:"leader"`
		Uptime    string    `json:"uptime"`
		StartTime time.Time `json:"startTime"`
	}
	var stats struct {
		Name        string     `json:"name"`
		ID          string     `json:"id"`
		State       string     `json:"state"`
		StartTime   time.Time  `json:"startTime"`
		LeaderInfo  leaderInfo `json:"leaderInfo"`
		RecvAppends uint64     `json:"recvAppendRequestCnt"`
		SendAppends uint64     `json:"sendAppendRequestCnt"`
	}
	id, leader := h.statistics.ID(), h.statistics.Leader()
	if me, ok := membership.Find(h.cluster.Members(), id); ok {
		stats.Name = me.Name
	}
	stats.ID, stats.State, stats.StartTime = fmt.Sprintf("%x", id), "StateFollower", h.statistics.StartTime()
	if id == leader {
		stats.State = "StateLeader"
	}
	stats.LeaderInfo.Leader, stats.LeaderInfo.Uptime = fmt.Sprintf("%x", leader), "0s"
	if since := h.statistics.LeaderSince(); !since.IsZero() {
		stats.LeaderInfo.Uptime, stats.LeaderInfo.StartTime = h.wall().Sub(since).String(), since
	}
	writeStats(w, stats)
}

// serveStatsLeader serves the leader's statistics of its followers. Only the leader has them.
func (h *Handler) serveStatsLeader(w http.ResponseWriter, _ *http.Request) {
	if h.statistics.Leader() != h.statistics.ID() {
		writeMessage(w, &message{http.StatusForbidden, "not current leader"})
		return
	}
	followers := map[string]followerStats{}
	for _, p := range h.statistics.Peers() {
		followers[fmt.Sprintf("%x", p.ID)] = followerOnWire(&p)
	}
	writeStats(w, struct {
		Leader    string                   `json:"leader"`
		Followers map[string]followerStats `json:"followers"`
	}{fmt.Sprintf("%x", h.statistics.ID()), followers})
}

// followerStats is a follower as the leader sees it; times are in milliseconds.
type followerStats struct {
	Latency struct {
		Current           float64 `json:"current"`
		Average           float64 `json:"average"`
		StandardDeviation float64 `json:"standardDeviation"`
		Minimum           float64 `json:"minimum"`
		Maximum           float64 `json:"maximum"`
	} `json:"latency"`
	Counts struct {
		Fail    uint64 `json:"fail"`
		Success uint64 `json:"success"`
	} `json:"counts"`
}

func followerOnWire(p *peer.Stats) (f followerStats) {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	f.Latency.Current, f.Latency.Average = ms(p.RoundTrip.Last), ms(p.RoundTrip.Average)
	f.Latency.StandardDeviation = ms(p.RoundTrip.StdDev)
	f.Latency.Minimum, f.Latency.Maximum = ms(p.RoundTrip.Min), ms(p.RoundTrip.Max)
	f.Counts.Success, f.Counts.Fail = p.SentMessages, p.Dropped+p.Failures
	return f
}

// serveStatsStore serves the counts of operations.
func (h *Handler) serveStatsStore(w http.ResponseWriter, _ *http.Request) {
	c := h.statistics.V2Counters()
	gets := func(of func(*machine.Count) *atomic.Uint64) uint64 {
		return of(&h.counters.Gets).Load() + of(&h.counters.RecursiveGets).Load()
	}
	writeStats(w, struct {
		GetsSuccess             uint64 `json:"getsSuccess"`
		GetsFail                uint64 `json:"getsFail"`
		SetsSuccess             uint64 `json:"setsSuccess"`
		SetsFail                uint64 `json:"setsFail"`
		DeleteSuccess           uint64 `json:"deleteSuccess"`
		DeleteFail              uint64 `json:"deleteFail"`
		UpdateSuccess           uint64 `json:"updateSuccess"`
		UpdateFail              uint64 `json:"updateFail"`
		CreateSuccess           uint64 `json:"createSuccess"`
		CreateFail              uint64 `json:"createFail"`
		CompareAndSwapSuccess   uint64 `json:"compareAndSwapSuccess"`
		CompareAndSwapFail      uint64 `json:"compareAndSwapFail"`
		CompareAndDeleteSuccess uint64 `json:"compareAndDeleteSuccess"`
		CompareAndDeleteFail    uint64 `json:"compareAndDeleteFail"`
		ExpireCount             uint64 `json:"expireCount"`
		Watchers                int64  `json:"watchers"`
	}{
		gets(func(n *machine.Count) *atomic.Uint64 { return &n.Success }), gets(func(n *machine.Count) *atomic.Uint64 { return &n.Fail }),
		c.Set.Success.Load(), c.Set.Fail.Load(),
		c.Delete.Success.Load(), c.Delete.Fail.Load(),
		c.Update.Success.Load(), c.Update.Fail.Load(),
		c.Create.Success.Load(), c.Create.Fail.Load(),
		c.CompareAndSwap.Success.Load(), c.CompareAndSwap.Fail.Load(),
		c.CompareAndDelete.Success.Load(), c.CompareAndDelete.Fail.Load(),
		c.Expire.Load(), h.counters.Watchers.Load(),
	})
}

// writeStats writes no line feed at the end, unlike the other paths.
func writeStats(w http.ResponseWriter, stats any) {
	body, err := json.Marshal(stats)
	if err != nil {
		writeMessage(w, err)
		return
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(body) // an error means that the client has disconnected
}
