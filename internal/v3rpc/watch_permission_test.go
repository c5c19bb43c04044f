package v3rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/metrics"
	"cairn/internal/watch"
)

// watchClient is the stream of a Watch call: its client sends requests, and gets responses.
type watchClient struct {
	grpc.ServerStream
	ctx       context.Context
	requests  chan *etcdserverpb.WatchRequest
	responses chan *etcdserverpb.WatchResponse
}

// Context implements grpc.ServerStream.
func (c *watchClient) Context() context.Context { return c.ctx }

// RecvMsg implements grpc.ServerStream.
func (c *watchClient) RecvMsg(m any) error {
	select {
	case req := <-c.requests:
		proto.Merge(m.(proto.Message), req)
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// SendMsg implements grpc.ServerStream.
func (c *watchClient) SendMsg(m any) error {
	b, err := m.(*watchResponse).AppendWire(nil)
	if err != nil {
		return err
	}
	resp := new(etcdserverpb.WatchResponse)
	if err := proto.Unmarshal(b, resp); err != nil {
		return err
	}
	c.responses <- resp
	return nil
}

// SendMore implements batchStream.
func (c *watchClient) SendMore(m any) error { return c.SendMsg(m) }

// Flush implements batchStream.
func (*watchClient) Flush() {}

// RecvBuffered implements batchStream.
func (*watchClient) RecvBuffered(any) bool { return false }

// TestWatchCreationIsPermitted: a watch is created only for keys all of which its user may read
// when it is created: not for a range that begins or ends beside that of the permission, and not
// once the permission has been revoked. A refusal tells nothing of the keys.
func TestWatchCreationIsPermitted(t *testing.T) {
	store := newLocalStore(t, watch.Limits{})
	users, err := auth.Open(store.db)
	if err != nil {
		t.Fatal(err)
	}
	w := &waitingStore{localStore: store, users: users}
	if w.gate, err = auth.NewGate(users, auth.GateConfig{Now: time.Now, Rand: zeros{}}); err != nil {
		t.Fatal(err)
	}
	readable := auth.Permission{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte("b")}, Access: auth.Read}
	writable := auth.Permission{KeyRange: kv.KeyRange{Key: []byte("w")}, Access: auth.Write}
	w.changeUsers(t,
		auth.Command{Kind: auth.KindV3UserAdd, Name: "root"}, auth.Command{Kind: auth.KindV3RoleAdd, Name: "root"},
		auth.Command{Kind: auth.KindV3UserGrant, Name: "root", Role: "root"},
		auth.Command{Kind: auth.KindV3UserAdd, Name: "reader"}, auth.Command{Kind: auth.KindV3RoleAdd, Name: "reads"},
		auth.Command{Kind: auth.KindV3RoleGrant, Name: "reads", Permission: readable},
		auth.Command{Kind: auth.KindV3RoleGrant, Name: "reads", Permission: writable},
		auth.Command{Kind: auth.KindV3UserGrant, Name: "reader", Role: "reads"}, auth.Command{Kind: auth.KindEnable},
	)
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "reader"}}
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}}})
	c := &watchClient{ctx: ctx, requests: make(chan *etcdserverpb.WatchRequest), responses: make(chan *etcdserverpb.WatchResponse, 1)}
	s := &server{member: Member{Requests: w, Role: w, Watches: w, Leases: w}, meters: metrics.New(1), cfg: Config{ClientCertAuth: true, WatchProgressInterval: time.Hour}}
	go watchStream(s, c) //nolint:errcheck // it ends with the test's context
	create := func(key, end string) *etcdserverpb.WatchResponse {
		c.requests <- &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
			CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end)},
		}}
		return <-c.responses
	}
	for _, tc := range []struct {
		key, end string
		permit   bool
	}{
		{"a", "b", true},
		{"a1", "", true},
		{"a", "b\x00", false}, // one key more at its end
		{"`", "b", false},     // and at its beginning
		{"b", "", false},
		{"a", "\x00", false}, // all keys from there on
		{"", "\x00", false},  // all keys
		{"w", "", false},     // which it may only write
	} {
		got := create(tc.key, tc.end)
		if !got.Created || got.Canceled == tc.permit || tc.permit != (got.CancelReason == "") || len(got.Events) > 0 {
			t.Errorf("watch of [%q, %q), permitted: %t: %v", tc.key, tc.end, tc.permit, got)
		}
	}
	w.changeUsers(t, auth.Command{Kind: auth.KindV3UserRevoke, Name: "reader", Role: "reads"})
	reasons := []string{create("a", "b").CancelReason, create("a1", "").CancelReason}
	if want := "rpc error: code = PermissionDenied desc = etcdserver: permission denied"; !slices.Equal(reasons, []string{want, want}) {
		t.Errorf("after the permission was revoked: %q", reasons)
	}
}
