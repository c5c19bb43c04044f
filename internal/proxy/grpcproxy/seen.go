package grpcproxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/peer"
)

// connectionsMax is the number of connections whose revisions are stored separately.
const connectionsMax = 1 << 16

// seen has the revisions that were returned to clients.
type seen struct {
	newest atomic.Pointer[pb.ResponseHeader] // of the greatest revision

	mu          sync.Mutex // guards the fields below
	floor       int64      // of connections that are not in the map
	connections map[netip.AddrPort]int64
}

// connectionOf returns the client's address, which identifies its connection.
func connectionOf(ctx context.Context) (a netip.AddrPort) {
	if from, ok := peer.FromContext(ctx); ok {
		if tcp, ok := from.Addr.(*net.TCPAddr); ok {
			return tcp.AddrPort()
		}
	}
	return a // Unix sockets share one
}

// note records the header of a response to a client. It returns the header.
func (s *seen) note(ctx context.Context, h *pb.ResponseHeader) {
	if h == nil {
		return
	}
	for {
		newest := s.newest.Load()
		if newest != nil && newest.Revision >= h.Revision || s.newest.CompareAndSwap(newest, h) {
			break
		}
	}
	c := connectionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connections == nil || len(s.connections) >= connectionsMax {
		for _, revision := range s.connections {
			s.floor = max(s.floor, revision)
		}
		s.connections = make(map[netip.AddrPort]int64)
	}
	if h.Revision > s.connections[c] {
		s.connections[c] = h.Revision
	}
}

// by returns the greatest revision that was returned over a client's connection, or a greater one.
func (s *seen) by(ctx context.Context) int64 {
	c := connectionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.floor, s.connections[c])
}

// header returns a header with the greatest revision that was returned to any client.
func (s *seen) header() *pb.ResponseHeader {
	h := s.newest.Load()
	if h == nil {
		return &pb.ResponseHeader{}
	}
	return &pb.ResponseHeader{ClusterId: h.ClusterId, MemberId: h.MemberId, Revision: h.Revision, RaftTerm: h.RaftTerm}
}
