package rawgrpc

import "google.golang.org/grpc"

// The methods of etcd's lock and election services, whose generated code is part of etcd's server.
var (
	LockServiceDesc = grpc.ServiceDesc{
		ServiceName: "v3lockpb.Lock",
		Methods:     []grpc.MethodDesc{{MethodName: "Lock"}, {MethodName: "Unlock"}},
	}
	ElectionServiceDesc = grpc.ServiceDesc{
		ServiceName: "v3electionpb.Election",
		Methods:     []grpc.MethodDesc{{MethodName: "Campaign"}, {MethodName: "Proclaim"}, {MethodName: "Leader"}, {MethodName: "Resign"}},
		Streams:     []grpc.StreamDesc{{StreamName: "Observe", ServerStreams: true}},
	}
)
