package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"cairn/internal/kv"
	"cairn/internal/metrics"
	"cairn/internal/portmux"
	"cairn/internal/watch"
	"cairn/test/grpctest"
)

// TestWatchResponseWire compares the hand-written encoding with the published messages.
func TestWatchResponseWire(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		prevKV := r.IntN(2) == 0
		resp := watchResponse{
			header: header{clusterID: 1 << 60, memberID: 7, revision: r.Int64N(1000), term: 3}, id: r.Int64N(4) - 1,
			created: r.IntN(2) == 0, canceled: r.IntN(2) == 0, compact: r.Int64N(3), fragment: r.IntN(2) == 0, prevKV: prevKV,
		}
		want := &etcdserverpb.WatchResponse{
			Header: resp.header.proto(), WatchId: resp.id, Created: resp.created, Canceled: resp.canceled,
			CompactRevision: resp.compact, Fragment: resp.fragment,
		}
		if r.IntN(2) == 0 {
			resp.reason, want.CancelReason = "because", "because"
		}
		for range r.IntN(4) {
			e, w := randomEvent(r, prevKV)
			resp.events, want.Events = append(resp.events, e), append(want.Events, w)
		}
		for range 2 { // the second time from the cache of Wire
			b, err := resp.AppendWire(nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > resp.SizeWire() {
				t.Errorf("%d bytes, estimated were %d", len(b), resp.SizeWire())
			}
			got := new(etcdserverpb.WatchResponse)
			if err := proto.Unmarshal(b, got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Fatalf("got  %v\nwant %v", got, want)
			}
		}
	}
}

func randomEvent(r *rand.Rand, prevKV bool) (*watch.Event, *mvccpb.Event) {
	record := func() kv.Record {
		return kv.Record{
			CreateRevision: 1 + r.Int64N(500), Mod: kv.Revision{Main: 500 + r.Int64N(500), Sub: r.Int64N(3)}, Version: 1 + r.Int64N(9),
			Lease: kv.LeaseID(r.Int64()), Value: bytes.Repeat([]byte("v"), r.IntN(40_000)/(1+r.IntN(4000))),
		}
	}
	proto := func(rec kv.Record) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{
			Key: []byte("key"), CreateRevision: rec.CreateRevision, ModRevision: rec.Mod.Main, Version: rec.Version,
			Lease: int64(rec.Lease), Value: rec.Value,
		}
	}
	e := &watch.Event{Event: kv.Event{Key: []byte("key"), Record: record()}}
	want := &mvccpb.Event{Kv: proto(e.Record)}
	if r.IntN(2) == 0 {
		e.Type, want.Type = kv.EventDelete, mvccpb.DELETE
		e.Record = kv.Record{Mod: e.Record.Mod, Deleted: true}
		want.Kv = &mvccpb.KeyValue{Key: []byte("key"), ModRevision: e.Record.Mod.Main}
	}
	switch r.IntN(3) {
	case 0:
		e.Prev = kv.Record{Mod: kv.Revision{Main: 1}, Deleted: true}
	case 1:
		if e.Prev = record(); prevKV {
			want.PrevKv = proto(e.Prev)
		}
	}
	return e, want
}

// serveWatches serves the keys of an empty store on a loopback port.
func serveWatches(t *testing.T, cfg Config, limits watch.Limits) (*localStore, etcdserverpb.WatchClient) {
	t.Helper()
	m := newLocalStore(t, limits)
	server := grpctest.New(grpctest.Options{})
	Register(server, m.member(), metrics.New(1), cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		m.hub.Close()
		server.Close()
		if err := <-served; !errors.Is(err, portmux.ErrServerStopped) {
			t.Error(err)
		}
	})
	return m, etcdserverpb.NewWatchClient(conn)
}

func createWatch(t *testing.T, client etcdserverpb.WatchClient, req *etcdserverpb.WatchCreateRequest) etcdserverpb.Watch_WatchClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stream, err := client.Watch(ctx)
	if err == nil {
		err = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: req}})
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestWatchProgressNotify expects a watch without events to receive a progress notification.
func TestWatchProgressNotify(t *testing.T) {
	m, client := serveWatches(t, Config{WatchProgressInterval: 10 * time.Millisecond}, watch.Limits{})
	stream := createWatch(t, client, &etcdserverpb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true, WatchId: 5})
	m.put(t, "other", nil)
	for notified := false; !notified; {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.WatchId != 5 || len(r.Events) != 0 || r.Header.Revision > 2 {
			t.Fatalf("notified of %v", r)
		}
		notified = r.Header.Revision == 2
	}
	m.put(t, "k", nil)
	for {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Events) == 1 {
			break
		}
		if r.Header.Revision > 2 {
			t.Fatalf("notified of %d before the event of 3", r.Header.Revision)
		}
	}
}

// TestWatchSlowClient reads nothing for a long time, and then all of it in order; the server's
// memory stays within its limits.
func TestWatchSlowClient(t *testing.T) {
	m, client := serveWatches(t, Config{}, watch.Limits{StreamEvents: 10, WindowBytes: 100_000})
	slow := createWatch(t, client, &etcdserverpb.WatchCreateRequest{Key: []byte("k")})
	const n = 600
	for i := range n {
		m.put(t, "k", fmt.Appendf(make([]byte, 0, 20_000), "%020000d", i))
	}
	for i := 0; i < n; {
		r, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if want := fmt.Sprintf("%020000d", i); string(e.Kv.Value) != want {
				t.Fatalf("event %d is another", i)
			}
			i++
		}
	}
}

// TestWatchEndsWithHub ends the calls when the hub is closed.
func TestWatchEndsWithHub(t *testing.T) {
	m, client := serveWatches(t, Config{}, watch.Limits{})
	stream := createWatch(t, client, &etcdserverpb.WatchCreateRequest{Key: []byte("k")})
	m.hub.Close()
	if r, err := stream.Recv(); err == nil || err.Error() != "rpc error: code = Unavailable desc = etcdserver: server stopped" {
		t.Errorf("after the end: %v, %v", r, err)
	}
}
