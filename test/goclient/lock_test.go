package goclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/internal/v3electionpb"
	"cairn/internal/v3lockpb"
	"cairn/test/harness"
)

func (f *fixture) call(ctx context.Context, method string, req, resp proto.Message) error {
	return f.ActiveConnection().Invoke(ctx, method, req, resp)
}

func (f *fixture) lock(ctx context.Context, name string, lease clientv3.LeaseID) (*v3lockpb.LockResponse, error) {
	resp := new(v3lockpb.LockResponse)
	return resp, f.call(ctx, "/v3lockpb.Lock/Lock", &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(lease)}, resp)
}

func (f *fixture) unlock(key []byte) {
	f.t.Helper()
	resp := new(v3lockpb.UnlockResponse)
	if err := f.call(f.ctx, "/v3lockpb.Lock/Unlock", &v3lockpb.UnlockRequest{Key: key}, resp); err != nil || resp.Header.Revision == 0 {
		f.t.Fatalf("unlock responds %v, %v", resp, err)
	}
}

// waiters waits until the queue has n keys.
func (f *fixture) waiters(name string, n int64) {
	f.t.Helper()
	harness.Await(f.t, fmt.Sprintf("%d keys below %s", n, name), func() bool {
		return f.get(name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly()).Count == n
	})
}

// TestLock: the service's locks and those that client libraries implement are the same.
func TestLock(t *testing.T) {
	f := start(t)
	lease := f.grant(60)
	first, err := f.lock(f.ctx, "l", lease)
	if err != nil || string(first.Key) != fmt.Sprintf("l/%x", int64(lease)) {
		t.Fatalf("lock responds %v, %v", first, err)
	}
	if kvs := f.get(string(first.Key)).Kvs; len(kvs) != 1 || kvs[0].Lease != int64(lease) || kvs[0].CreateRevision != first.Header.Revision {
		t.Errorf("the lock's key: %v", kvs)
	}
	if again, err := f.lock(f.ctx, "l", lease); err != nil || string(again.Key) != string(first.Key) {
		t.Errorf("the same lease again: %v, %v", again, err)
	}

	// A client's own mutex waits for the service's, and a call of the service for the client's.
	session, err := concurrency.NewSession(f.Client, concurrency.WithContext(f.ctx))
	if err != nil {
		t.Fatal(err)
	}
	mutex := concurrency.NewMutex(session, "l")
	if err := mutex.TryLock(f.ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("the client's mutex: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- mutex.Lock(f.ctx) }()
	f.waiters("l", 2)
	f.unlock(first.Key)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if _, err := f.chosen(-7, 60); err != nil {
		t.Fatal(err)
	}
	answers := make(chan *v3lockpb.LockResponse, 1)
	go func() {
		resp, err := f.lock(f.ctx, "l", -7)
		answers <- resp
		got <- err
	}()
	f.waiters("l", 2)
	if err := mutex.Unlock(f.ctx); err != nil {
		t.Fatal(err)
	}
	if resp, err := <-answers, <-got; err != nil || string(resp.Key) != "l/-7" {
		t.Fatalf("lock responds %v, %v", resp, err)
	}

	// A cancelled waiter leaves no key.
	other := f.grant(60)
	ctx, cancel := context.WithCancel(f.ctx)
	go func() {
		_, err := f.lock(ctx, "l", other)
		got <- err
	}()
	f.waiters("l", 2)
	cancel()
	if err := <-got; status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	f.waiters("l", 1)

	// A waiter whose lease ends gets an error.
	go func() {
		_, err := f.lock(f.ctx, "l", other)
		got <- err
	}()
	f.waiters("l", 2)
	if _, err := f.Revoke(f.ctx, other); err != nil {
		t.Fatal(err)
	}
	f.unlock([]byte("l/-7"))
	if err := <-got; err == nil || !strings.Contains(err.Error(), "mutex: session is expired") {
		t.Errorf("after the end of the lease: %v", err)
	}

	_, err = f.lock(f.ctx, "l", 12345)
	f.wantError("a lease that is not there", rpctypes.Error(err), rpctypes.ErrLeaseNotFound)
	resp, err := f.lock(f.ctx, "n", 0)
	if err != nil {
		t.Fatal(err)
	}
	if kvs := f.get(string(resp.Key)).Kvs; len(kvs) != 1 {
		t.Errorf("lock without a lease: %v", kvs)
	} else if ttl, err := f.TimeToLive(f.ctx, clientv3.LeaseID(kvs[0].Lease)); err != nil || ttl.GrantedTTL != 60 {
		t.Errorf("its lease: %v, %v", ttl, err)
	}
}

// TestElection runs an election in which the client library has a candidate, too.
func TestElection(t *testing.T) {
	f := start(t)
	const service = "/v3electionpb.Election/"
	leaderOf := func() (*v3electionpb.LeaderResponse, error) {
		resp := new(v3electionpb.LeaderResponse)
		return resp, f.call(f.ctx, service+"Leader", &v3electionpb.LeaderRequest{Name: []byte("e")}, resp)
	}
	if _, err := leaderOf(); status.Convert(err).Message() != "election: no leader" {
		t.Errorf("election without a leader: %v", err)
	}
	stream, err := f.ActiveConnection().NewStream(f.ctx, &grpc.StreamDesc{ServerStreams: true}, service+"Observe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&v3electionpb.LeaderRequest{Name: []byte("e")}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	hear := func(value string) {
		t.Helper()
		resp := new(v3electionpb.LeaderResponse)
		if err := stream.RecvMsg(resp); err != nil || string(resp.Kv.Value) != value || resp.Header.Revision < resp.Kv.ModRevision {
			t.Fatalf("observed %v, %v, want %s", resp, err, value)
		}
	}
	campaign := func(lease clientv3.LeaseID, value string) (*v3electionpb.LeaderKey, error) {
		resp := new(v3electionpb.CampaignResponse)
		err := f.call(f.ctx, service+"Campaign", &v3electionpb.CampaignRequest{Name: []byte("e"), Lease: int64(lease), Value: []byte(value)}, resp)
		return resp.Leader, err
	}
	proclaim := func(leader *v3electionpb.LeaderKey, value string) error {
		return f.call(f.ctx, service+"Proclaim", &v3electionpb.ProclaimRequest{Leader: leader, Value: []byte(value)}, new(v3electionpb.ProclaimResponse))
	}
	resign := func(leader *v3electionpb.LeaderKey) error {
		return f.call(f.ctx, service+"Resign", &v3electionpb.ResignRequest{Leader: leader}, new(v3electionpb.ResignResponse))
	}

	lease := f.grant(60)
	one, err := campaign(lease, "one")
	if err != nil || string(one.Key) != fmt.Sprintf("e/%x", int64(lease)) || one.Lease != int64(lease) || string(one.Name) != "e" {
		t.Fatalf("campaign responds %v, %v", one, err)
	}
	hear("one")
	if again, err := campaign(lease, "one more"); err != nil || !proto.Equal(again, one) {
		t.Errorf("the same lease again: %v, %v", again, err)
	}
	hear("one more")
	if err := proclaim(one, "uno"); err != nil {
		t.Fatal(err)
	}
	hear("uno")
	if l, err := leaderOf(); err != nil || string(l.Kv.Value) != "uno" || l.Kv.CreateRevision != one.Rev {
		t.Errorf("leader %v, %v", l, err)
	}

	session, err := concurrency.NewSession(f.Client, concurrency.WithContext(f.ctx))
	if err != nil {
		t.Fatal(err)
	}
	two := concurrency.NewElection(session, "e")
	won := make(chan error, 1)
	go func() { won <- two.Campaign(f.ctx, "two") }()
	f.waiters("e", 2)
	third := make(chan *v3electionpb.LeaderKey, 1)
	go func() {
		l, err := campaign(0, "three")
		third <- l
		won <- err
	}()
	f.waiters("e", 3)
	if err := resign(one); err != nil {
		t.Fatal(err)
	}
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	hear("two")
	if err := resign(one); err != nil {
		t.Errorf("resigning twice: %v", err)
	}
	if err := proclaim(one, "late"); status.Convert(err).Message() != "election: not leader" {
		t.Errorf("proclamation after a resignation: %v", err)
	}
	if err := two.Resign(f.ctx); err != nil {
		t.Fatal(err)
	}
	three := <-third
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	hear("three")
	if err := proclaim(nil, "x"); status.Convert(err).Message() != `"leader" field must be provided` {
		t.Errorf("proclamation without a leader key: %v", err)
	}
	if _, err := f.Revoke(f.ctx, clientv3.LeaseID(three.Lease)); err != nil {
		t.Fatal(err)
	}
	if _, err := leaderOf(); status.Convert(err).Message() != "election: no leader" {
		t.Errorf("after the end of the last lease: %v", err)
	}
}

// TestManyLockWaiters has thousands of calls wait for one lock on one connection. Other clients are
// served meanwhile and while the waiters leave, and the next waiter gets the lock.
func TestManyLockWaiters(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " reads the whole queue for each waiter")
	}
	const waiters = 3000
	f := start(t, "--max-concurrent-streams=10000")
	other, err := clientv3.New(clientv3.Config{Endpoints: []string{f.server.URL()}, Logger: zap.NewNop()})
	must(t, err)
	defer other.Close() //nolint:errcheck // the test is over
	held, err := f.lock(f.ctx, "l", f.grant(600))
	must(t, err)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	got := make(chan []byte, waiters)
	for range waiters {
		id := f.grant(600)
		go func() {
			if r, err := f.lock(ctx, "l", id); err == nil {
				got <- r.Key
			}
		}()
	}
	slowest := time.Duration(0)
	serveOthers := func(queue int) {
		for n := int64(-1); n != int64(queue); {
			began := time.Now()
			r, err := other.Get(f.ctx, "l/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			must(t, err)
			_, err = other.Put(f.ctx, "k", "v")
			must(t, err)
			n, slowest = r.Count, max(slowest, time.Since(began))
		}
	}
	serveOthers(waiters + 1)
	f.unlock(held.Key)
	<-got // the next waiter has the lock
	cancel()
	serveOthers(1) // the owner's key; the other waiters have left
	t.Logf("the slowest get and put with %d waiters took %v", waiters, slowest)
	if slowest > 30*time.Second {
		t.Errorf("a get and a put took %v with %d waiters", slowest, waiters)
	}
}
