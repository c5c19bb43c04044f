package grpcproxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// renewalFresh is the greatest age of a renewal whose result is returned to a further request;
	// it is less for short leases.
	renewalFresh = time.Second
	// renewalTries is the number of attempts to reach a member, in total longer than an election.
	renewalTries = 60
	renewalPause = 100 * time.Millisecond
	onceTimeout  = 5 * time.Second // of a renewal over a separate stream
)

// renewal is a renewal that has been sent, or is about to be.
type renewal struct {
	done []renewed // the requests that it serves
	// the lease was revoked after these requests; the requests after that must not get its result
	revoked bool
	later   []renewed // requests after the revocation
}

// renewed is called with the result of a renewal, or with the error that prevented it.
type renewed func(*pb.LeaseKeepAliveResponse, error)

// renewers has a renewer for each token: the cluster checks the permissions of the token's user.
type renewers struct {
	ctx    context.Context
	client *clientv3.Client

	mu      sync.Mutex // guards byToken
	byToken map[string]*renewer
}

// renewersMax is the number of tokens above which the renewers that are idle are removed.
const renewersMax = 1024

func newRenewers(ctx context.Context, client *clientv3.Client) *renewers {
	return &renewers{ctx: ctx, client: client, byToken: map[string]*renewer{}}
}

// of returns the renewer for the token of a call.
func (rs *renewers) of(call context.Context) *renewer {
	md, _ := metadata.FromIncomingContext(call)
	ctx, token := upstreamContext(rs.ctx, md, false)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.byToken[token]
	if r != nil {
		return r
	}
	if len(rs.byToken) >= renewersMax {
		for token, r := range rs.byToken {
			if r.isIdle() {
				delete(rs.byToken, token)
			}
		}
	}
	r = &renewer{ctx: ctx, client: rs.client, waiting: map[int64]*renewal{}, fresh: map[int64]*freshRenewal{}, wake: make(chan struct{}, 1)}
	rs.byToken[token] = r
	return r
}

// forget is called when a lease was revoked: later requests must not get the result of a renewal
// before that.
func (rs *renewers) forget(id int64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.byToken {
		r.forget(id)
	}
}

// renewer renews leases over one stream to the cluster.
type renewer struct {
	ctx    context.Context // with the token
	client *clientv3.Client

	mu      sync.Mutex // guards the fields below
	waiting map[int64]*renewal
	fresh   map[int64]*freshRenewal
	queue   []int64 // not sent yet
	wake    chan struct{}
	running bool
}

// freshRenewal is the last renewal of a lease.
type freshRenewal struct {
	resp *pb.LeaseKeepAliveResponse
	at   time.Time
}

func (r *renewer) isIdle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.running
}

// renew renews a lease, together with concurrent requests for the same lease, and calls done, on
// any goroutine.
func (r *renewer) renew(id int64, done renewed) {
	r.mu.Lock()
	if f := r.fresh[id]; f != nil && f.resp.TTL > 1 {
		age := time.Since(f.at)
		if age < min(renewalFresh, time.Duration(f.resp.TTL)*time.Second/10) {
			r.mu.Unlock()
			// the minimum remaining TTL
			done(&pb.LeaseKeepAliveResponse{Header: f.resp.Header, ID: id, TTL: f.resp.TTL - int64(age/time.Second) - 1}, nil)
			return
		}
	}
	switch under := r.waiting[id]; {
	case under == nil:
		r.sendLocked(id, done)
	case under.revoked:
		under.later = append(under.later, done)
	default:
		under.done = append(under.done, done)
	}
	r.mu.Unlock()
}

// sendLocked queues a renewal for requests.
func (r *renewer) sendLocked(id int64, done ...renewed) {
	r.waiting[id] = &renewal{done: done}
	r.queue = append(r.queue, id)
	if !r.running {
		r.running = true
		go r.run()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *renewer) forget(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fresh, id)
	if under := r.waiting[id]; under != nil {
		under.revoked = true
	}
}

// run sends renewals over one stream after the other until no request waits.
func (r *renewer) run() {
	for tries := 1; ; tries++ {
		progress, err := r.stream()
		if progress {
			tries = 1
		}
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.running = false
			clear(r.fresh)
			r.mu.Unlock()
			return
		}
		if tries > renewalTries || r.ctx.Err() != nil {
			waiting := r.waiting
			r.waiting, r.queue, r.running = map[int64]*renewal{}, nil, false
			r.mu.Unlock()
			for _, under := range waiting {
				under.fail(err)
			}
			return
		}
		if isRefusal(err) {
			r.mu.Unlock()
			r.renewEach(err)
			continue
		}
		// renewals without a response are sent again: renewing twice is harmless
		r.queue = r.queue[:0]
		for id := range r.waiting {
			r.queue = append(r.queue, id)
		}
		r.mu.Unlock()
		select {
		case <-time.After(renewalPause):
		case <-r.ctx.Done():
		}
	}
}

// isRefusal reports whether the cluster has refused a renewal: sending it again would not help.
func isRefusal(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// renewEach renews the leases that wait over a stream each, after one of them was refused: a
// refusal ends the stream, and does not name the lease.
func (r *renewer) renewEach(refusal error) {
	r.mu.Lock()
	ids := make([]int64, 0, len(r.waiting))
	for id := range r.waiting {
		ids = append(ids, id)
	}
	r.queue = nil
	r.mu.Unlock()
	for _, id := range ids {
		err := refusal
		if len(ids) > 1 {
			var resp *pb.LeaseKeepAliveResponse
			if resp, err = r.once(id); err == nil {
				r.complete(resp)
				continue
			}
		}
		r.mu.Lock()
		under := r.waiting[id]
		if isRefusal(err) {
			delete(r.waiting, id)
		} else {
			under = nil
			r.queue = append(r.queue, id)
		}
		r.mu.Unlock()
		if under != nil {
			under.fail(err)
		}
	}
}

// once renews a lease over a separate stream.
func (r *renewer) once(id int64) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithTimeout(r.ctx, onceTimeout)
	defer cancel()
	s, err := pb.NewLeaseClient(r.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s.Recv() // has the error if Send returns io.EOF
}

// fail passes an error to all requests of a renewal.
func (w *renewal) fail(err error) {
	for _, done := range append(w.done, w.later...) {
		done(nil, err)
	}
}

// idleStream is the time after which a stream without renewals is closed.
const idleStream = 30 * time.Second

// stream sends renewals until the stream breaks or has been idle. It reports whether any renewal
// succeeded.
func (r *renewer) stream() (answered bool, err error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	s, err := pb.NewLeaseClient(r.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return false, err
	}
	var last error
	var progress bool // both are read after received is closed
	received := make(chan struct{})
	go func() {
		defer close(received)
		for {
			resp, err := s.Recv()
			if err != nil {
				last = err
				return
			}
			progress = true
			r.complete(resp)
		}
	}()
	idle := time.NewTicker(idleStream)
	defer idle.Stop()
	used := true
	for {
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		for _, id := range queue {
			used = true
			if s.Send(&pb.LeaseKeepAliveRequest{ID: id}) != nil {
				<-received // has the error
				return progress, last
			}
		}
		select {
		case <-r.wake:
		case <-received:
			return progress, last
		case <-ctx.Done():
			<-received
			return progress, status.FromContextError(ctx.Err()).Err()
		case <-idle.C:
			r.mu.Lock()
			unused := !used && len(r.waiting) == 0
			used = false
			r.mu.Unlock()
			if unused {
				cancel()
				<-received
				return progress, status.Error(codes.Unavailable, "no renewal was answered")
			}
		}
	}
}

// complete passes a response to the requests that it serves.
func (r *renewer) complete(resp *pb.LeaseKeepAliveResponse) {
	r.mu.Lock()
	under := r.waiting[resp.ID]
	delete(r.waiting, resp.ID)
	switch {
	case under == nil: // a renewal that was sent twice
	case len(under.later) > 0:
		r.sendLocked(resp.ID, under.later...)
	}
	if resp.TTL > 0 && under != nil && !under.revoked {
		r.fresh[resp.ID] = &freshRenewal{resp, time.Now()}
	} else {
		delete(r.fresh, resp.ID)
	}
	r.mu.Unlock()
	if under == nil {
		return
	}
	for _, done := range under.done {
		done(resp, nil)
	}
}
