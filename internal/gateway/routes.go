package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// routesOf reads the paths of a service from its descriptor. An RPC without a path is served over
// gRPC only.
func routesOf(service protoreflect.FullName) (routes []*route) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
	if err != nil {
		return nil
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		input, errIn := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
		output, errOut := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
		if errIn != nil || errOut != nil {
			continue // descriptors without the types that belong to them
		}
		for _, path := range pathsOf(m) {
			routes = append(routes, &route{
				path: path, name: string(m.Name()), method: "/" + string(service) + "/" + string(m.Name()), input: input, output: output,
			})
		}
	}
	return routes
}

// pathsOf returns the paths of an RPC. etcd's are all POST, with the whole message as the body.
func pathsOf(m protoreflect.MethodDescriptor) (paths []string) {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return nil
	}
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		if path := r.GetPost(); path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// withPeer adds the caller's address to the context, as a gRPC connection would.
func withPeer(ctx context.Context, r *http.Request) context.Context {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ctx
	}
	return peer.NewContext(ctx, &peer.Peer{Addr: net.TCPAddrFromAddrPort(from)})
}
