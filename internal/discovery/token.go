package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// registryPrefix is the prefix of the v3 protocol's keys. With a service that also serves v2, the
// keys of a token are below the v2 URL /v2/keys/_etcd/registry/TOKEN as well, so that one size key
// serves both protocols.
const registryPrefix = "/_etcd/registry/"

// SizeKey returns the key that holds the number of members of a token's cluster.
func SizeKey(token string) string { return registryPrefix + token + "/_config/size" }

// membersPrefix returns the prefix of the keys of a token's members, in the v3 protocol.
func membersPrefix(token string) string { return registryPrefix + token + "/members/" }

// URLOfToken returns the URL for --discovery of a token at an endpoint, SCHEME://HOST:PORT.
func URLOfToken(endpoint, token string) string {
	return strings.TrimSuffix(endpoint, "/") + "/v2/keys" + registryPrefix + token
}

// CheckToken returns an error when a text cannot be a token: it is part of keys and of a URL.
func CheckToken(token string) error {
	if token == "" || len(token) > 128 || strings.ContainsFunc(token, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) {
		return fmt.Errorf("%q is not a token: want letters, digits, - and _", token)
	}
	return nil
}

// ErrTokenUsed is returned by Create for a token that has a size already.
var ErrTokenUsed = errors.New("discovery: the token has been created before: use a new token for each cluster")

// Create registers a token with the service: it writes the number of members.
func Create(ctx context.Context, kv clientv3.KV, token string, size int) error {
	if size < 1 || size > sizeMax {
		return fmt.Errorf("%w, at most %d; it is %d", ErrBadSize, sizeMax, size)
	}
	key := SizeKey(token)
	r, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).Then(clientv3.OpPut(key, strconv.Itoa(size))).Commit()
	if err == nil && !r.Succeeded {
		err = ErrTokenUsed
	}
	return err
}

// Registration is a member that has registered with a discovery service.
type Registration struct {
	ID       string // of the member, in hexadecimal
	Text     string // NAME=URL[,NAME=URL…]
	Protocol int    // 2 or 3
	Revision int64  // at which it registered
}

// Registrations returns the size of a token's cluster and the members that have registered, over
// both protocols, in the order of registration.
func Registrations(ctx context.Context, kv clientv3.KV, token string) (size int, members []Registration, err error) {
	prefix := registryPrefix + token + "/"
	r, err := kv.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return 0, nil, err
	}
	found := false
	for _, pair := range r.Kvs {
		below := strings.TrimPrefix(string(pair.Key), prefix)
		id, isV3 := strings.CutPrefix(below, "members/")
		switch {
		case below == "_config/size":
			found = true
			if size, err = parseSize(string(pair.Value)); err != nil {
				return 0, nil, err
			}
		case isV3 && !strings.Contains(id, "/"):
			members = append(members, Registration{ID: id, Text: string(pair.Value), Protocol: 3, Revision: pair.CreateRevision})
		case !strings.Contains(below, "/"):
			members = append(members, Registration{ID: below, Text: string(pair.Value), Protocol: 2, Revision: pair.CreateRevision})
		}
	}
	if !found {
		return 0, nil, fmt.Errorf("%w (%s)", ErrTokenNotFound, SizeKey(token))
	}
	slices.SortFunc(members, func(a, b Registration) int { return cmp.Compare(a.Revision, b.Revision) })
	return size, members, nil
}

// TokenService is a discovery service that uses etcd's v3 protocol
// (https://etcd.io/docs/v3.6/dev-internal/discovery_protocol/): the members register under a token
// in another cluster.
type TokenService struct {
	Token          string
	Config         clientv3.Config // of connections to the service
	RequestTimeout time.Duration
	Logger         *slog.Logger

	client *clientv3.Client // nil before the first connection
}

// Cluster waits until all members have registered, and returns --initial-cluster. It registers
// none.
func (s *TokenService) Cluster(ctx context.Context) (string, error) {
	defer s.close()
	return awaitFull(ctx, s, s.Logger, "")
}

// close closes the connections to the service.
func (s *TokenService) close() {
	if s.client != nil {
		s.client.Close()
	}
}

// Join registers a member, whose text is its part of --initial-cluster, and waits until all members
// have registered. It returns --initial-cluster. Requests without a response are repeated until ctx
// ends.
func (s *TokenService) Join(ctx context.Context, memberID uint64, text string) (cluster string, err error) {
	if err := CheckToken(s.Token); err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	defer s.close()
	return join(ctx, s, s.Logger, memberID, text)
}

// list reads the size and the members as of one revision.
func (s *TokenService) list(ctx context.Context) (*registered, error) {
	var r *clientv3.TxnResponse
	err := s.do(ctx, func(ctx context.Context) (err error) {
		r, err = s.client.Txn(ctx).Then(clientv3.OpGet(SizeKey(s.Token)), clientv3.OpGet(membersPrefix(s.Token), clientv3.WithPrefix())).Commit()
		return err
	})
	if err != nil {
		return nil, err
	}
	size, members := r.Responses[0].GetResponseRange().Kvs, r.Responses[1].GetResponseRange().Kvs
	if len(size) == 0 {
		return nil, ErrTokenNotFound
	}
	have := &registered{index: uint64(r.Header.Revision)}
	if have.size, err = parseSize(string(size[0].Value)); err != nil {
		return nil, err
	}
	for _, pair := range members {
		have.members = append(have.members, node{Key: string(pair.Key), Value: string(pair.Value), CreatedIndex: uint64(pair.CreateRevision)})
	}
	slices.SortFunc(have.members, func(a, b node) int { return cmp.Compare(a.CreatedIndex, b.CreatedIndex) })
	return have, nil
}

// register implements registry.
func (s *TokenService) register(ctx context.Context, id, text string) error {
	key := membersPrefix(s.Token) + id
	var r *clientv3.TxnResponse
	err := s.do(ctx, func(ctx context.Context) (err error) {
		r, err = s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, text)).Else(clientv3.OpGet(key)).Commit()
		return err
	})
	if err != nil {
		return err
	}
	if !r.Succeeded {
		there := r.Responses[0].GetResponseRange().Kvs
		if len(there) != 1 || string(there[0].Value) != text {
			return ErrDuplicateID
		}
	}
	return nil
}

// wait implements registry: it returns when a member has registered at the revision or later, or
// after a while.
func (s *TokenService) wait(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	changes := s.client.Watch(clientv3.WithRequireLeader(ctx), membersPrefix(s.Token), clientv3.WithPrefix(), clientv3.WithRev(int64(revision)))
	for r := range changes {
		if r.Err() != nil {
			pause(ctx, retryPause)
			return
		}
		if len(r.Events) > 0 {
			return
		}
	}
}

// do repeats a request until it gets a response. The end of ctx, and errors that a repetition
// cannot fix, end the attempts; the error names what was tried.
func (s *TokenService) do(ctx context.Context, request func(context.Context) error) error {
	endpoints := strings.Join(s.Config.Endpoints, ",")
	var last error
	for delay := retryPause; ; delay = min(2*delay, retryPauseMax) {
		err := s.once(ctx, request)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return noResponse(endpoints, last)
		case isPermanent(err):
			return fmt.Errorf("discovery: %w", err)
		}
		last = err
		s.Logger.Warn("discovery service cannot be reached", "endpoints", endpoints, "error", err, "retry_in", delay)
		pause(ctx, delay)
	}
}

// once connects, which authenticates the user, and makes a request.
func (s *TokenService) once(ctx context.Context, request func(context.Context) error) error {
	if s.client == nil {
		c, err := clientv3.New(s.Config)
		if err != nil {
			return err
		}
		s.client = c
	}
	ctx, cancel := context.WithTimeout(ctx, s.RequestTimeout)
	defer cancel()
	return request(ctx)
}

// isPermanent reports whether an error would occur again if the request were repeated.
func isPermanent(err error) bool {
	code := status.Code(err)
	if e := (rpctypes.EtcdError{}); errors.As(err, &e) {
		code = e.Code()
	}
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return true
	default:
		return false
	}
}
