package v3rpc

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v3op"
)

// kvService is etcdserverpb.KV.
var kvService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.KV_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.KV_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "Range", Handler: callOnce(etcdserverpb.KV_Range_FullMethodName, (*server).rangeKeys)},
		{MethodName: "Put", Handler: callOnce(etcdserverpb.KV_Put_FullMethodName, (*server).put)},
		{MethodName: "DeleteRange", Handler: callOnce(etcdserverpb.KV_DeleteRange_FullMethodName, (*server).deleteRange)},
		{MethodName: "Txn", Handler: callOnce(etcdserverpb.KV_Txn_FullMethodName, (*server).txn)},
		{MethodName: "Compact", Handler: callOnce(etcdserverpb.KV_Compact_FullMethodName, (*server).compact)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "RangeStream", Handler: rangeStream, ServerStreams: true},
	},
}

// RunsOnReader reports whether the transport should run a call on the goroutine that reads the
// connection. If the call must wait it calls Done of its context, by which the transport notices,
// and lets another goroutine read on. The read of one key usually takes microseconds and does not
// wait. A put waits for the disk; if it is alone on its connection the other goroutine is woken
// while the put proceeds, instead of a goroutine for the put.
func RunsOnReader(fullMethod string, request []byte, alone bool) bool {
	switch fullMethod {
	case etcdserverpb.KV_Put_FullMethodName:
		return alone
	case etcdserverpb.KV_Range_FullMethodName:
	default:
		return false
	}
	single := true
	err := eachField(request, func(f field) { single = single && f.num != 2 })
	return single && err == nil
}

func (s *server) rangeKeys(ctx context.Context, req *rangeRequest) (any, error) {
	if err := checkRange(&req.RangeOp); err != nil {
		return nil, err
	}
	if !req.serializable {
		waited := s.cfg.Tracer.Now(ctx)
		if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
			return nil, err
		}
		s.cfg.Tracer.PartUntilNow(ctx, "read index", waited)
	}
	s.meters.Ranges.Inc()
	resp := &rangeResponse{keysOnly: req.KeysOnly}
	var sum mvcc.RangeSummary
	began := time.Now()
	resp.walk = budget.NewWalk(ctx, budget.FromContext(ctx))
	resp.walk.InPieces()
	if req.SingleKey() {
		resp.walk.Brief()
		resp.walk.AtMost(oneRecord)
	} else {
		resp.walk.AtMost(func() int64 { return rangeAtMost(s.member.Requests.Keys().Reading(), &req.RangeOp) })
	}
	err := resp.walk.Run(resp, false, func() error {
		return s.read(ctx, permitRange(req.KeyRange), func() (err error) {
			resp.Reset()
			sum, err = s.member.Requests.Keys().Range(&req.RangeOp, resp)
			return err
		})
	})
	req.read = time.Now()
	took := req.read.Sub(began)
	s.meters.Range(err == nil).Observe(took.Seconds())
	if s.cfg.Logger != nil && took > s.cfg.SlowRange {
		s.logSlowRange(req, sum.Count, took, err)
	}
	if s.cfg.Tracer.Records(ctx) {
		s.cfg.Tracer.Part(ctx, "range", began, req.read)
	}
	if err != nil {
		return nil, err
	}
	resp.header, resp.more, resp.count = s.header(sum.Revision), sum.More, sum.Count
	return resp, nil
}

// logSlowRange logs a read in the form of etcd, which log pipelines parse.
func (s *server) logSlowRange(req *rangeRequest, count int64, took time.Duration, err error) {
	attrs := []any{
		"took", took, "expected-duration", s.cfg.SlowRange, "prefix", "read-only range ",
		"request", content(req), "response", fmt.Sprintf("range_response_count:%d", count),
	}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	s.cfg.Logger.Warn("apply request took too long", attrs...)
}

func checkRange(op *mvcc.RangeOp) error {
	switch {
	case len(op.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case op.Order > mvcc.SortDescend, op.Target > mvcc.SortByValue:
		return rpctypes.ErrGRPCInvalidSortOption
	default:
		return nil
	}
}

func (s *server) put(ctx context.Context, req *putRequest) (any, error) {
	if err := checkPut(&req.PutOp); err != nil {
		return nil, err
	}
	if err := s.member.Space.CheckSpace(); err != nil {
		return nil, err
	}
	payload := machine.AppendPut(make([]byte, 0, len(req.Key)+len(req.Value)+24), &req.PutOp)
	res, err := s.propose(ctx, machine.KindPut, payload, func(subject *auth.Subject) error {
		return machine.PermitPut(subject, &req.PutOp)
	})
	if err != nil {
		return nil, err
	}
	resp := &putResponse{header: s.header(res.Put.Revision), prev: res.Put.Prev}
	if resp.prev == nil {
		return resp, nil
	}
	resp.held, err = holdResult(ctx, resp.SizeWire())
	return resp, err
}

func checkPut(op *mvcc.PutOp) error {
	switch {
	case len(op.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case op.IgnoreValue && len(op.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case op.IgnoreLease && op.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	default:
		return nil
	}
}

// deleteRequest is a DeleteRangeRequest.
type deleteRequest = etcdserverpb.DeleteRangeRequest

func (s *server) deleteRange(ctx context.Context, req *deleteRequest) (any, error) {
	op := v3op.Delete(req)
	if len(op.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	permit := func(who *auth.Subject) error { return machine.PermitDelete(who, op) }
	var w *weight
	if !op.SingleKey() {
		var err error
		if w, err = s.weigh(ctx, &mvcc.TxnOp{Success: []mvcc.Op{{Delete: op}}}, permit); err != nil {
			return nil, err
		}
		defer w.end()
	}
	res, err := s.propose(ctx, machine.KindDelete, machine.AppendDelete(nil, op), permit)
	if err != nil {
		return nil, err
	}
	h := s.header(res.Delete.Revision)
	return w.hold(ctx, deleteResponse(h.proto(), &res.Delete))
}

// txn serves KV.Txn.
func (s *server) txn(ctx context.Context, req *etcdserverpb.TxnRequest) (any, error) {
	resp, w, err := s.runTxn(ctx, req)
	if err != nil {
		return nil, err
	}
	defer w.end()
	return w.hold(ctx, resp)
}

// runTxn runs a transaction on behalf of the caller, who must end the weight.
func (s *server) runTxn(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, *weight, error) {
	if err := checkTxn(req, s.cfg.TxnOpsMax); err != nil {
		return nil, nil, err
	}
	s.meters.Txns.Inc()
	t := v3op.Txn(req)
	if t.ReadOnly() {
		return s.readTxn(ctx, req, t)
	}
	if v3op.AddsData(req) {
		if err := s.member.Space.CheckSpace(); err != nil {
			return nil, nil, err
		}
	}
	permit := func(who *auth.Subject) error { return machine.PermitTxn(who, t) }
	var w *weight
	if readsRanges(t) {
		var err error
		if w, err = s.weigh(ctx, t, permit); err != nil {
			return nil, nil, err
		}
	}
	res, err := s.propose(ctx, machine.KindTxn, machine.AppendTxn(nil, t), permit)
	if err != nil {
		w.end()
		return nil, nil, err
	}
	h := s.header(res.Txn.Revision)
	return txnResponse(h.proto(), &res.Txn), w, nil
}

func (s *server) readTxn(ctx context.Context, req *etcdserverpb.TxnRequest, t *mvcc.TxnOp) (*etcdserverpb.TxnResponse, *weight, error) {
	if !serializable(req) {
		if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
			return nil, nil, err
		}
	}
	var res mvcc.TxnResult
	w := newWeight(ctx)
	w.walk.AtMost(func() int64 { return txnAtMost(s.member.Requests.Keys().Reading(), t) })
	err := w.walk.Run(w, true, func() error {
		return s.read(ctx, func(who *auth.Subject) error { return machine.PermitTxn(who, t) }, func() (err error) {
			res, err = s.member.Requests.Keys().ReadTxn(t, w)
			return err
		})
	})
	if err != nil {
		w.end()
		return nil, nil, err
	}
	h := s.header(res.Revision)
	return txnResponse(h.proto(), &res), w, nil
}

func (s *server) compact(ctx context.Context, req *etcdserverpb.CompactionRequest) (any, error) {
	res, err := s.propose(ctx, machine.KindCompact, machine.AppendCompact(nil, req.Revision), auth.PermitRoot)
	if err != nil {
		return nil, err
	}
	if req.Physical {
		if err := s.member.Space.WaitSwept(ctx); err != nil {
			return nil, err
		}
	}
	h := s.header(res.Revision)
	return &etcdserverpb.CompactionResponse{Header: h.proto()}, nil
}
