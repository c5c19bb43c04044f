package v3rpc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// slowLog logs unary calls that took long, in the form of etcd, which log pipelines parse.
type slowLog struct {
	log   *slog.Logger // nil logs nothing
	limit time.Duration
}

func (l slowLog) is(took time.Duration) bool { return l.log != nil && took > l.limit }

// write logs a call. req and resp are nil if there were none.
func (l slowLog) write(ctx context.Context, method string, began time.Time, took time.Duration, req, resp any) {
	remote := ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		remote = p.Addr.String()
	}
	in, out := sizeOf(req), sizeOf(resp)
	l.log.Warn("request stats", "start time", began, "time spent", took, "remote", remote, "response type", method,
		"request count", in.count, "request size", in.bytes, "response count", out.count, "response size", out.bytes,
		"request content", content(req))
}

// size is how much a message has.
type size struct{ count, bytes int }

func sizeOf(message any) size {
	switch m := message.(type) {
	case *rangeRequest:
		return size{0, len(m.Key) + len(m.End)}
	case *putRequest:
		return size{1, len(m.Key) + len(m.Value)}
	case *rangeResponse:
		n := len(m.kvs)
		for _, piece := range m.full {
			n += len(piece)
		}
		return size{int(m.count), n}
	case *putResponse:
		if m.prev == nil {
			return size{}
		}
		return size{1, len(m.prev.Value)}
	case *etcdserverpb.TxnRequest:
		return size{len(m.Compare) + len(m.Success) + len(m.Failure), proto.Size(m)}
	case *etcdserverpb.TxnResponse:
		return size{len(m.Responses), proto.Size(m)}
	case *etcdserverpb.DeleteRangeResponse:
		return size{int(m.Deleted), proto.Size(m)}
	case proto.Message:
		return size{0, proto.Size(m)}
	}
	return size{}
}

// content describes a request without its values and passwords.
func content(req any) string {
	switch m := req.(type) {
	case *rangeRequest:
		text := fmt.Sprintf("key:%q ", m.Key)
		if len(m.End) > 0 {
			text += fmt.Sprintf("range_end:%q ", m.End)
		}
		if m.Limit > 0 {
			text += fmt.Sprintf("limit:%d ", m.Limit)
		}
		if m.Revision > 0 {
			text += fmt.Sprintf("revision:%d ", m.Revision)
		}
		return text
	case *putRequest:
		return fmt.Sprintf("key:%q value_size:%d lease:%d ", m.Key, len(m.Value), m.Lease)
	case *etcdserverpb.DeleteRangeRequest:
		return fmt.Sprintf("key:%q range_end:%q ", m.Key, m.RangeEnd)
	case *etcdserverpb.TxnRequest:
		return fmt.Sprintf("compare:%d success:<%s> failure:<%s>", len(m.Compare), operations(m.Success), operations(m.Failure))
	case *etcdserverpb.CompactionRequest:
		return fmt.Sprintf("revision:%d physical:%t ", m.Revision, m.Physical)
	case *etcdserverpb.LeaseGrantRequest:
		return fmt.Sprintf("TTL:%d ID:%x ", m.TTL, m.ID)
	case *etcdserverpb.LeaseRevokeRequest:
		return fmt.Sprintf("ID:%x ", m.ID)
	}
	return "" // others have no keys, or secrets
}

// operationsMax is how many operations of a transaction are described.
const operationsMax = 5

func operations(ops []*etcdserverpb.RequestOp) (text string) {
	for i, op := range ops {
		if i == operationsMax {
			return text + fmt.Sprintf("and %d more", len(ops)-i)
		}
		switch r := op.GetRequest().(type) {
		case *etcdserverpb.RequestOp_RequestRange:
			text += fmt.Sprintf("request_range:<key:%q range_end:%q> ", r.RequestRange.GetKey(), r.RequestRange.GetRangeEnd())
		case *etcdserverpb.RequestOp_RequestPut:
			text += fmt.Sprintf("request_put:<key:%q value_size:%d> ", r.RequestPut.GetKey(), len(r.RequestPut.GetValue()))
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			text += fmt.Sprintf("request_delete_range:<key:%q range_end:%q> ", r.RequestDeleteRange.GetKey(), r.RequestDeleteRange.GetRangeEnd())
		case *etcdserverpb.RequestOp_RequestTxn:
			text += fmt.Sprintf("request_txn:<%d operations> ", len(r.RequestTxn.GetSuccess())+len(r.RequestTxn.GetFailure()))
		}
	}
	return text
}

// decoding remembers the request that a handler decodes, for the log. It is pooled to save an
// allocation per call.
type decoding struct {
	dec    func(any) error
	req    any
	decode func(any) error
}

var decodings = sync.Pool{New: func() any {
	d := new(decoding)
	d.decode = func(req any) error {
		d.req = req
		return d.dec(req)
	}
	return d
}}

// ended returns the time at which the call's handler returned, or shortly before.
func (d *decoding) ended() time.Time {
	if r, ok := d.req.(*rangeRequest); ok && !r.read.IsZero() {
		return r.read
	}
	return time.Now()
}

func (d *decoding) put() {
	d.dec, d.req = nil, nil
	decodings.Put(d)
}
