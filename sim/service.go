package sim

import (
	"errors"

	"cairn/check"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
	"cairn/internal/v2tree"
)

// serve executes a request, as the servers above package member do. done may never be called.
func (m *member) serve(r check.Request, done func(check.Response)) {
	if r.Lease != nil && r.Lease.Do == check.Renew {
		m.renew(r, done)
		return
	}
	if m.serveCommand(r, done) {
		return
	}
	answer := func() { done(m.readNow(&r)) }
	if r.Range != nil && r.Range.Stream {
		answer = func() { m.readChunks(&r, done) }
	}
	local := r.Range != nil && r.Range.Serializable || r.V2 != nil && !r.V2.Linearized
	if local || m.w.bug == bugStaleRead && m.r.Leads() {
		answer()
		return
	}
	m.questions = append(m.questions, &question{done: answer})
	m.kick()
}

// serveCommand proposes the command of a request, if it has one.
func (m *member) serveCommand(r check.Request, done func(check.Response)) bool {
	if command, ok := commandOf(&r); ok {
		p := &proposal{command: command, done: func(res *machine.Result) { done(responseOf(&r, res)) }}
		if r.Member != nil {
			p.change = machine.NewChange(memberCommand(r.Member))
		}
		if !m.onBehalf(&r, p) {
			done(check.Response{Err: check.ErrRefused})
			return true
		}
		m.proposals = append(m.proposals, p)
		m.kick()
		return true
	}
	return false
}

// onBehalf adds an actor to a command, by the users that this member knows.
func (m *member) onBehalf(r *check.Request, p *proposal) bool {
	s := m.machine.Auth().State()
	if !s.Enabled {
		return true
	}
	if r.User == "" && !r.Guest {
		return false // without credentials the request ends here
	}
	a := actorOf(r, s.Revision)
	if who := s.Subject(a); m.w.bug == bugNoAuthAtApply && (who == nil || !permitted(who, r)) {
		return false
	}
	p.command = replica.Command{
		Kind: machine.KindAs, Payload: machine.AppendAs(nil, a, p.command.Kind, p.command.Payload),
	}
	return true
}

func actorOf(r *check.Request, revision uint64) *auth.Actor {
	return &auth.Actor{Name: r.User, Guest: r.Guest, Revision: revision}
}

// permitted is the only check that remains with a planted bug.
func permitted(who *auth.Subject, r *check.Request) bool {
	switch {
	case r.Put != nil:
		return machine.PermitPut(who, putOp(r.Put)) == nil
	case r.Delete != nil:
		return machine.PermitDelete(who, deleteOp(r.Delete)) == nil
	case r.Txn != nil:
		return machine.PermitTxn(who, txnOp(r.Txn)) == nil
	case r.Lease != nil:
		return true
	default:
		return who.Root()
	}
}

// commandOf returns the command of a request that goes through the log.
func commandOf(r *check.Request) (c replica.Command, ok bool) {
	switch {
	case r.Put != nil:
		return replica.Command{Kind: machine.KindPut, Payload: machine.AppendPut(nil, putOp(r.Put))}, true
	case r.Delete != nil:
		return replica.Command{Kind: machine.KindDelete, Payload: machine.AppendDelete(nil, deleteOp(r.Delete))}, true
	case r.Txn != nil:
		t := txnOp(r.Txn)
		return replica.Command{Kind: machine.KindTxn, Payload: machine.AppendTxn(nil, t)}, !t.ReadOnly()
	case r.Compact != nil:
		return replica.Command{Kind: machine.KindCompact, Payload: machine.AppendCompact(nil, r.Compact.Revision)}, true
	case r.Lease != nil:
		c := lease.Command{ID: kv.LeaseID(r.Lease.ID), TTL: r.Lease.TTL}
		c.Kind = []lease.Kind{lease.KindGrant, lease.KindRevoke, lease.KindRenew}[r.Lease.Do]
		return replica.Command{Kind: machine.KindLease, Payload: c.Append(nil)}, true
	case r.V2 != nil && r.V2.Do != check.V2Get:
		return replica.Command{Kind: machine.KindV2, Payload: v2Command(r.V2).Append(nil)}, true
	case r.Auth != nil:
		return replica.Command{Kind: machine.KindAuth, Payload: authCommand(r.Auth).Append(nil)}, true
	case r.Member != nil:
		return replica.Command{Kind: machine.KindMembership, Payload: memberCommand(r.Member).Append(nil)}, true
	default:
		return c, false
	}
}

func keyRange(key, end string) kv.KeyRange {
	r := kv.KeyRange{Key: []byte(key)}
	if end != "" {
		r.End = []byte(end)
	}
	return r
}

func putOp(p *check.Put) *mvcc.PutOp {
	return &mvcc.PutOp{
		Key: []byte(p.Key), Value: []byte(p.Value), Lease: kv.LeaseID(p.Lease), PrevKV: p.PrevKV,
		IgnoreValue: p.IgnoreValue, IgnoreLease: p.IgnoreLease,
	}
}

func deleteOp(d *check.Delete) *mvcc.DeleteOp {
	return &mvcc.DeleteOp{KeyRange: keyRange(d.Key, d.End), PrevKV: d.PrevKV}
}

func rangeOp(r *check.Range) *mvcc.RangeOp {
	return &mvcc.RangeOp{
		KeyRange: keyRange(r.Key, r.End), Limit: r.Limit, Revision: r.Revision, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
	}
}

func txnOp(t *check.Txn) *mvcc.TxnOp {
	out := &mvcc.TxnOp{Success: ops(t.Then), Failure: ops(t.Else)}
	for i := range t.If {
		c := &t.If[i]
		out.Compares = append(out.Compares, mvcc.Compare{
			KeyRange: keyRange(c.Key, c.End), Target: mvcc.CompareTarget(c.Target), Result: mvcc.CompareResult(c.Result),
			Number: c.Number, Value: []byte(c.Value),
		})
	}
	return out
}

func ops(requests []check.Request) (out []mvcc.Op) {
	for i := range requests {
		var op mvcc.Op
		switch r := &requests[i]; {
		case r.Range != nil:
			op.Range = rangeOp(r.Range)
		case r.Put != nil:
			op.Put = putOp(r.Put)
		case r.Delete != nil:
			op.Delete = deleteOp(r.Delete)
		default:
			op.Txn = txnOp(r.Txn)
		}
		out = append(out, op)
	}
	return out
}

var v2Kinds = map[string]v2tree.Kind{
	check.V2Set: v2tree.KindSet, check.V2Create: v2tree.KindCreate, check.V2CreateInOrder: v2tree.KindCreateInOrder,
	check.V2Update: v2tree.KindUpdate, check.V2CompareAndSwap: v2tree.KindCompareAndSwap,
	check.V2Delete: v2tree.KindDelete, check.V2CompareAndDelete: v2tree.KindCompareAndDelete,
}

func v2Command(r *check.V2) *v2tree.Command {
	return &v2tree.Command{
		Kind: v2Kinds[r.Do], Path: []byte(r.Path), Value: []byte(r.Value), Dir: r.Dir, Recursive: r.Recursive, Refresh: r.Refresh,
		HasTTL: r.HasTTL, TTL: durationOf(r.TTL), PrevValue: []byte(r.PrevValue), PrevIndex: uint64(r.PrevIndex),
	}
}

var authKinds = [...]auth.Kind{
	check.AuthEnable: auth.KindEnable, check.AuthDisable: auth.KindDisable,
	check.AuthUserAdd: auth.KindV3UserAdd, check.AuthUserDelete: auth.KindUserDelete,
	check.AuthUserGrant: auth.KindV3UserGrant, check.AuthUserRevoke: auth.KindV3UserRevoke,
	check.AuthRoleAdd: auth.KindV3RoleAdd, check.AuthRoleDelete: auth.KindRoleDelete,
	check.AuthRoleGrant: auth.KindV3RoleGrant, check.AuthRoleRevoke: auth.KindV3RoleRevoke,
	check.AuthV2Enable: auth.KindEnable, check.AuthV2Grant: auth.KindV2RoleUpdate, check.AuthV2Revoke: auth.KindV2RoleUpdate,
}

func authCommand(a *check.Auth) *auth.Command {
	if a.Do == check.AuthV2Enable || a.Do == check.AuthV2Grant || a.Do == check.AuthV2Revoke {
		return v2AuthCommand(a)
	}
	return &auth.Command{
		Kind: authKinds[a.Do], Name: a.Name, Role: a.Role,
		Permission: auth.Permission{KeyRange: keyRange(a.Permission.Key, a.Permission.End), Access: auth.Access(a.Permission.Access)},
	}
}

func memberCommand(r *check.Member) *membership.Command {
	kind := []membership.Kind{membership.KindAdd, membership.KindAdd, membership.KindPromote, membership.KindRemove}[r.Do]
	return &membership.Command{
		Kind: kind, ID: uint64(r.ID), PeerURLs: []string{r.URL}, Learner: r.Do == check.MemberAddLearner, LearnersMax: 2,
	}
}

// readNow executes a read on the applied state.
func (m *member) readNow(r *check.Request) check.Response {
	s := m.machine.Auth().State()
	who := s.Subject(&auth.Actor{Name: r.User, Guest: r.Guest})
	if s.Enabled && r.User == "" && !r.Guest {
		return check.Response{Err: check.ErrRefused}
	}
	if who == nil {
		return check.Response{Err: check.ErrDenied}
	}
	keys := m.machine.Keys()
	switch {
	case r.Range != nil:
		if err := machine.PermitRange(who, keyRange(r.Range.Key, r.Range.End)); err != nil {
			return check.Response{Err: errorOf(err)}
		}
		var found mvcc.Collector
		found.KeysOnly = r.Range.KeysOnly
		sum, err := keys.Range(rangeOp(r.Range), &found)
		if err != nil {
			return check.Response{Err: errorOf(err)}
		}
		return check.Response{Revision: sum.Revision, Range: rangeResponse(&mvcc.RangeResult{Keys: found.Keys, More: sum.More, Count: sum.Count})}
	case r.Txn != nil:
		t := txnOp(r.Txn)
		if err := machine.PermitTxn(who, t); err != nil {
			return check.Response{Err: errorOf(err)}
		}
		res, err := keys.ReadTxn(t, nil)
		if err != nil {
			return check.Response{Err: errorOf(err)}
		}
		return check.Response{Revision: res.Revision, Txn: txnResponse(&res)}
	default:
		if !mayGetV2(who, r.V2) {
			return check.Response{Err: check.ErrDenied}
		}
		n, index, err := v2tree.Get(keys.Reading, []byte(r.V2.Path), r.V2.Recursive, m.machine.ClusterTime(), mvcc.Unlimited)
		if err != nil {
			return v2Error(err)
		}
		if m.w.bug != bugShowAll {
			showV2(who, &n)
		}
		return check.Response{Revision: index, V2: &check.V2Response{Action: check.V2Get, Node: v2Node(&n)}}
	}
}

// errorOf returns package check's name of an error.
func errorOf(err error) string {
	for known, name := range map[error]string{
		mvcc.ErrCompacted: check.ErrCompacted, mvcc.ErrFutureRevision: check.ErrFuture, mvcc.ErrKeyNotFound: check.ErrKeyNotFound,
		mvcc.ErrLeaseNotFound: check.ErrLeaseNotFound, lease.ErrExists: check.ErrLeaseExists,
		auth.Denied: check.ErrDenied, auth.UserNotFound: check.ErrDenied,
	} {
		if errors.Is(err, known) {
			return name
		}
	}
	return check.ErrRefused
}

// responseOf converts the result of a command. It copies the data: the result's memory is the
// store's.
func responseOf(r *check.Request, res *machine.Result) check.Response {
	if res.Err != nil {
		switch {
		case r.Auth != nil && errors.As(res.Err, new(*auth.Refusal)):
			return check.Response{Err: check.ErrAuth}
		case r.V2 != nil:
			return v2Error(res.Err)
		default:
			return check.Response{Err: errorOf(res.Err)}
		}
	}
	out := check.Response{Revision: res.Revision}
	switch {
	case r.Put != nil:
		if res.Put.Prev != nil {
			prev := kvOf(res.Put.Prev)
			out.Prev = &prev
		}
	case r.Delete != nil:
		out.Deleted, out.Prevs = res.Delete.Deleted, kvsOf(res.Delete.Prev)
	case r.Txn != nil:
		out.Txn = txnResponse(&res.Txn)
	case r.Lease != nil && r.Lease.Do != check.Revoke:
		out.TTL = res.Lease.TTL
	case r.V2 != nil:
		out.V2 = &check.V2Response{Action: res.V2.Action.String(), Node: v2Node(&res.V2.Node)}
		if res.V2.HasPrev {
			prev := v2Node(&res.V2.Prev)
			out.V2.Prev = &prev
		}
	}
	return out
}

func v2Error(err error) check.Response {
	var refused *v2tree.Error
	if !errors.As(err, &refused) {
		return check.Response{Err: errorOf(err)}
	}
	return check.Response{Revision: refused.Index, Err: check.ErrV2, V2: &check.V2Response{Code: refused.Code, Cause: refused.Cause}}
}

func kvOf(k *mvcc.KeyRecord) check.KV { return recordOf(k.Key, &k.Record) }

func recordOf(key []byte, r *kv.Record) check.KV {
	return check.KV{
		Key: string(key), Value: string(r.Value), Create: r.CreateRevision, Mod: r.Mod.Main, Version: r.Version, Lease: int64(r.Lease),
	}
}

func kvsOf(keys []mvcc.KeyRecord) (out []check.KV) {
	for i := range keys {
		out = append(out, kvOf(&keys[i]))
	}
	return out
}

func rangeResponse(r *mvcc.RangeResult) *check.RangeResponse {
	return &check.RangeResponse{KVs: kvsOf(r.Keys), More: r.More, Count: r.Count}
}

func txnResponse(t *mvcc.TxnResult) *check.TxnResponse {
	out := &check.TxnResponse{Succeeded: t.Succeeded}
	for i := range t.Results {
		var resp check.Response
		switch r := &t.Results[i]; {
		case r.Range != nil:
			resp.Range = rangeResponse(r.Range)
		case r.Put != nil:
			if r.Put.Prev != nil {
				prev := kvOf(r.Put.Prev)
				resp.Prev = &prev
			}
		case r.Delete != nil:
			resp.Deleted, resp.Prevs = r.Delete.Deleted, kvsOf(r.Delete.Prev)
		case r.Txn != nil:
			resp.Txn = txnResponse(r.Txn)
		}
		out.Responses = append(out.Responses, resp)
	}
	return out
}

func v2Node(n *v2tree.Node) check.V2Node {
	out := check.V2Node{
		Key: string(n.Key), Dir: n.Dir, Value: string(n.Value), Created: n.Created, Modified: n.Modified, TTL: n.Expires,
	}
	for i := range n.Nodes {
		out.Nodes = append(out.Nodes, v2Node(&n.Nodes[i]))
	}
	return out
}
