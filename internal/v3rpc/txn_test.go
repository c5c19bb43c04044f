package v3rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/alarm"
	"cairn/internal/member"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
)

func putRequestOp(key string) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: &etcdserverpb.PutRequest{Key: []byte(key)}}}
}

func deleteRequestOp(key, end string) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

func txnRequestOp(success, failure ops) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{
		RequestTxn: &etcdserverpb.TxnRequest{Success: success, Failure: failure},
	}}
}

type ops = []*etcdserverpb.RequestOp

func TestCheckTxn(t *testing.T) {
	many := func(n int) (out ops) {
		for i := range n {
			out = append(out, putRequestOp(fmt.Sprint(i)))
		}
		return out
	}
	for _, c := range []struct {
		name string
		txn  *etcdserverpb.TxnRequest
		want error
	}{
		{"empty", &etcdserverpb.TxnRequest{}, nil},
		{"two keys", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("a"), putRequestOp("b")}}, nil},
		{"one key in either branch", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("a")}, Failure: ops{putRequestOp("a")}}, nil},
		{"one key twice", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("a"), putRequestOp("a")}}, rpctypes.ErrGRPCDuplicateKey},
		{"one key twice on failure", &etcdserverpb.TxnRequest{Failure: ops{putRequestOp("a"), putRequestOp("a")}}, rpctypes.ErrGRPCDuplicateKey},
		{"put into a deleted range", &etcdserverpb.TxnRequest{Success: ops{deleteRequestOp("a", "c"), putRequestOp("b")}}, rpctypes.ErrGRPCDuplicateKey},
		{"put before the range is deleted", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("b"), deleteRequestOp("a", "c")}}, rpctypes.ErrGRPCDuplicateKey},
		{"put at the end of a deleted range", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("c"), deleteRequestOp("a", "c")}}, nil},
		{"put into a range deleted from a key on", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("z"), deleteRequestOp("a", "\x00")}}, rpctypes.ErrGRPCDuplicateKey},
		{"overlapping deletes", &etcdserverpb.TxnRequest{Success: ops{deleteRequestOp("a", "c"), deleteRequestOp("b", "d")}}, nil},
		{"nested, in both branches", &etcdserverpb.TxnRequest{Success: ops{txnRequestOp(ops{putRequestOp("a")}, ops{putRequestOp("a")})}}, nil},
		{"nested and outside", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("a"), txnRequestOp(nil, ops{putRequestOp("a")})}}, rpctypes.ErrGRPCDuplicateKey},
		{"nested delete of an outer put", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("a"), txnRequestOp(ops{deleteRequestOp("a", "b")}, nil)}}, rpctypes.ErrGRPCDuplicateKey},
		{"two nested", &etcdserverpb.TxnRequest{Success: ops{txnRequestOp(ops{putRequestOp("a")}, nil), txnRequestOp(ops{putRequestOp("a")}, nil)}}, rpctypes.ErrGRPCDuplicateKey},
		{"as many as allowed", &etcdserverpb.TxnRequest{Success: many(128)}, nil},
		{"one too many", &etcdserverpb.TxnRequest{Success: many(129)}, rpctypes.ErrGRPCTooManyOps},
		{"too many nested", &etcdserverpb.TxnRequest{Success: append(many(127), txnRequestOp(ops{putRequestOp("x"), putRequestOp("y")}, nil))}, rpctypes.ErrGRPCTooManyOps},
		{"no key", &etcdserverpb.TxnRequest{Success: ops{putRequestOp("")}}, rpctypes.ErrGRPCEmptyKey},
		{"no key to compare", &etcdserverpb.TxnRequest{Compare: []*etcdserverpb.Compare{{}}}, rpctypes.ErrGRPCEmptyKey},
		{"nothing", &etcdserverpb.TxnRequest{Success: ops{{}}}, rpctypes.ErrGRPCKeyNotFound},
	} {
		if got := checkTxn(c.txn, 128); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The codes and texts that clients check.
func TestWireErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{mvcc.ErrCompacted, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{fmt.Errorf("range: %w", mvcc.ErrFutureRevision), codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{mvcc.ErrKeyNotFound, codes.InvalidArgument, "etcdserver: key not found"},
		{mvcc.ErrLeaseNotFound, codes.NotFound, "etcdserver: requested lease not found"},
		{fmt.Errorf("hash: %w", mvcc.ErrOvertaken), codes.Unavailable, "etcdserver: read overtaken by a compaction"},
		{member.ErrTooLarge, codes.InvalidArgument, "etcdserver: request is too large"},
		{member.ErrTooManyRequests, codes.ResourceExhausted, "etcdserver: too many requests"},
		{alarm.ErrNoSpace, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{member.ErrTimeout, codes.Unavailable, "etcdserver: request timed out"},
		{member.ErrStopped, codes.Unavailable, "etcdserver: server stopped"},
		{replica.ErrNoLeader, codes.Unavailable, "etcdserver: no leader"},
		{context.Canceled, codes.Canceled, "etcdserver: request canceled"},
		{rpctypes.ErrGRPCEmptyKey, codes.InvalidArgument, "etcdserver: key is not provided"},
		{errors.New("odd"), codes.Unknown, "odd"},
	} {
		if s := status.Convert(WireError(c.err)); s.Code() != c.code || s.Message() != c.text {
			t.Errorf("%v: %v %q, want %v %q", c.err, s.Code(), s.Message(), c.code, c.text)
		}
	}
}
