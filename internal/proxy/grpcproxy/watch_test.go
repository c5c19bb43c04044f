package grpcproxy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/grpcclient"
	"cairn/internal/proxy/clusterwatch"
)

// lateKV is a cluster that cannot be reached for the first reads.
type lateKV struct {
	clientv3.KV
	failures int
}

func (k *lateKV) Do(context.Context, clientv3.Op) (clientv3.OpResponse, error) {
	if k.failures > 0 {
		k.failures--
		return clientv3.OpResponse{}, status.Error(codes.Unavailable, "connection refused")
	}
	return (&clientv3.GetResponse{Header: &pb.ResponseHeader{Revision: 70}}).OpResponse(), nil
}

// TestWatchBeforeCluster holds that a watch without a start that is requested before a member can
// be reached waits for the cluster's revision, and does not get the events of the past.
func TestWatchBeforeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := grpcclient.New(grpcclient.Options{Endpoints: func() []string { return nil }})
		defer calls.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := &Proxy{Metrics: newMetrics(), kv: &lateKV{failures: 3}}
		p.Watches = clusterwatch.New(calls)
		p.watches = newWatches(ctx, p)
		var out client
		st := &stream{w: p.watches, ctx: ctx, out: &out, done: make(chan struct{}), watchers: map[int64]*watcher{}, wake: make(chan struct{}, 1)}
		go st.send()
		go st.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 1})
		synctest.Wait()
		want(t, "while no member can be reached", out.take(), "")
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, "then", out.take(), "watch 1:")
		if wr := st.watchers[1]; wr == nil || wr.next != 71 {
			t.Errorf("the watch starts at %+v, want 71", wr)
		}
		st.end()
		synctest.Wait()
	})
}

// TestOutdatedToken has a group whose watch of the cluster is refused, when it is made again at
// another member, because its token has expired: the call of that token's client ends so that the
// client makes it again, and the other watchers get another group. Without a permission, the watch
// is canceled.
func TestOutdatedToken(t *testing.T) {
	for reason, ends := range map[string]bool{
		rpctypes.ErrGRPCInvalidAuthToken.Error(): true, rpctypes.ErrInvalidAuthToken.Error(): true,
		rpctypes.ErrGRPCAuthOldRevision.Error(): true, rpctypes.ErrGRPCPermissionDenied.Error(): false,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t, 10)
			calls := grpcclient.New(grpcclient.Options{Endpoints: func() []string { return nil }})
			defer calls.Close()
			f.w.p.Watches = clusterwatch.New(calls)
			var out, other client
			first, second := f.stream(t, &out, 10), f.stream(t, &other, 10)
			f.g.owner = first.watchers[1]
			f.g.Ended(&pb.WatchResponse{Created: true, Canceled: true, CancelReason: reason}, nil)
			synctest.Wait()
			if failed := first.failure(); ends != (status.Code(failed) == codes.Unavailable) {
				t.Errorf("%v: the owner's call ended with %v", reason, failed)
			}
			canceled := ""
			if !ends {
				canceled = "watch 1: canceled"
			}
			want(t, "the owner got", out.take(), canceled)
			want(t, "the other one got", other.take(), "")
			if g := second.watchers[1].group; g == nil || g == f.g || g.position != 10 {
				t.Errorf("%v: the other watcher is in the group %+v", reason, g)
			}
			first.end()
			second.end()
			synctest.Wait()
		})
	}
}
