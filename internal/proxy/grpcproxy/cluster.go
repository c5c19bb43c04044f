package grpcproxy

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"

	"cairn/internal/proxy/rawgrpc"
)

// clusterServer is the Cluster service. As with etcd's proxy, clients see the proxies as members: a
// client that follows the list continues to use the proxies.
type clusterServer struct {
	pb.UnimplementedClusterServer
	p       *Proxy
	cluster pb.ClusterClient
}

// MemberList implements pb.ClusterServer. As with etcd's proxy, without an advertised URL clients
// see the members.
func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	resp, err := s.cluster.MemberList(rawgrpc.Outgoing(ctx), r)
	if err != nil || s.p.AdvertiseURL == "" {
		return resp, err
	}
	return &pb.MemberListResponse{Header: resp.Header, Members: s.p.proxies.members()}, nil
}

// MemberAdd implements pb.ClusterServer.
func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return s.cluster.MemberAdd(rawgrpc.Outgoing(ctx), r)
}

// MemberRemove implements pb.ClusterServer.
func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return s.cluster.MemberRemove(rawgrpc.Outgoing(ctx), r)
}

// MemberUpdate implements pb.ClusterServer.
func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return s.cluster.MemberUpdate(rawgrpc.Outgoing(ctx), r)
}

// MemberPromote implements pb.ClusterServer.
func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return s.cluster.MemberPromote(rawgrpc.Outgoing(ctx), r)
}

// registration keeps this proxy registered below Options.ResolverPrefix, and follows the
// registrations of the others. Other programs find the proxies with the Go client's naming package.
type registration struct {
	p    *Proxy
	name string // of this machine
	done sync.WaitGroup

	mu     sync.Mutex // guards others
	others map[string]endpoints.Endpoint
}

// proxyMetadata is the metadata of a registration, in the form of etcd's.
type proxyMetadata struct {
	Name string `json:"name"`
}

const registerPause = time.Second // after a failure

func newRegistration(ctx context.Context, p *Proxy) *registration {
	r := &registration{p: p, others: map[string]endpoints.Endpoint{}}
	r.name, _ = os.Hostname() // a machine without a name has an empty one
	if p.ResolverPrefix == "" || p.AdvertiseURL == "" {
		return r
	}
	for _, run := range []func(context.Context) error{r.register, r.follow} {
		r.done.Go(func() {
			for ctx.Err() == nil {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					p.Logger.Warn("registration below --resolver-prefix", "resolver_prefix", p.ResolverPrefix, "error", err, "retry_in", registerPause)
				}
				select {
				case <-ctx.Done():
				case <-time.After(registerPause):
				}
			}
		})
	}
	return r
}

func (r *registration) wait() { r.done.Wait() }

// register registers the proxy until its lease is lost or ctx ends.
func (r *registration) register(ctx context.Context) error {
	session, err := concurrency.NewSession(r.p.Client, concurrency.WithTTL(max(r.p.ResolverTTL, 1)), concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	manager, err := endpoints.NewManager(r.p.Client, r.p.ResolverPrefix)
	if err != nil {
		return err
	}
	text, err := json.Marshal(proxyMetadata{Name: r.name})
	if err != nil {
		return err
	}
	at := endpoints.Endpoint{Addr: r.p.AdvertiseURL, Metadata: string(text)}
	if err := manager.AddEndpoint(ctx, r.p.ResolverPrefix+"/"+r.p.AdvertiseURL, at, clientv3.WithLease(session.Lease())); err != nil {
		return err
	}
	r.p.Logger.Info("registered", "resolver_prefix", r.p.ResolverPrefix, "address", r.p.AdvertiseURL)
	select {
	case <-session.Done():
	case <-ctx.Done():
		// so that clients do not wait for the lease to expire; ctx cannot be used any longer
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), registerPause)
		defer cancel()
		_, err = r.p.Client.Revoke(bounded, session.Lease())
	}
	return err
}

// follow updates the list of the proxies until ctx or the watch ends.
func (r *registration) follow(ctx context.Context) error {
	manager, err := endpoints.NewManager(r.p.Client, r.p.ResolverPrefix)
	if err != nil {
		return err
	}
	updates, err := manager.NewWatchChannel(ctx)
	if err != nil {
		return err
	}
	for list := range updates {
		r.mu.Lock()
		for _, u := range list {
			if u.Op == endpoints.Add {
				r.others[u.Key] = u.Endpoint
			} else {
				delete(r.others, u.Key)
			}
		}
		r.mu.Unlock()
	}
	return nil
}

// members returns the proxies as members: the registered ones, or only this one.
func (r *registration) members() []*pb.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*pb.Member
	for _, at := range r.others {
		m := &pb.Member{ClientURLs: []string{at.Addr}}
		if text, ok := at.Metadata.(string); ok {
			var md proxyMetadata
			if json.Unmarshal([]byte(text), &md) == nil {
				m.Name = md.Name
			}
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *pb.Member) int { return strings.Compare(a.ClientURLs[0], b.ClientURLs[0]) })
	if len(list) == 0 {
		list = []*pb.Member{{Name: r.name, ClientURLs: []string{r.p.AdvertiseURL}}}
	}
	return list
}
