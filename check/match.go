package check

import (
	"cmp"
	"reflect"
	"slices"
)

// effect is what a response reveals about its request.
type effect int

const (
	floats  effect = iota // the response has no revision
	reads                 // the revision stayed as it was
	writes                // the revision moved
	unclear               // either
)

// effectOf derives the effect of a request from a known response.
func effectOf(o *Operation) effect {
	r := &o.Response
	switch {
	case r.Revision == 0:
		return floats
	case r.Err != "":
		return reads
	case o.Request.V2 != nil:
		if o.Request.V2.Do == V2Get {
			return reads
		}
		return writes
	case o.Request.Lease != nil && o.Request.Lease.Do == Revoke:
		return unclear
	case o.Request.Foreign != nil, wrote(&o.Request, r):
		return writes
	default:
		return reads
	}
}

func wrote(req *Request, r *Response) bool {
	switch {
	case req.Put != nil:
		return true
	case req.Delete != nil:
		return r.Deleted > 0
	case req.Txn != nil && r.Txn != nil:
		ops := req.Txn.Else
		if r.Txn.Succeeded {
			ops = req.Txn.Then
		}
		for i := range min(len(ops), len(r.Txn.Responses)) {
			if wrote(&ops[i], &r.Txn.Responses[i]) {
				return true
			}
		}
	}
	return false
}

// readOnly reports whether a request cannot change anything that other requests see.
func readOnly(r *Request) bool {
	switch {
	case r.Range != nil:
		return true
	case r.V2 != nil:
		return r.V2.Do == V2Get
	case r.Txn != nil:
		not := func(op Request) bool { return !readOnly(&op) }
		return !slices.ContainsFunc(r.Txn.Then, not) && !slices.ContainsFunc(r.Txn.Else, not)
	default:
		return false
	}
}

// try executes a request on a state and reports whether the response equals the one that the client
// received. The members' clocks may differ by slack.
func try(s *State, o *Operation, slack int64) (next *State, events []Event, ok bool) {
	req := o.Request
	if o.Known() && o.Response.Err == ErrLeaseNotFound && req.Lease != nil && req.Lease.Do == Renew {
		// An expired lease is not renewed, even if its keys have not been deleted yet.
		if l, ok := s.leases.get(leaseName(req.Lease.ID)); ok && l.over(o.Return, slack) && s.auth.permits(s, req) {
			return s, nil, true
		}
	}
	if o.Known() && req.Lease != nil && req.Lease.Do == Grant && o.Response.TTL > 0 {
		granted := *req.Lease
		granted.TTL = o.Response.TTL // a cluster may grant more than requested
		req.Lease = &granted
	}
	next, resp, events := Step(s, req, o.Call, o.Return)
	if !o.Known() {
		return next, events, resp.Err == ""
	}
	if resp.Err == ErrAuth && o.Response.Err == "" && s.auth.idle(req.Auth) {
		resp.Err, resp.Revision = "", s.Revision
	}
	return next, events, sameResponse(&resp, &o.Response)
}

func sameResponse(model, got *Response) bool {
	if model.Err != got.Err || got.Revision != 0 && model.Revision != got.Revision {
		return false
	}
	if model.Err != "" && model.Err != ErrV2 {
		return true
	}
	return sameContent(model, got)
}

func sameContent(model, got *Response) bool {
	switch {
	case model.Range != nil:
		return got.Range != nil && model.Range.More == got.Range.More && model.Range.Count == got.Range.Count &&
			slices.Equal(model.Range.KVs, got.Range.KVs)
	case model.Txn != nil:
		return got.Txn != nil && model.Txn.Succeeded == got.Txn.Succeeded && slices.EqualFunc(
			model.Txn.Responses, got.Txn.Responses, func(a, b Response) bool { return sameContent(&a, &b) },
		)
	case model.V2 != nil:
		return got.V2 != nil && sameV2(model.V2, got.V2)
	case (model.Prev == nil) != (got.Prev == nil), model.Prev != nil && *model.Prev != *got.Prev:
		return false
	default:
		return model.Deleted == got.Deleted && slices.Equal(model.Prevs, got.Prevs)
	}
}

func sameV2(model, got *V2Response) bool {
	if model.Code != 0 || got.Code != 0 {
		return model.Code == got.Code && model.Cause == got.Cause
	}
	return model.Action == got.Action && sameNode(&model.Node, &got.Node) && reflect.DeepEqual(model.Prev, got.Prev)
}

func sameNode(a, b *V2Node) bool {
	return a.Key == b.Key && a.Dir == b.Dir && a.Value == b.Value && a.Created == b.Created && a.Modified == b.Modified && a.TTL == b.TTL &&
		slices.EqualFunc(a.Nodes, b.Nodes, func(a, b V2Node) bool { return sameNode(&a, &b) })
}

// byKey returns the events of one revision sorted by key, for comparison.
func byKey(events []Event) []Event {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int {
		if c := cmp.Compare(a.KV.Key, b.KV.Key); c != 0 || a.Dir == b.Dir {
			return c
		}
		if a.Dir {
			return -1
		}
		return 1
	})
	return events
}

// ofKeys returns the events that are not of directories.
func ofKeys(events []Event) (keys []Event) {
	for _, e := range events {
		if !e.Dir {
			keys = append(keys, e)
		}
	}
	return keys
}

// sameEvent compares events, without Prev.
func sameEvent(a, b Event) bool { return a.Delete == b.Delete && a.Dir == b.Dir && a.KV == b.KV }
