package v3cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"cairn/cmd/etcdctl/internal/cli"
)

// errNoAnswer means that a learner does not respond at its client URLs.
var errNoAnswer = errors.New("does not answer")

// The server promotes a learner whose raft index is at least learnerTenths tenths of the leader's.
const learnerTenths = 9

// statusOf returns the status of a member that answers with its own ID at one of its client URLs,
// or nil.
func statusOf(s *cli.Session, c *clientv3.Client, m *etcdserverpb.Member) *etcdserverpb.StatusResponse {
	for _, u := range m.ClientURLs {
		ctx, cancel := context.WithTimeout(s.Context, value(s.Flags.GetDuration("dial-timeout")))
		resp, err := statusNow(ctx, c, u)
		cancel()
		if err == nil && resp.GetHeader().GetMemberId() == m.ID {
			return resp
		}
	}
	return nil
}

// statusNow returns the status of the member at a client URL, or an error as soon as a connection
// to it fails. Client.Status instead tries to connect until ctx ends.
func statusNow(ctx context.Context, c *clientv3.Client, url string) (*etcdserverpb.StatusResponse, error) {
	conn, err := c.Dial(url)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{}, grpc.WaitForReady(false))
}

// learnerAnswers returns nil if a learner answers in the cluster, with nearly all entries of the
// raft log.
func learnerAnswers(s *cli.Session, c *clientv3.Client, members []*etcdserverpb.Member, learner *etcdserverpb.Member) error {
	if len(learner.ClientURLs) == 0 {
		return fmt.Errorf("learner %x %w: it has not been started", learner.ID, errNoAnswer)
	}
	own := statusOf(s, c, learner)
	if own == nil {
		return fmt.Errorf("learner %x %w at %s", learner.ID, errNoAnswer, strings.Join(learner.ClientURLs, ","))
	}
	for _, m := range members {
		if m.IsLearner {
			continue
		}
		voter := statusOf(s, c, m)
		switch {
		case voter == nil:
			continue
		case own.Header.GetClusterId() != voter.Header.GetClusterId():
			return fmt.Errorf("learner %x %w in this cluster: at %s is cluster %x", learner.ID, errNoAnswer, strings.Join(learner.ClientURLs, ","), own.Header.GetClusterId())
		case own.RaftIndex*10 < voter.RaftIndex*learnerTenths:
			return fmt.Errorf("learner %x is at raft index %d, member %x at %d", learner.ID, own.RaftIndex, m.ID, voter.RaftIndex)
		default:
			return nil
		}
	}
	return nil // the server's own check is enough
}

// warnPromotion warns before the promotion of a learner if the quorum then depends on it, or if the
// learner does not answer. As in etcd the server checks only how far the learner was.
func warnPromotion(ctx context.Context, s *cli.Session, c *clientv3.Client, id uint64) error {
	r, err := c.MemberList(ctx)
	if err != nil {
		return fail(exitError, err)
	}
	var learner *etcdserverpb.Member
	voters := 0
	for _, m := range r.Members {
		switch {
		case !m.IsLearner:
			voters++
		case m.ID == id:
			learner = m
		}
	}
	if learner == nil {
		return nil // the server refuses the promotion
	}
	if err := learnerAnswers(s, c, r.Members, learner); err != nil {
		fmt.Fprintf(s.Err, "warning: %v; a voter that does not run counts for the quorum\n", err)
	}
	if voters == 1 {
		fmt.Fprintf(s.Err, "the cluster has 1 voting member; with 2 it needs both: it serves no writes while one of them is down.\n")
	}
	return nil
}
