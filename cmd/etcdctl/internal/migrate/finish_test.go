package migrate

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"cairn/internal/migration"
)

// newCluster serves the status of a migration: following for a number of requests, then finished.
type newCluster struct{ following atomic.Int64 }

func (n *newCluster) status(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	st := migration.Status{Phase: migration.Following, Source: migration.SourceID(0)}
	if n.following.Add(-1) < 0 {
		st.Phase = migration.Finished
	}
	b, err := st.Encode()
	return wrapperspb.Bytes(b), err
}

// serve starts the server, and returns a migration to it.
func (n *newCluster) serve(t *testing.T) *Migration {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: migration.ServiceName, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: migration.MethodStatus, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			req := new(wrapperspb.BytesValue)
			if err := decode(req); err != nil {
				return nil, err
			}
			return n.status(ctx, req)
		}}},
	}, n)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	to, err := openTarget(func() (*clientv3.Client, error) {
		return clientv3.New(clientv3.Config{Endpoints: []string{l.Addr().String()}, Logger: zap.NewNop()})
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &Migration{o: Options{Log: t.Logf}, target: to}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestOutcomeOfFinish: after a lost response the source may accept writes again only if the target
// certainly does not.
func TestOutcomeOfFinish(t *testing.T) {
	lost := status.Error(codes.Unavailable, "connection lost")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what      string
		ctx       context.Context
		following int64 // statuses before the command is executed
		err       error
		unknown   bool
	}{
		{"a response", t.Context(), 0, nil, false},
		{"executed, without a response", t.Context(), 0, lost, false},
		{"executed, without a response, and interrupted", canceled, 0, context.Canceled, false},
		{"executed later", t.Context(), 1, lost, false},
		{"not executed yet", t.Context(), 1 << 40, lost, true},
		{"refused", t.Context(), 1 << 40, status.Error(codes.FailedPrecondition, "the store is at another revision"), false},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := &newCluster{}
			n.following.Store(c.following)
			m := n.serve(t)
			timeout := time.Minute
			if c.unknown {
				timeout = 100 * time.Millisecond
			}
			err := m.outcome(c.ctx, c.err, timeout)
			unknown := (*unknownError)(nil)
			switch {
			case errors.As(err, &unknown) != c.unknown:
				t.Errorf("%v: unknown outcome: %t, want %t", err, !c.unknown, c.unknown)
			case c.unknown && (!errors.Is(err, lost) || !strings.Contains(err.Error(), "the old one continues to refuse")):
				t.Errorf("the error %v does not tell what is known", err)
			case c.what == "refused" && !errors.Is(err, c.err), c.what != "refused" && !c.unknown && err != nil:
				t.Error(err)
			}
		})
	}
}

// TestConnectionThatCannotBeOpened: the migration goes on after the new cluster could not be
// reached for a new connection, which with a user sends a request.
func TestConnectionThatCannotBeOpened(t *testing.T) {
	m := (&newCluster{}).serve(t)
	open := m.target.open
	attempts := 0
	m.target.open = func() (*clientv3.Client, error) {
		if attempts++; attempts < 3 {
			return nil, status.Error(codes.Unavailable, "connection refused")
		}
		return open()
	}
	if err := m.target.close(); err != nil {
		t.Fatal(err)
	}
	if err := m.target.reopen(); err == nil {
		t.Fatal("no error")
	}
	if err := m.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
