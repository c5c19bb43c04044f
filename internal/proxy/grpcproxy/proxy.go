package grpcproxy

import (
	"context"
	"log/slog"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc"

	"cairn/internal/proxy/clusterwatch"
	"cairn/internal/proxy/rawgrpc"
)

// Options configure a Proxy.
type Options struct {
	// Client is a client of the cluster, without a user: the clients' tokens are passed on.
	Client *clientv3.Client
	// Calls makes the calls that are forwarded; nil means Client's connections.
	Calls grpc.ClientConnInterface
	// Watches makes the watches of the cluster that clients share.
	Watches *clusterwatch.Client

	Namespace     string // prefix of all keys; clients see keys without it
	LeasingPrefix string // prefix of the keys of the leasing mode; "" disables it
	// serializable reads from members that are behind are sent to other members
	Ordering bool

	ResolverPrefix string // below which the proxies register; "" disables registration
	ResolverTTL    int    // seconds
	AdvertiseURL   string // at which clients reach this proxy; "" makes MemberList return the members

	Logger *slog.Logger // nil discards
}

// Proxy serves the services.
type Proxy struct {
	Options
	Metrics *Metrics

	plain   bool // keys and reads are the cluster's own: no namespace, no mode
	kv      clientv3.KV
	direct  pb.KVClient // without the client's retries: Calls repeats what is harmless
	watcher clientv3.Watcher

	seen    seen
	cache   *cache
	watches *watches
	leases  *renewers
	proxies *registration
	close   []func()
}

// New returns a proxy. It must be closed.
func New(ctx context.Context, o Options) (*Proxy, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{
		Options: o, Metrics: newMetrics(), plain: o.Namespace == "" && o.LeasingPrefix == "" && !o.Ordering, watcher: o.Client.Watcher,
	}
	if p.Calls == nil {
		p.Calls = o.Client.ActiveConnection()
	}
	p.direct = pb.NewKVClient(p.Calls)
	p.kv = clientv3.NewKVFromKVClient(p.direct, o.Client)
	if o.Ordering {
		p.kv = ordering.NewKV(p.kv, ordering.NewOrderViolationSwitchEndpointClosure(o.Client))
	}
	if o.Namespace != "" {
		p.kv = namespace.NewKV(p.kv, o.Namespace)
		p.watcher = namespace.NewWatcher(p.watcher, o.Namespace)
	}
	if o.LeasingPrefix != "" {
		// the mode accepts no KV or Watcher other than its client's
		wrapped := clientv3.NewCtxClient(o.Client.Ctx())
		wrapped.KV, wrapped.Watcher, wrapped.Lease = p.kv, p.watcher, o.Client.Lease
		kv, end, err := leasing.NewKV(wrapped, o.LeasingPrefix)
		if err != nil {
			return nil, err
		}
		p.kv = kv
		p.close = append(p.close, end)
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.close = append(p.close, cancel)
	p.cache = newCache(p)
	p.watches = newWatches(background, p)
	p.leases = newRenewers(background, o.Client)
	p.proxies = newRegistration(background, p)
	return p, nil
}

// Close ends the background work. The servers must have been stopped.
func (p *Proxy) Close() {
	for i := len(p.close) - 1; i >= 0; i-- {
		p.close[i]()
	}
	p.proxies.wait()
}

// CancelWatches ends all watches of clients, before the servers are stopped.
func (p *Proxy) CancelWatches() { p.watches.end() }

// Register adds the services to a server.
func (p *Proxy) Register(r grpc.ServiceRegistrar) {
	pb.RegisterKVServer(r, &kvServer{p: p})
	pb.RegisterWatchServer(r, &watchServer{p: p})
	pb.RegisterLeaseServer(r, &leaseServer{p: p, lease: pb.NewLeaseClient(p.Calls)})
	pb.RegisterClusterServer(r, &clusterServer{p: p, cluster: pb.NewClusterClient(p.Calls)})
	rawgrpc.Register(r, rawgrpc.Options{Conn: p.Calls},
		&pb.Maintenance_ServiceDesc, &pb.Auth_ServiceDesc, &rawgrpc.LockServiceDesc, &rawgrpc.ElectionServiceDesc)
}

// IsSafe reports whether a call changes nothing, so that it may be sent again although it may have
// been executed.
func IsSafe(method string) bool {
	switch method {
	case pb.KV_Range_FullMethodName, pb.Lease_LeaseTimeToLive_FullMethodName, pb.Lease_LeaseLeases_FullMethodName, pb.Cluster_MemberList_FullMethodName,
		pb.Maintenance_Status_FullMethodName, pb.Maintenance_Hash_FullMethodName, pb.Maintenance_HashKV_FullMethodName,
		pb.Auth_Authenticate_FullMethodName, pb.Auth_AuthStatus_FullMethodName,
		pb.Auth_UserGet_FullMethodName, pb.Auth_UserList_FullMethodName, pb.Auth_RoleGet_FullMethodName, pb.Auth_RoleList_FullMethodName,
		"/v3electionpb.Election/Leader":
		return true
	}
	return false
}

// Confirm returns when a member confirms that the cluster has a leader.
func Confirm(ctx context.Context, calls grpc.ClientConnInterface) error {
	_, err := pb.NewClusterClient(calls).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	return err
}
