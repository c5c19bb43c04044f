package v3rpc

import "cairn/internal/kv"

// renewalRequest is a LeaseKeepAliveRequest.
type renewalRequest struct{ id kv.LeaseID }

// UnmarshalWire implements grpcserver.WireUnmarshaler.
func (r *renewalRequest) UnmarshalWire(b []byte) error {
	r.id = 0
	return eachField(b, func(f field) {
		if f.num == 1 {
			r.id = kv.LeaseID(f.v)
		}
	})
}

// KeepsNothing implements grpcserver.WireCopier.
func (*renewalRequest) KeepsNothing() {}

// renewalResponse is a LeaseKeepAliveResponse.
type renewalResponse struct {
	header header
	id     kv.LeaseID
	ttl    int64
}

// AppendWire implements grpcserver.WireAppender.
func (r *renewalResponse) AppendWire(dst []byte) ([]byte, error) {
	dst = r.header.append(dst)
	dst = appendNumber(dst, 2, uint64(r.id))
	return appendNumber(dst, 3, uint64(r.ttl)), nil
}
