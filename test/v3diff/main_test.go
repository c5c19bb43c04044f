// Package v3diff sends the same requests of the v3 API to a running server of ours and to Debian's
// etcd 3.4, and compares the responses, field by field: random requests of KV and of leases, and
// everything that a service refuses.
//
// It owns the list of correct differences: those between etcd 3.4 and 3.7, and those that
// docs/compatibility.md lists. Every one is named here with its reason; any other fails a test.
//
// Concurrency: none; the requests of a test are sent one after the other.
package v3diff

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const theirs = "/usr/bin/etcd"

// pair is a server of ours and one of theirs, which have received the same requests.
type pair struct {
	t     testing.TB
	ctx   context.Context
	conns [2]*grpc.ClientConn // ours, theirs
}

func startPair(t testing.TB) *pair {
	t.Helper()
	harness.Needs(t, theirs, "etcd-server")
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " is compared with itself")
	}
	p := &pair{t: t}
	for i, s := range []*harness.Server{harness.Start(t), harness.StartOther(t, theirs)} {
		conn, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // the server may have been stopped before
		p.conns[i] = conn
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	p.ctx = ctx
	return p
}

// both sends a request to both servers and returns the responses, as text without the fields that
// may differ.
func (p *pair) both(method string, req proto.Message) (answers [2]string) {
	p.t.Helper()
	for i, conn := range p.conns {
		resp := answerOf(p.t, method)
		ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
		err := conn.Invoke(ctx, "/etcdserverpb."+method, req, resp)
		cancel()
		if err != nil {
			answers[i] = fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
			continue
		}
		neutral(resp)
		answers[i] = prototext.MarshalOptions{Multiline: true}.Format(resp)
	}
	return answers
}

// same sends a request to both servers and requires equal responses.
func (p *pair) same(method string, req proto.Message) string {
	p.t.Helper()
	answers := p.both(method, req)
	if answers[0] != answers[1] && (method != "KV/Txn" || !oneOfTwo(answers)) {
		p.t.Errorf("%s {%s}\nours:\n%s\ntheirs:\n%s", method, prototext.MarshalOptions{}.Format(req), answers[0], answers[1])
	}
	return answers[1]
}

// ofOperations are the refusals of an operation in a transaction that are detected when the
// transaction is applied.
var ofOperations = []string{
	"InvalidArgument: etcdserver: key not found", "NotFound: etcdserver: requested lease not found",
	"OutOfRange: etcdserver: mvcc: required revision is a future revision", "OutOfRange: etcdserver: mvcc: required revision has been compacted",
}

// oneOfTwo reports whether each server refused a transaction for one of its operations. 3.4 checks
// all puts before ranges; 3.7 and ours check the operations in order, so that of two invalid
// operations they report different ones.
func oneOfTwo(answers [2]string) bool {
	return slices.Contains(ofOperations, answers[0]) && slices.Contains(ofOperations, answers[1])
}

// answerOf makes an empty response of a method, Service/Method.
func answerOf(t testing.TB, method string) proto.Message {
	t.Helper()
	services := etcdserverpb.File_rpc_proto.Services()
	for i := range services.Len() {
		s := services.Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			if string(s.Name())+"/"+string(m.Name()) == method {
				return messageOf(m.Output())
			}
		}
	}
	t.Fatalf("there is no method %s", method)
	return nil
}

// neutral removes fields that may differ between two clusters or two moments: the responding
// member, its term, and the remaining TTL.
func neutral(m proto.Message) {
	switch r := m.(type) {
	case *etcdserverpb.ResponseHeader:
		r.ClusterId, r.MemberId, r.RaftTerm = 0, 0, 0
	case *etcdserverpb.LeaseTimeToLiveResponse:
		if r.TTL > 0 {
			r.TTL = 1
		}
	}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				neutral(v.List().Get(i).Message().Interface())
			}
		default:
			neutral(v.Message().Interface())
		}
		return true
	})
}
