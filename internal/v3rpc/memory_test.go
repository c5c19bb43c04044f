package v3rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"cairn/internal/budget"
	engine "cairn/internal/http2"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
	"cairn/test/grpctest"
	"cairn/test/heap"
)

// TestHeapOfUnreadResponses has clients that ask for more than the budget on each line, and read
// nothing. The heap may grow by the budget, not by what was asked for.
func TestHeapOfUnreadResponses(t *testing.T) {
	const keys, value, limit = 60, 100_000, 16 << 20 // a list has 6 MB
	m := newLocalStore(t, watch.Limits{})
	for i := range keys {
		m.put(t, fmt.Sprintf("k%03d", i), make([]byte, value))
	}
	m.put(t, "medium", make([]byte, 60_000))
	m.putLeases(t, 1000)
	// The store's cache, which is in Go's heap when the race detector is on, is filled before.
	if _, err := m.keys.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("k"), End: []byte("n")}}, new(mvcc.Collector)); err != nil {
		t.Fatal(err)
	}
	all := &etcdserverpb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Serializable: true}
	sorted := proto.CloneOf(all)
	sorted.SortTarget, sorted.SortOrder = etcdserverpb.RangeRequest_VALUE, etcdserverpb.RangeRequest_DESCEND
	for _, c := range []struct {
		name            string
		method          string
		message         proto.Message
		conns, requests int
	}{
		{"lists", "/etcdserverpb.KV/Range", all, 10, 20},
		{"sorted lists", "/etcdserverpb.KV/Range", sorted, 10, 20},
		{"streamed lists", "/etcdserverpb.KV/RangeStream", all, 10, 50},
		{"responses of 60 kB", "/etcdserverpb.KV/Range", &etcdserverpb.RangeRequest{Key: []byte("medium"), Serializable: true}, 4, 300},
		{"transactions", "/etcdserverpb.KV/Txn", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{
			{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: all}},
		}}, 10, 20},
		{"leases", "/etcdserverpb.Lease/LeaseLeases", &etcdserverpb.LeaseLeasesRequest{}, 10, 20},
		{"keys of a lease", "/etcdserverpb.Lease/LeaseTimeToLive", &etcdserverpb.LeaseTimeToLiveRequest{ID: 1, Keys: true}, 10, 20},
		{"members", "/etcdserverpb.Cluster/MemberList", &etcdserverpb.MemberListRequest{}, 10, 20},
		{"watches of history", "/etcdserverpb.Watch/Watch", &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
			CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: 1, PrevKv: true},
		}}, 10, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := budget.New(limit)
			goroutines := runtime.NumGoroutine()
			t.Cleanup(func() { // after the server has ended: its handlers would count for the next one
				for deadline := time.Now().Add(time.Minute); b.Used() > 0 || runtime.NumGoroutine() > goroutines; {
					if time.Now().After(deadline) {
						t.Fatalf("after the end %d bytes are taken, and %d goroutines run, %d before", b.Used(), runtime.NumGoroutine(), goroutines)
					}
					time.Sleep(time.Millisecond)
				}
			})
			server := grpctest.New(grpctest.Options{HTTP2: engine.Options{Budget: b}})
			member := m.member()
			member.Cluster = manyMembers{}
			Register(server, member, metrics.New(1), Config{TxnOpsMax: 128, RequestBytesMax: 2 << 20})
			addr := server.Listen(t)
			before := heap.Live()
			for range c.conns {
				client := grpctest.RawDial(t, addr)
				if err := client.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
					t.Fatal(err)
				}
				for i := range c.requests {
					id := uint32(2*i + 1)
					client.Headers(id, false, ":method", "POST", ":scheme", "http", ":path", c.method, ":authority", "x",
						"content-type", "application/grpc", "te", "trailers")
					if err := client.Framer.WriteData(id, true, grpctest.Message(c.message)); err != nil {
						break // refused
					}
				}
			}
			// The requests are all waiting when the bytes taken no longer change. On a busy machine
			// they may not have begun yet.
			begun, last, since := time.Now(), int64(-1), time.Now()
			for time.Since(since) < 200*time.Millisecond || last < limit/16 && time.Since(begun) < 30*time.Second {
				if used := b.Used(); used != last {
					last, since = used, time.Now()
				}
				time.Sleep(10 * time.Millisecond)
			}
			if last < limit/16 {
				t.Errorf("only %d bytes of the budget are taken", last)
			}
			// Streams take 8 KiB each of the budget whether they hold as much or not; buffers are
			// larger than what is in them.
			heap.Within(t, fmt.Sprintf("%d KiB of the budget are taken", b.Used()>>10), before, 3*limit/2)
		})
	}
}

// putLeases grants leases, and attaches as many keys to the first one.
func (m *localStore) putLeases(t *testing.T, n int) {
	t.Helper()
	for from := 1; from <= n; from += 1000 {
		m.change(t, func(w *mvcc.Writer) error {
			for i := from; i < from+1000; i++ {
				if _, _, err := lease.Apply(w, lease.Position{Time: 1}, &lease.Command{Kind: lease.KindGrant, ID: kv.LeaseID(i), TTL: 1000}, nil); err != nil {
					return err
				}
				if _, err := w.Put(&mvcc.PutOp{Key: fmt.Appendf(nil, "leased/%0500d", i), Lease: 1}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// manyMembers is a Cluster whose list of members is long.
type manyMembers struct{ Cluster }

// Members implements Cluster.
func (manyMembers) Members() []membership.Member {
	list := make([]membership.Member, 1000)
	for i := range list {
		list[i] = membership.Member{ID: uint64(i + 1), Name: strings.Repeat("n", 200), PeerURLs: []string{"http://" + strings.Repeat("h", 200)}}
	}
	return list
}

// TestLeaseReadsEndWithTheirContext: a client that has gone away ends the walk over all leases, and
// over the keys of a lease.
func TestLeaseReadsEndWithTheirContext(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	m.putLeases(t, 1000)
	s := &server{member: m.member(), meters: metrics.New(1)}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), budget.Key{}, budget.New(16<<20).Open()))
	all, err := s.leaseLeases(ctx, &etcdserverpb.LeaseLeasesRequest{})
	if err != nil || len(all.(*heldResponse).Message.(*etcdserverpb.LeaseLeasesResponse).Leases) != 1000 {
		t.Fatalf("%v: %v", all, err)
	}
	cancel()
	if _, err := s.leaseLeases(ctx, &etcdserverpb.LeaseLeasesRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("list of leases: %v", err)
	}
	if _, err := s.leaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: 1, Keys: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("keys of a lease: %v", err)
	}
}
