package v2http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/peer"
)

// cluster is a Cluster without a log.
type cluster struct {
	members  []membership.Member
	leader   uint64
	counters machine.V2Counters
	fail     error
	removed  uint64
}

// startTime is when the cluster's member started; its leader was elected 2 s later, and now is an
// hour after that.
var startTime = time.Date(2017, 4, 10, 11, 46, 45, 500, time.UTC)

func (c *cluster) Members() []membership.Member    { return c.members }
func (c *cluster) ID() uint64                      { return 0x8e9e05c52164694d }
func (c *cluster) Leader() uint64                  { return c.leader }
func (c *cluster) StartTime() time.Time            { return startTime }
func (c *cluster) V2Counters() *machine.V2Counters { return &c.counters }
func (c *cluster) UpdatePeerURLs(_ context.Context, id uint64, urls []string) error {
	if c.fail != nil {
		return c.fail
	}
	if err := membership.CheckPeerURLs(c.members, id, urls); err != nil {
		return err
	}
	for i := range c.members {
		if c.members[i].ID == id {
			c.members[i].PeerURLs = urls
			return nil
		}
	}
	return membership.ErrNotFound
}

// AddMember implements Cluster.
func (c *cluster) AddMember(_ context.Context, urls []string, _ bool) (membership.Member, error) {
	if c.fail != nil {
		return membership.Member{}, c.fail
	}
	if err := membership.CheckPeerURLs(c.members, 0, urls); err != nil {
		return membership.Member{}, err
	}
	m := membership.Member{ID: 0xadd, PeerURLs: urls}
	c.members = append([]membership.Member{m}, c.members...)
	return m, nil
}

// RemoveMember implements Cluster.
func (c *cluster) RemoveMember(_ context.Context, id uint64) error {
	switch _, ok := membership.Find(c.members, id); {
	case c.fail != nil:
		return c.fail
	case id == c.removed:
		return membership.ErrRemoved
	case !ok:
		return membership.ErrNotFound
	case len(c.members) == 1:
		return membership.ErrOnlyMember
	}
	c.members = slices.DeleteFunc(c.members, func(m membership.Member) bool { return m.ID == id })
	c.removed = id
	return nil
}

// Peers implements Cluster.
func (c *cluster) Peers() (stats []peer.Stats) {
	for _, m := range c.members {
		if m.ID != c.ID() {
			stats = append(stats, peer.Stats{
				ID: m.ID, SentMessages: 9, Dropped: 1, Failures: 2,
				RoundTrip: peer.Latency{Count: 3, Last: 1500 * time.Microsecond, Average: 2 * time.Millisecond, Min: time.Millisecond, Max: 3 * time.Millisecond},
			})
		}
	}
	return stats
}

func (c *cluster) LeaderSince() time.Time {
	if c.leader == 0 {
		return time.Time{}
	}
	return startTime.Add(2 * time.Second)
}

// TestCluster runs testdata/cluster: complete responses about members, machines and statistics. A
// block is a request,
//
//	METHOD PATH
//	[Content-Type: TYPE]
//	[BODY]
//
// after "member ID NAME PEERURL CLIENTURL" or "leader ID", which change the cluster.
func TestCluster(t *testing.T) {
	datadriven.Walk(t, "testdata/cluster", func(t *testing.T, path string) {
		s := newTree(t, func() kv.ClusterTime { return kv.ClusterTime(time.Second) })
		c := &cluster{leader: 0x8e9e05c52164694d, members: []membership.Member{{
			ID: 0x8e9e05c52164694d, Name: "default", PeerURLs: []string{"http://p:1"}, ClientURLs: []string{"http://c:1", "http://c:2"},
		}}}
		h := New(Options{Backend: s, Cluster: c, Statistics: c})
		h.wall = func() time.Time { return startTime.Add(time.Hour + 2*time.Second) }
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "leader":
				d.ScanArgs(t, "id", &c.leader)
			case "member":
				m := membership.Member{PeerURLs: []string{"http://q:1"}}
				d.ScanArgs(t, "id", &m.ID)
				c.members = append([]membership.Member{m}, c.members...)
			case "fail":
				c.fail = errors.New("disk full")
			case "count":
				c.counters.Set.Success.Add(1)
				c.counters.Create.Fail.Add(2)
				c.counters.Expire.Add(3)
			case "request":
				return play(t, h, d.Input)
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			return ""
		})
	})
}

func play(t *testing.T, h http.Handler, input string) string {
	head, body, _ := strings.Cut(input, "\n")
	method, target, _ := strings.Cut(head, " ")
	contentType := ""
	if rest, ok := strings.CutPrefix(body, "Content-Type: "); ok {
		contentType, body, _ = strings.Cut(rest, "\n")
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%d\n", resp.StatusCode)
	for _, name := range []string{"Allow", "Content-Type", "X-Etcd-Cluster-Id", "X-Etcd-Index"} {
		if v, ok := resp.Header[name]; ok {
			out += fmt.Sprintf("%s: %s\n", name, v[0])
		}
	}
	return out + fmt.Sprintf("%q\n", answer)
}
