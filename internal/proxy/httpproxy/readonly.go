package httpproxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"cairn/internal/proxy/rawgrpc"
)

// readingMethods are the calls of v3 that change nothing: "SERVICE/METHOD" without the package.
// Transactions are classified by their contents.
var readingMethods = map[string]bool{
	"KV/Range": true, "KV/RangeStream": true,
	"Watch/Watch":       true,
	"Lease/LeaseLeases": true, "Lease/LeaseTimeToLive": true,
	"Cluster/MemberList": true,
	"Maintenance/Status": true, "Maintenance/Hash": true, "Maintenance/HashKV": true, "Maintenance/Snapshot": true,
	"Auth/Authenticate": true, "Auth/AuthStatus": true,
	"Auth/UserGet": true, "Auth/UserList": true, "Auth/RoleGet": true, "Auth/RoleList": true,
	"Election/Leader": true, "Election/Observe": true,
	"Health/Check": true, "Health/Watch": true, "Health/List": true,
}

const txnMethod = "KV/Txn"

var errReadOnly = errors.New("this proxy is read-only: send writes to a member, or to a proxy with --proxy=on")

// jsonPaths are the paths of the JSON gateway, without the version, with their calls.
var jsonPaths = map[string]string{
	"kv/range": "KV/Range", "kv/txn": txnMethod, "watch": "Watch/Watch",
	"lease/leases": "Lease/LeaseLeases", "lease/timetolive": "Lease/LeaseTimeToLive", "kv/lease/leases": "Lease/LeaseLeases",
	"kv/lease/timetolive": "Lease/LeaseTimeToLive", "cluster/member/list": "Cluster/MemberList",
	"maintenance/status": "Maintenance/Status", "maintenance/hash": "Maintenance/HashKV", "maintenance/snapshot": "Maintenance/Snapshot",
	"auth/authenticate": "Auth/Authenticate", "auth/status": "Auth/AuthStatus", "auth/user/get": "Auth/UserGet",
	"auth/user/list": "Auth/UserList", "auth/role/get": "Auth/RoleGet", "auth/role/list": "Auth/RoleList",
	"election/leader": "Election/Leader", "election/observe": "Election/Observe",
}

// checkReadOnly returns an error for a request over HTTP that may change something.
func (f *forwarded) checkReadOnly() error {
	r := f.r
	if !strings.HasPrefix(r.URL.Path, "/v3") {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return nil
		}
		return errReadOnly
	}
	_, below, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	call, known := jsonPaths[below]
	switch {
	case known && call == txnMethod:
		txn := new(pb.TxnRequest)
		if f.rest == nil && (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(f.body, txn) == nil && readsOnly(txn) {
			return nil
		}
	case known && readingMethods[call]:
		return nil
	}
	return errReadOnly
}

// checkCall returns an error for a call that may change something. message is the request of a
// transaction.
func checkCall(fullMethod string, message []byte) error {
	call := fullMethod[strings.LastIndexByte(fullMethod[:strings.LastIndexByte(fullMethod, '/')], '.')+1:]
	if readingMethods[call] {
		return nil
	}
	if call == txnMethod {
		txn := new(pb.TxnRequest)
		if err := proto.Unmarshal(message, txn); err != nil {
			return status.Error(codes.InvalidArgument, fmt.Sprintf("read the transaction: %v", err))
		}
		if readsOnly(txn) {
			return nil
		}
	}
	return status.Error(codes.PermissionDenied, errReadOnly.Error())
}

// readsOnly reports whether neither branch of a transaction writes.
func readsOnly(t *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			switch r := op.Request.(type) {
			case *pb.RequestOp_RequestRange:
			case *pb.RequestOp_RequestTxn:
				if r.RequestTxn != nil && !readsOnly(r.RequestTxn) {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// RegisterReadOnly makes a server forward the calls that change nothing over conn, and refuse the
// others.
func RegisterReadOnly(r grpc.ServiceRegistrar, conn grpc.ClientConnInterface) {
	rawgrpc.Register(r, rawgrpc.Options{Conn: conn, Check: checkCall, Repeatable: func(string) bool { return true }},
		&pb.KV_ServiceDesc, &pb.Watch_ServiceDesc, &pb.Lease_ServiceDesc, &pb.Cluster_ServiceDesc, &pb.Maintenance_ServiceDesc,
		&pb.Auth_ServiceDesc, &rawgrpc.LockServiceDesc, &rawgrpc.ElectionServiceDesc, &healthpb.Health_ServiceDesc)
}
