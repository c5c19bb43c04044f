package v3rpc

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// The messages of this file are RangeRequest, RangeResponse, PutRequest, PutResponse, KeyValue and
// ResponseHeader of etcd's rpc.proto and kv.proto; the field numbers are beside the code.
// wire_test.go compares them with the published messages.

// errWire is wrapped by the errors about requests that are not protobuf.
var errWire = errors.New("malformed message")

// field is one field of a message: a number in v, or bytes in b.
type field struct {
	num protowire.Number
	v   uint64
	b   []byte
}

// eachField calls f with the fields of a message, in order. Fields of types that the messages of
// this file do not have are ignored, like unknown ones.
func eachField(b []byte, f func(field)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errWire, protowire.ParseError(n))
		}
		b = b[n:]
		fd := field{num: num}
		switch typ {
		case protowire.VarintType:
			fd.v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			if fd.b, n = protowire.ConsumeBytes(b); n >= 0 && fd.b == nil {
				fd.b = []byte{}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", errWire, num, protowire.ParseError(n))
		}
		b = b[n:]
		f(fd)
	}
	return nil
}

// rangeRequest is a RangeRequest. It aliases the connection's bytes, which are valid while the call
// is handled.
type rangeRequest struct {
	mvcc.RangeOp
	serializable bool
	// read is when the keys had been read. The call ends then, too, so that the observer need not
	// read the clock again: it takes a hundredth of a get.
	read time.Time
}

// UnmarshalWire implements grpcserver.WireUnmarshaler.
func (r *rangeRequest) UnmarshalWire(b []byte) error {
	return eachField(b, func(f field) {
		switch f.num {
		case 1:
			r.Key = f.b
		case 2:
			r.End = f.b
		case 3:
			r.Limit = int64(f.v)
		case 4:
			r.Revision = int64(f.v)
		case 5:
			r.Order = mvcc.SortOrder(min(f.v, 255))
		case 6:
			r.Target = mvcc.SortTarget(min(f.v, 255))
		case 7:
			r.serializable = f.v != 0
		case 8:
			r.KeysOnly = f.v != 0
		case 9:
			r.CountOnly = f.v != 0
		case 10:
			r.MinMod = int64(f.v)
		case 11:
			r.MaxMod = int64(f.v)
		case 12:
			r.MinCreate = int64(f.v)
		case 13:
			r.MaxCreate = int64(f.v)
		}
	})
}

// putRequest is a PutRequest. It aliases the connection's bytes, like a rangeRequest.
type putRequest struct {
	mvcc.PutOp
}

// UnmarshalWire implements grpcserver.WireUnmarshaler.
func (r *putRequest) UnmarshalWire(b []byte) error {
	return eachField(b, func(f field) {
		switch f.num {
		case 1:
			r.Key = f.b
		case 2:
			r.Value = f.b
		case 3:
			r.Lease = kv.LeaseID(f.v)
		case 4:
			r.PrevKV = f.v != 0
		case 5:
			r.IgnoreValue = f.v != 0
		case 6:
			r.IgnoreLease = f.v != 0
		}
	})
}

// header is a ResponseHeader.
type header struct {
	clusterID, memberID uint64
	revision            int64
	term                uint64
}

func sizeNumber(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

// appendNumber appends a varint field of a number below 16, unless it is zero.
func appendNumber(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(append(dst, byte(num)<<3), v)
}

// appendBytes appends a bytes field of a number below 16, unless it is empty.
func appendBytes(dst []byte, num protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return protowire.AppendBytes(append(dst, byte(num)<<3|byte(protowire.BytesType)), b)
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

func (h *header) size() int {
	return sizeNumber(h.clusterID) + sizeNumber(h.memberID) + sizeNumber(uint64(h.revision)) + sizeNumber(h.term)
}

// append appends the header as field 1, as every response has it.
func (h *header) append(dst []byte) []byte {
	dst = protowire.AppendVarint(append(dst, 1<<3|byte(protowire.BytesType)), uint64(h.size()))
	dst = appendNumber(dst, 1, h.clusterID)
	dst = appendNumber(dst, 2, h.memberID)
	dst = appendNumber(dst, 3, uint64(h.revision))
	return appendNumber(dst, 4, h.term)
}

func (h header) proto() *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{
		ClusterId: h.clusterID, MemberId: h.memberID, Revision: h.revision, RaftTerm: h.term,
	}
}

// appendKeyValue appends a KeyValue as field num of the message around it.
func appendKeyValue(dst []byte, num protowire.Number, key []byte, r *kv.Record, keysOnly bool) []byte {
	value := r.Value
	if keysOnly {
		value = nil
	}
	dst = protowire.AppendVarint(append(dst, byte(num)<<3|byte(protowire.BytesType)), uint64(sizeKeyValue(key, value, r)))
	dst = appendRevisions(appendBytes(dst, 1, key), r)
	dst = appendBytes(dst, 5, value)
	return appendNumber(dst, 6, uint64(r.Lease))
}

func sizeKeyValue(key, value []byte, r *kv.Record) int {
	return sizeBytes(len(key)) + sizeNumber(uint64(r.CreateRevision)) + sizeNumber(uint64(r.Mod.Main)) +
		sizeNumber(uint64(r.Version)) + sizeBytes(len(value)) + sizeNumber(uint64(r.Lease))
}

// appendRevisions appends the fields of a KeyValue between key and value.
func appendRevisions(dst []byte, r *kv.Record) []byte {
	dst = appendNumber(dst, 2, uint64(r.CreateRevision))
	dst = appendNumber(dst, 3, uint64(r.Mod.Main))
	return appendNumber(dst, 4, uint64(r.Version))
}

// putResponse is a PutResponse.
type putResponse struct {
	header header
	prev   *mvcc.KeyRecord
	held   held
}

// SizeWire implements grpcserver.WireSizer.
func (r *putResponse) SizeWire() int {
	n := besidesMax
	if r.prev != nil {
		n += fixedBytesMax + len(r.prev.Key) + len(r.prev.Value)
	}
	return n
}

// AppendWire implements grpcserver.WireAppender.
func (r *putResponse) AppendWire(dst []byte) ([]byte, error) {
	dst = r.header.append(dst)
	if r.prev != nil {
		dst = appendKeyValue(dst, 2, r.prev.Key, &r.prev.Record, false)
		r.held.release()
	}
	return dst, nil
}
