package v3rpc

import (
	"bytes"
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v3electionpb"
	"cairn/internal/watch"
)

const electionName = "v3electionpb.Election"

// electionService is v3electionpb.Election.
var electionService = grpc.ServiceDesc{
	ServiceName: electionName,
	HandlerType: (*any)(nil),
	Metadata:    "v3election.proto",
	Methods: []grpc.MethodDesc{
		{MethodName: "Campaign", Handler: call("/"+electionName+"/Campaign", (*server).campaign)},
		{MethodName: "Proclaim", Handler: call("/"+electionName+"/Proclaim", (*server).proclaim)},
		{MethodName: "Leader", Handler: call("/"+electionName+"/Leader", (*server).electionLeader)},
		{MethodName: "Resign", Handler: call("/"+electionName+"/Resign", (*server).resign)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Observe", Handler: observe, ServerStreams: true},
	},
}

// The errors of elections, in etcd's words.
var (
	errNotLeader  = errors.New("election: not leader")
	errNoLeader   = errors.New("election: no leader")
	errNoLeaderIn = errors.New(`"leader" field must be provided`)
)

// campaign serves Election.Campaign: it returns when the caller is the leader.
func (s *server) campaign(ctx context.Context, req *v3electionpb.CampaignRequest) (any, error) {
	var t *turn
	var resp *etcdserverpb.TxnResponse
	err := s.writeTurn(ctx, func() (err error) {
		t, resp, err = s.takeTurn(ctx, req.Name, req.Lease, req.Value)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		old := resp.Responses[0].GetResponseRange().Kvs[0]
		if !bytes.Equal(old.Value, req.Value) {
			if _, err := s.proclaimAs(ctx, t, req.Value); err != nil {
				s.leave(ctx, t)
				return nil, err
			}
		}
	}
	if err := s.await(ctx, t); err != nil {
		if ctx.Err() != nil {
			s.leave(ctx, t)
		}
		return nil, err
	}
	// The lease may have expired while its owner waited; then another candidate is the leader.
	own, _, err := s.lookUp(ctx, &etcdserverpb.RangeRequest{Key: t.key})
	if err != nil {
		return nil, err
	}
	if len(own) == 0 || own[0].CreateRevision != t.created {
		return nil, errNotLeader
	}
	return &v3electionpb.CampaignResponse{
		Header: resp.Header, Leader: &v3electionpb.LeaderKey{Name: req.Name, Key: t.key, Rev: t.created, Lease: t.lease},
	}, nil
}

// turnOf returns the turn of a leader's key.
func turnOf(l *v3electionpb.LeaderKey) (*turn, error) {
	if l == nil {
		return nil, errNoLeaderIn
	}
	return &turn{key: l.Key, lease: l.Lease, created: l.Rev}, nil
}

func (s *server) proclaim(ctx context.Context, req *v3electionpb.ProclaimRequest) (any, error) {
	t, err := turnOf(req.Leader)
	if err != nil {
		return nil, err
	}
	h, err := s.proclaimAs(ctx, t, req.Value)
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ProclaimResponse{Header: h}, nil
}

// proclaimAs changes the value of a turn's key, if the key still exists.
func (s *server) proclaimAs(ctx context.Context, t *turn, value []byte) (*etcdserverpb.ResponseHeader, error) {
	resp, err := s.transact(ctx, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{createdAt(t.key, t.created)},
		Success: []*etcdserverpb.RequestOp{putKey(t.key, value, t.lease)},
	})
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		return nil, errNotLeader
	}
	return resp.Header, nil
}

// resign serves Election.Resign: it deletes the leader's key. It is not an error if the key no
// longer exists.
func (s *server) resign(ctx context.Context, req *v3electionpb.ResignRequest) (any, error) {
	t, err := turnOf(req.Leader)
	if err != nil {
		return nil, err
	}
	resp, err := s.transact(ctx, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{createdAt(t.key, t.created)},
		Success: []*etcdserverpb.RequestOp{deleteKey(t.key)},
	})
	if err != nil {
		return nil, err
	}
	return &v3electionpb.ResignResponse{Header: resp.Header}, nil
}

func (s *server) electionLeader(ctx context.Context, req *v3electionpb.LeaderRequest) (any, error) {
	prefix := queueOf(req.Name)
	q := s.enter(prefix)
	defer s.leaveQueue(q)
	leader, h, err := s.leaderOf(ctx, q, prefix)
	if err != nil {
		return nil, err
	}
	if leader == nil {
		return nil, errNoLeader
	}
	return &v3electionpb.LeaderResponse{Header: h, Kv: leader}, nil
}

// leaderOf reads the first key of a queue, linearizably, on behalf of the caller; nil if the queue
// is empty. It takes the key from the copy of the queue, and looks whether it still exists: then no
// key was created before it, since the copy has all keys up to a later revision than that of its
// creation.
func (s *server) leaderOf(ctx context.Context, q *queue, prefix []byte) (*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	for seen := int64(0); ; {
		key, created, at, err := q.front(ctx, seen)
		if err != nil || key == "" {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			return s.firstOf(ctx, prefix)
		}
		// The permission that is needed is that to read the whole queue.
		first, h, err := s.lookUpIn(ctx, prefix, []byte(key))
		if err != nil {
			return nil, nil, err
		}
		if first != nil && first.CreateRevision == created {
			return first, h, nil
		}
		seen = at // the copy will see that the key was deleted
	}
}

// firstOf is leaderOf without a copy of the queue.
func (s *server) firstOf(ctx context.Context, prefix []byte) (*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	found, h, err := s.lookUp(ctx, ownerOf(prefix))
	if err != nil || len(found) == 0 {
		return nil, h, err
	}
	return found[0], h, nil
}

// lookUpIn reads one key, linearizably, for a caller with the permission to read all keys with a
// prefix. It returns nil if the key does not exist.
func (s *server) lookUpIn(ctx context.Context, prefix, key []byte) (found *mvccpb.KeyValue, h *etcdserverpb.ResponseHeader, err error) {
	if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
		return nil, nil, err
	}
	all := prefixRange(prefix)
	err = s.read(ctx, permitRange(kv.KeyRange{Key: all.Key, End: all.RangeEnd}), func() error {
		var keys mvcc.Collector
		sum, err := s.member.Requests.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: key}}, &keys)
		found, h = nil, s.header(sum.Revision).proto()
		if len(keys.Keys) > 0 {
			found = keyValue(&keys.Keys[0])
		}
		return err
	})
	return found, h, err
}

// observe serves Election.Observe: it sends every proclamation of every leader until the client
// disconnects.
func observe(srv any, stream grpc.ServerStream) error {
	s, req := srv.(*server), new(v3electionpb.LeaderRequest)
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	o := &observing{server: s, out: stream, queue: queueOf(req.Name)}
	for {
		q := s.enter(o.queue)
		err := o.reign(stream.Context(), q)
		s.leaveQueue(q)
		if err != nil {
			if errors.Is(err, watch.ErrClosed) {
				err = context.Canceled
			}
			return WireError(err)
		}
	}
}

// observing is one Observe call.
type observing struct {
	*server
	out   grpc.ServerStream
	queue []byte
}

// reign sends the proclamations of one leader, from the current one until the leader's key is
// deleted. Without a leader it waits for the next one.
func (o *observing) reign(ctx context.Context, q *queue) error {
	leader, h, err := o.leaderOf(ctx, q, o.queue)
	if err != nil {
		return err
	}
	if leader == nil {
		if leader, err = o.firstPut(ctx, h); leader == nil {
			return err
		}
	}
	if err := o.send(h, leader); err != nil {
		return err
	}
	f := o.follow(kv.KeyRange{Key: leader.Key}, h.Revision+1)
	defer f.close()
	for {
		events, err := o.permitted(ctx, f)
		if err != nil || events == nil {
			return err
		}
		for _, e := range events {
			if e.Type == kv.EventDelete {
				return nil
			}
			h.Revision = e.Revision()
			if err := o.send(h, eventKey(e)); err != nil {
				return err
			}
		}
	}
}

// firstPut waits until a key is put into the queue, and sets the header to that revision. It
// returns no key if the caller must read the queue again.
func (o *observing) firstPut(ctx context.Context, h *etcdserverpb.ResponseHeader) (*mvccpb.KeyValue, error) {
	r := prefixRange(o.queue)
	f := o.follow(kv.KeyRange{Key: r.Key, End: r.RangeEnd}, h.Revision+1)
	defer f.close()
	for {
		events, err := o.permitted(ctx, f)
		if err != nil || events == nil {
			return nil, err
		}
		for _, e := range events {
			if e.Type == kv.EventPut {
				h.Revision = e.Revision()
				return eventKey(e), nil
			}
		}
	}
}

// permitted waits for events, and returns them only if the caller may still read the queue.
func (o *observing) permitted(ctx context.Context, f *following) ([]*watch.Event, error) {
	events, err := f.next(ctx)
	if err != nil {
		return nil, err
	}
	r := prefixRange(o.queue)
	err = o.read(ctx, func(subject *auth.Subject) error {
		return machine.PermitRange(subject, kv.KeyRange{Key: r.Key, End: r.RangeEnd})
	}, func() error { return nil })
	return events, err
}

func (o *observing) send(h *etcdserverpb.ResponseHeader, leader *mvccpb.KeyValue) error {
	header := &etcdserverpb.ResponseHeader{ClusterId: h.ClusterId, MemberId: h.MemberId, Revision: h.Revision, RaftTerm: h.RaftTerm}
	return o.out.SendMsg(&v3electionpb.LeaderResponse{Header: header, Kv: leader})
}

// eventKey returns the key-value of an event.
func eventKey(e *watch.Event) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: e.Key, Value: e.Record.Value, CreateRevision: e.Record.CreateRevision, ModRevision: e.Revision(),
		Version: e.Record.Version, Lease: int64(e.Record.Lease),
	}
}
