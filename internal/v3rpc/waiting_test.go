package v3rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
)

// waitingStore is a localStore whose linearizable reads wait: meanwhile runs then.
type waitingStore struct {
	*localStore
	users     *auth.Table
	meanwhile func()
}

// WaitLinearizable implements Requests.
func (w *waitingStore) WaitLinearizable(context.Context) error {
	if do := w.meanwhile; do != nil {
		w.meanwhile = nil
		do()
	}
	return nil
}

// Gate implements Requests.
func (w *waitingStore) Gate() *auth.Gate { return w.gate }

func (w *waitingStore) changeUsers(t *testing.T, commands ...auth.Command) {
	t.Helper()
	w.b.Reset()
	w.users.Begin()
	for i := range commands {
		if _, err := w.users.Apply(w.b, 1, &commands[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.b.Commit(false); err != nil {
		t.Fatal(err)
	}
	w.users.Publish()
}

// TestPermissionsAfterWaiting: what a user may read is what it may read when it is read, not when
// the request came. Each read waits while the permission is revoked.
func TestPermissionsAfterWaiting(t *testing.T) {
	secret := auth.Permission{KeyRange: kv.KeyRange{Key: []byte("a"), End: []byte("b")}, Access: auth.ReadWrite}
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "reader"}}
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}}})
	all := &etcdserverpb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}
	for name, read := range map[string]func(s *server) error{
		"range": func(s *server) error {
			_, err := s.rangeKeys(ctx, &rangeRequest{RangeOp: mvcc.RangeOp{KeyRange: secret.KeyRange}})
			return err
		},
		"count": func(s *server) error {
			_, err := s.rangeKeys(ctx, &rangeRequest{RangeOp: mvcc.RangeOp{KeyRange: secret.KeyRange, CountOnly: true}})
			return err
		},
		"transaction": func(s *server) error {
			_, err := s.txn(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: all}}}})
			return err
		},
		"keys of a lease": func(s *server) error {
			_, err := s.leaseTimeToLive(ctx, &etcdserverpb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
			return err
		},
		"list of leases": func(s *server) error {
			_, err := s.leaseLeases(ctx, &etcdserverpb.LeaseLeasesRequest{})
			return err
		},
		"end of a stream": func(s *server) error {
			store := s.member.Requests.(*waitingStore)
			revoke := store.meanwhile
			out := &sentChunks{ctx: ctx}
			out.onSend = func() {
				out.onSend = nil
				if revoke != nil {
					revoke()
				}
			}
			return s.streamRange(&mvcc.RangeOp{KeyRange: secret.KeyRange}, out)
		},
	} {
		for _, revoked := range []bool{false, true} {
			store := newLocalStore(t, watch.Limits{})
			users, err := auth.Open(store.db)
			if err != nil {
				t.Fatal(err)
			}
			w := &waitingStore{localStore: store, users: users}
			if w.gate, err = auth.NewGate(users, auth.GateConfig{Now: time.Now, Rand: zeros{}}); err != nil {
				t.Fatal(err)
			}
			w.changeUsers(t,
				auth.Command{Kind: auth.KindV3UserAdd, Name: "root"}, auth.Command{Kind: auth.KindV3RoleAdd, Name: "root"},
				auth.Command{Kind: auth.KindV3UserGrant, Name: "root", Role: "root"},
				auth.Command{Kind: auth.KindV3UserAdd, Name: "reader"}, auth.Command{Kind: auth.KindV3RoleAdd, Name: "reads"},
				auth.Command{Kind: auth.KindV3RoleGrant, Name: "reads", Permission: secret},
				auth.Command{Kind: auth.KindV3UserGrant, Name: "reader", Role: "reads"}, auth.Command{Kind: auth.KindEnable},
			)
			store.change(t, func(m *mvcc.Writer) error {
				_, _, err := lease.Apply(m, lease.Position{Time: 1}, &lease.Command{Kind: lease.KindGrant, ID: 7, TTL: 1000}, nil)
				return err
			})
			for _, key := range []string{"a1", "a2", "a3"} {
				store.change(t, func(m *mvcc.Writer) error {
					_, err := m.Put(&mvcc.PutOp{Key: []byte(key), Value: make([]byte, chunkBytes), Lease: 7})
					return err
				})
			}
			s := &server{member: Member{Requests: w, Role: w, Watches: w, Leases: w}, meters: metrics.New(1), cfg: Config{ClientCertAuth: true, TxnOpsMax: 128}}
			if revoked {
				w.meanwhile = func() {
					w.changeUsers(t, auth.Command{Kind: auth.KindV3UserRevoke, Name: "reader", Role: "reads"})
				}
			}
			want := codes.OK
			if revoked {
				want = codes.PermissionDenied
			}
			if err := read(s); status.Code(WireError(err)) != want {
				t.Errorf("%s, permission revoked: %t: %v", name, revoked, err)
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
