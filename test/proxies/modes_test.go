package proxies

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/test/fleet"
	"cairn/test/harness"
)

// TestLeasingMode has two proxies in the leasing mode: the one that owns a key reads it by itself,
// a write through the other one takes the key back first, and errors keep their codes.
func TestLeasingMode(t *testing.T) {
	f := newFleet(t, 1)
	flag := []string{"--experimental-leasing-prefix", "leasing/"}
	a, b := startProxy(t, "grpcproxy", f.Members(), flag...), startProxy(t, "grpcproxy", f.Members(), flag...)
	one, two, direct := a.client(t), b.client(t), member(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := one.Put(ctx, "k", "1")
	must(t, err)
	read := func(c *clientv3.Client, want string) {
		t.Helper()
		if r, err := c.Get(ctx, "k"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != want {
			t.Errorf("get: %+v, %v; want %s", r, err, want)
		}
	}
	read(one, "1") // owned from now on
	if r, err := direct.Get(ctx, "leasing/", clientv3.WithPrefix(), clientv3.WithKeysOnly()); err != nil || r.Count == 0 {
		t.Errorf("no key is owned: %+v, %v", r, err)
	}
	const ranges = "etcd_debugging_mvcc_range_total"
	before := metric(t, f.Members()[0].ClientURL()+"/metrics", ranges)
	const reads = 500
	for range reads {
		read(one, "1")
	}
	// the proxies' own work may read, too, but not nearly as often
	if n := metric(t, f.Members()[0].ClientURL()+"/metrics", ranges) - before; n >= reads/10 {
		t.Errorf("%d reads of an owned key cost the member %v reads", reads, n)
	}
	for i := 2; i < 6; i++ {
		_, err := two.Put(ctx, "k", fmt.Sprint(i))
		must(t, err)
		read(one, fmt.Sprint(i))
		read(two, fmt.Sprint(i))
	}
	_, err = pb.NewKVClient(one.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte("k"), Revision: 1 << 40})
	if status.Code(err) != codes.OutOfRange {
		t.Errorf("a future revision: %v", err)
	}
}

// TestOrderingMode has a proxy in front of a member that is cut off from the others: serializable
// reads through the proxy are never older than what its client has seen.
func TestOrderingMode(t *testing.T) {
	f := fleet.New(fleet.Config{Program: harness.Etcd(t), Dir: t.TempDir(), Proxied: true})
	closeAfter(t, f)
	must(t, f.Bootstrap(t.Context(), 3))
	p := startProxy(t, "grpcproxy", f.Members(), "--experimental-serializable-ordering")
	c := p.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	_, err := c.Put(ctx, "k", "0")
	must(t, err)
	others, behind := f.Members()[:2], f.Members()[2]
	direct, err := f.Connect(others...)
	must(t, err)
	t.Cleanup(func() { direct.Close() })
	f.Wire().Both([]*fleet.Member{behind}, others, fleet.Rule{Drop: true})
	defer f.Wire().Heal()
	for i := 1; i <= 3; i++ {
		var newest int64
		harness.Await(t, "the two others have a leader", func() bool {
			bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			r, err := direct.Put(bounded, "k", fmt.Sprint(i))
			if err == nil {
				newest = r.Header.Revision
			}
			return err == nil
		})
		// the client sees a revision that the member which is cut off does not have
		harness.Await(t, "a read of the newest revision", func() bool {
			bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			r, err := c.Get(bounded, "k")
			return err == nil && r.Header.Revision >= newest
		})
		for range 9 {
			r, err := c.Get(ctx, "k", clientv3.WithSerializable())
			must(t, err)
			if r.Header.Revision < newest || string(r.Kvs[0].Value) != fmt.Sprint(i) {
				t.Fatalf("a serializable read returned %s of revision %d after %d", r.Kvs[0].Value, r.Header.Revision, newest)
			}
		}
	}
}

// TestLargeFragments has a transaction whose events, with the previous values, are larger than a
// response of the gRPC proxy may be for clients that accept fragments: they get several, the others
// one.
func TestLargeFragments(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := p.client(t)
	const keys = 5
	var last int64
	for _, fill := range []string{"a", "b"} {
		var puts []clientv3.Op
		for i := range keys {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("k%d", i), string(bytes.Repeat([]byte(fill), 280<<10))))
		}
		r, err := c.Txn(ctx).Then(puts...).Commit()
		must(t, err)
		last = r.Header.Revision
	}
	for _, fragment := range []bool{true, false} {
		stream, err := watchStream(ctx, c)
		must(t, err)
		must(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: last, PrevKv: true, Fragment: fragment,
		}}}))
		responses, events, ended := 0, 0, false
		for !ended {
			r, err := stream.Recv()
			must(t, err)
			if r.Created {
				continue
			}
			responses++
			ended = !r.Fragment
			for _, e := range r.Events {
				if want := fmt.Sprintf("k%d", events); string(e.Kv.Key) != want || len(e.Kv.Value) != 280<<10 || len(e.PrevKv.GetValue()) != 280<<10 {
					t.Errorf("event %d is of %s, with %d bytes", events, e.Kv.Key, len(e.Kv.Value))
				}
				events++
			}
		}
		if events != keys || (responses > 1) != fragment {
			t.Errorf("fragments %v: %d events in %d responses", fragment, events, responses)
		}
	}
}

// TestMemberListPassedOn has a proxy without an advertised URL: clients get the members.
func TestMemberListPassedOn(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members(), "--advertise-client-url", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := p.client(t).MemberList(ctx)
	must(t, err)
	if m := f.Members()[0]; len(r.Members) != 1 || r.Members[0].Name != m.Name || r.Members[0].ClientURLs[0] != m.ClientURL() {
		t.Errorf("the proxy lists %+v, want member %s at %s", r.Members, m.Name, m.ClientURL())
	}
}

// TestMaxSendBytes holds that a request above --max-send-bytes is refused with the text of etcd's
// proxy, and a smaller one is not.
func TestMaxSendBytes(t *testing.T) {
	p := startProxy(t, "grpcproxy", newFleet(t, 1).Members(), "--max-send-bytes", "100000")
	c := p.client(t)
	if _, err := c.Put(t.Context(), "k", strings.Repeat("v", 99_000)); err != nil {
		t.Errorf("99,000 bytes: %v", err)
	}
	_, err := c.Put(t.Context(), "k", strings.Repeat("v", 100_000))
	if want := "trying to send message larger than max (100007 vs. 100000)"; status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want) {
		t.Errorf("100,000 bytes: %v, want %s", err, want)
	}
}
