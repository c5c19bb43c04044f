package proxies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"cairn/test/fleet"
	"cairn/test/harness"
)

// metric returns the value of a metric at a URL.
func metric(t *testing.T, url, name string) float64 {
	t.Helper()
	resp, err := http.Get(url)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", url, name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	must(t, err)
	return value
}

// TestWatchersShareOneWatch has ten thousand watchers of one key, which cost the member one watch,
// and of which each gets each event once.
func TestWatchersShareOneWatch(t *testing.T) {
	const streams, perStream, puts = 20, 500, 5
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members())
	member := f.Members()[0].ClientURL() + "/metrics"
	before := metric(t, member, "etcd_debugging_mvcc_watcher_total")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var done, created sync.WaitGroup
	faults := make(chan error, streams)
	for range streams {
		stream, err := watchStream(ctx, p.client(t))
		must(t, err)
		created.Add(1)
		done.Go(func() { faults <- follow(stream, perStream, puts, created.Done, func([]*mvccpb.Event) {}) })
	}
	created.Wait()
	if n := metric(t, member, "etcd_debugging_mvcc_watcher_total") - before; n != 1 {
		t.Errorf("%d watchers of one key cost the member %v watches", streams*perStream, n)
	}
	c := p.client(t)
	for i := range puts {
		_, err := c.Put(ctx, "shared", fmt.Sprint(i))
		must(t, err)
	}
	done.Wait()
	for range streams {
		must(t, <-faults)
	}
	if n := metric(t, "http://"+p.address+"/proxy/metrics", "etcd_grpc_proxy_watchers_coalescing_total"); n != streams*perStream-1 {
		t.Errorf("%v watchers share", n)
	}
}

// watchStream begins a call for watches, on a connection of its own.
func watchStream(ctx context.Context, c *clientv3.Client) (pb.Watch_WatchClient, error) {
	return pb.NewWatchClient(c.ActiveConnection()).Watch(ctx)
}

// follow makes watches over a stream, and reads until each has delivered all puts. It calls created
// when all watches have been confirmed, and seen for each response with events.
func follow(stream pb.Watch_WatchClient, watches, puts int, created func(), seen func([]*mvccpb.Event)) error {
	for range watches {
		r := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("shared")}}}
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	got := map[int64]int64{}
	for made, events := 0, 0; events < watches*puts; {
		r, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case r.Canceled:
			return fmt.Errorf("watch %d was canceled: %s", r.WatchId, r.CancelReason)
		case r.Created:
			if made++; made == watches {
				created()
			}
		}
		if len(r.Events) > 0 {
			seen(r.Events)
		}
		for _, e := range r.Events {
			if last, ok := got[r.WatchId]; ok && e.Kv.Version != last+1 {
				return fmt.Errorf("watch %d got version %d after %d", r.WatchId, e.Kv.Version, last)
			}
			got[r.WatchId] = e.Kv.Version
			events++
		}
	}
	return nil
}

// TestWatchOptions compares what watches with each option deliver through the proxy with what they
// deliver at the member.
func TestWatchOptions(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members())
	direct, through := member(t, f), p.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 5 {
		_, err := direct.Put(ctx, fmt.Sprintf("k%d", i%2), fmt.Sprint(i))
		must(t, err)
	}
	_, err := direct.Delete(ctx, "k1")
	must(t, err)
	last, err := direct.Put(ctx, "k0", "last")
	must(t, err)
	compacted, err := direct.Compact(ctx, 3)
	must(t, err)
	_ = compacted
	for name, opts := range map[string][]clientv3.OpOption{
		"one key":        {clientv3.WithRev(4)},
		"prefix":         {clientv3.WithRev(4), clientv3.WithPrefix()},
		"range":          {clientv3.WithRev(4), clientv3.WithRange("k1")},
		"from key":       {clientv3.WithRev(4), clientv3.WithFromKey()},
		"previous":       {clientv3.WithRev(5), clientv3.WithPrefix(), clientv3.WithPrevKV()},
		"no puts":        {clientv3.WithRev(4), clientv3.WithPrefix(), clientv3.WithFilterPut()},
		"no deletions":   {clientv3.WithRev(4), clientv3.WithPrefix(), clientv3.WithFilterDelete()},
		"fragments":      {clientv3.WithRev(4), clientv3.WithPrefix(), clientv3.WithFragment()},
		"from the last":  {clientv3.WithRev(last.Header.Revision), clientv3.WithPrefix()},
		"compacted":      {clientv3.WithRev(2), clientv3.WithPrefix()},
		"empty range":    {clientv3.WithRev(4), clientv3.WithRange("a")},
		"created notify": {clientv3.WithRev(4), clientv3.WithPrefix(), clientv3.WithCreatedNotify()},
	} {
		want, got := events(ctx, direct, opts, last.Header.Revision), events(ctx, through, opts, last.Header.Revision)
		if want != got {
			t.Errorf("%s\nmember %s\nproxy  %s", name, want, got)
		}
	}
	// progress, asked for
	watching := clientv3.NewWatcher(through)
	defer watching.Close()
	updates := watching.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-updates
	other, err := direct.Put(ctx, "other", "x")
	must(t, err)
	harness.Await(t, "progress up to the last write", func() bool {
		must(t, watching.RequestProgress(ctx))
		r := <-updates
		return r.IsProgressNotify() && r.Header.Revision >= other.Header.Revision
	})
}

func member(t *testing.T, f *fleet.Fleet) *clientv3.Client {
	t.Helper()
	c, err := f.Connect(f.Members()...)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// events returns what a watch delivers up to a revision.
func events(ctx context.Context, c *clientv3.Client, opts []clientv3.OpOption, last int64) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var text strings.Builder
	watcher := clientv3.NewWatcher(c)
	defer watcher.Close()
	updates := watcher.Watch(ctx, "k0", opts...)
	// A watch whose filters or range exclude the last event has delivered everything when it
	// reports its progress. A request for that does nothing before the watch has begun.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case r, ok := <-updates:
			if !ok {
				return text.String() + "closed"
			}
			if r.IsProgressNotify() {
				if r.Header.Revision >= last {
					return text.String() + "no more"
				}
				continue
			}
			if err := r.Err(); err != nil {
				fmt.Fprintf(&text, "%v compacted %d; ", err, r.CompactRevision)
			}
			if r.Created {
				text.WriteString("created; ")
			}
			for _, e := range r.Events {
				fmt.Fprintf(&text, "%v %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
				if e.PrevKv != nil {
					fmt.Fprintf(&text, " was %s@%d", e.PrevKv.Value, e.PrevKv.ModRevision)
				}
				text.WriteString("; ")
				if e.Kv.ModRevision == last {
					return text.String()
				}
			}
		case <-again.C:
			if err := watcher.RequestProgress(ctx); err != nil {
				return text.String() + err.Error()
			}
		}
	}
}

// TestNamespaceAndResolver has a proxy with a separate prefix, which registers where the Go
// client's resolver finds it.
func TestNamespaceAndResolver(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members(), "--namespace", "app/", "--resolver-prefix", "___proxies", "--resolver-ttl", "10")
	direct, through := member(t, f), p.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	updates := through.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-updates
	_, err := through.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("k"), "=", 0)).Then(clientv3.OpPut("k", "v")).Commit()
	must(t, err)
	if r := <-updates; len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "k" {
		t.Errorf("the watch got %+v", r)
	}
	if r, err := direct.Get(ctx, "app/k"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Errorf("the member has %+v, %v", r, err)
	}
	_, err = direct.Put(ctx, "outside", "x")
	must(t, err)
	if r, err := through.Get(ctx, "", clientv3.WithPrefix()); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Key) != "k" {
		t.Errorf("the proxy shows %+v, %v", r, err)
	}
	lease, err := through.Grant(ctx, 60)
	must(t, err)
	_, err = through.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID))
	must(t, err)
	if r, err := through.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()); err != nil || len(r.Keys) != 1 || string(r.Keys[0]) != "leased" {
		t.Errorf("keys of the lease: %+v, %v", r, err)
	}
	harness.Await(t, "the proxy is in its own list of members", func() bool {
		r, err := through.MemberList(ctx)
		return err == nil && len(r.Members) == 1 && r.Members[0].ClientURLs[0] == p.address
	})
	manager, err := endpoints.NewManager(direct, "___proxies")
	must(t, err)
	list, err := manager.List(ctx)
	must(t, err)
	if at := list["___proxies/"+p.address]; at.Addr != p.address {
		t.Errorf("registered are %+v", list)
	}
	p.stop()
	if list, err := manager.List(ctx); err != nil || len(list) != 0 {
		t.Errorf("after its end the proxy is registered: %+v, %v", list, err)
	}
}

// TestUsersThroughProxy holds that each client has the permissions of its own token, also where it
// shares a watch.
func TestUsersThroughProxy(t *testing.T) {
	f := newFleet(t, 1, "--bcrypt-cost", "4")
	p := startProxy(t, "grpcproxy", f.Members())
	through := p.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, u := range []string{"root", "reader", "stranger"} {
		_, err := through.UserAdd(ctx, u, "p")
		must(t, err)
		_, err = through.RoleAdd(ctx, u)
		must(t, err)
		_, err = through.UserGrantRole(ctx, u, u)
		must(t, err)
	}
	_, err := through.RoleGrantPermission(ctx, "reader", "k", "", clientv3.PermissionType(clientv3.PermRead))
	must(t, err)
	_, err = through.AuthEnable(ctx)
	must(t, err)
	as := func(user string) *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.address}, Username: user, Password: "p"})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	root, reader, stranger := as("root"), as("reader"), as("stranger")
	updates := reader.Watch(ctx, "k", clientv3.WithCreatedNotify())
	if r := <-updates; !r.Created {
		t.Fatalf("the reader's watch: %+v", r)
	}
	for name, c := range map[string]*clientv3.Client{"stranger": stranger, "no user": through} {
		if r := <-c.Watch(ctx, "k", clientv3.WithCreatedNotify()); r.Err() == nil {
			t.Errorf("%s watches: %+v", name, r)
		}
		if _, err := c.Get(ctx, "k"); err == nil {
			t.Errorf("%s reads", name)
		}
		if _, err := c.Get(ctx, "k", clientv3.WithSerializable()); err == nil {
			t.Errorf("%s reads what another one has read", name)
		}
	}
	_, err = root.Put(ctx, "k", "v")
	must(t, err)
	if r := <-updates; len(r.Events) != 1 {
		t.Errorf("the reader got %+v", r)
	}
	if _, err := reader.Put(ctx, "k", "v"); err == nil {
		t.Error("the reader writes")
	}
}

// TestWatchWithExpiredToken holds that a watch of a user continues at another member when the token
// has expired with which it was made: the client makes its call again, with a new token.
func TestWatchWithExpiredToken(t *testing.T) {
	f := newFleet(t, 3, "--bcrypt-cost", "4", "--auth-token-ttl", "2")
	p := startProxy(t, "grpcproxy", f.Members())
	through := p.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	_, err := through.UserAdd(ctx, "root", "p")
	must(t, err)
	_, err = through.UserGrantRole(ctx, "root", "root")
	must(t, err)
	_, err = through.AuthEnable(ctx)
	must(t, err)
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{p.address}, Username: "root", Password: "p", Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { root.Close() })
	updates := root.Watch(ctx, "k", clientv3.WithCreatedNotify())
	if r := <-updates; !r.Created {
		t.Fatalf("the watch: %+v", r)
	}
	token, err := root.Authenticate(ctx, "root", "p")
	must(t, err)
	// each use of a token prolongs it, so it is tried only after its lifetime
	for expired := false; !expired; expired = errors.Is(err, rpctypes.ErrInvalidAuthToken) {
		time.Sleep(3 * time.Second)
		_, err = through.Get(metadata.AppendToOutgoingContext(ctx, "token", token.Token), "k")
	}
	for _, m := range f.Members() {
		must(t, m.Kill())
		value := "after " + m.Name
		harness.Await(t, "a put with "+m.Name+" killed", func() bool {
			_, err := root.Put(ctx, "k", value)
			return err == nil
		})
		for seen := false; !seen; {
			r, ok := <-updates
			if !ok || r.Err() != nil {
				t.Fatalf("with %s killed the watch ended: %v, %v", m.Name, ok, r.Err())
			}
			for _, e := range r.Events {
				seen = seen || string(e.Kv.Value) == value
			}
		}
		must(t, m.Start())
		must(t, m.AwaitHealthy(ctx))
	}
}
