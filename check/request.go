package check

import (
	"fmt"
	"strings"
)

// Request is one request of a client: exactly one field is not nil.
type Request struct {
	Range   *Range
	Put     *Put
	Delete  *Delete
	Txn     *Txn
	Compact *Compact
	Lease   *Lease
	V2      *V2
	Auth    *Auth
	Member  *Member
	Foreign *Foreign
	// User is the user that sends the request; "" means none.
	User string
	// Guest is set for a request of v2 without credentials.
	Guest bool
}

// Range reads keys.
type Range struct {
	Key, End     string
	Limit        int64
	Revision     int64
	KeysOnly     bool
	CountOnly    bool
	Serializable bool
	Stream       bool // read in chunks (RangeStream)
}

// Put writes a key.
type Put struct {
	Key, Value               string
	Lease                    int64
	PrevKV                   bool
	IgnoreValue, IgnoreLease bool
}

// Delete removes the keys of a range.
type Delete struct {
	Key, End string
	PrevKV   bool
}

// Txn runs Then when all comparisons hold, and Else otherwise.
type Txn struct {
	If         []Compare
	Then, Else []Request // ranges, puts, deletes, transactions
}

// Targets of a comparison.
const (
	CompareVersion = iota
	CompareCreate
	CompareMod
	CompareValue
	CompareLease
)

// Results that a comparison can require.
const (
	Equal = iota
	Greater
	Less
	NotEqual
)

// Compare is a condition on all keys of a range.
type Compare struct {
	Key, End string
	Target   int
	Result   int
	Number   int64
	Value    string
}

// Compact removes the history before a revision.
type Compact struct{ Revision int64 }

// Operations on a lease.
const (
	Grant = iota
	Revoke
	Renew
)

// Lease grants, revokes or renews one lease.
type Lease struct {
	Do  int
	ID  int64
	TTL int64 // seconds, of a grant
}

// Operations on the membership.
const (
	MemberAdd = iota
	MemberAddLearner
	MemberPromote
	MemberRemove
)

// Member changes the membership. In the model it changes no key, and does not move the revision.
type Member struct {
	Do  int
	ID  int64
	URL string
}

// The errors of the model. Recorders of histories translate the errors that they receive into
// these.
const (
	ErrCompacted     = "compacted"
	ErrFuture        = "future revision"
	ErrKeyNotFound   = "key not found"
	ErrLeaseNotFound = "lease not found"
	ErrLeaseExists   = "lease exists"
	ErrDenied        = "permission denied"
	// ErrAuth is returned for a change that the current users and roles do not allow.
	ErrAuth = "users or roles do not allow it"
	// ErrRefused is a refusal that has no effect and reveals nothing about the state: the cluster
	// cannot execute the request now.
	ErrRefused = "refused"
)

// Response is the response to a request.
type Response struct {
	// Revision is the store's when the request was executed; 0 when the response has none, as in
	// errors.
	Revision int64
	Err      string // "" or one of the errors above

	Range   *RangeResponse
	Prev    *KV // of a put
	Deleted int64
	Prevs   []KV // of a delete
	Txn     *TxnResponse
	TTL     int64 // of a grant or renewal
	V2      *V2Response
}

// RangeResponse is the result of a range.
type RangeResponse struct {
	KVs   []KV
	More  bool
	Count int64
}

// TxnResponse is the result of a transaction.
type TxnResponse struct {
	Succeeded bool
	Responses []Response // their Revision is ignored
}

func (r Request) String() string {
	var s string
	switch {
	case r.Range != nil:
		s = fmt.Sprintf("range %s%s", keys(r.Range.Key, r.Range.End), notes(
			note{"limit", r.Range.Limit}, note{"revision", r.Range.Revision}, note{"keys only", r.Range.KeysOnly},
			note{"count only", r.Range.CountOnly}, note{"serializable", r.Range.Serializable},
			note{"stream", r.Range.Stream},
		))
	case r.Put != nil:
		s = fmt.Sprintf("put %q=%q%s", r.Put.Key, r.Put.Value, notes(note{"lease", r.Put.Lease}, note{"prev", r.Put.PrevKV},
			note{"ignore value", r.Put.IgnoreValue}, note{"ignore lease", r.Put.IgnoreLease}))
	case r.Delete != nil:
		s = fmt.Sprintf("delete %s%s", keys(r.Delete.Key, r.Delete.End), notes(note{"prev", r.Delete.PrevKV}))
	case r.Txn != nil:
		s = fmt.Sprintf("txn if %v then %v else %v", r.Txn.If, r.Txn.Then, r.Txn.Else)
	case r.Compact != nil:
		s = fmt.Sprintf("compact %d", r.Compact.Revision)
	case r.Lease != nil:
		s = fmt.Sprintf("lease %s %x%s", []string{"grant", "revoke", "renew"}[r.Lease.Do], r.Lease.ID, notes(note{"ttl", r.Lease.TTL}))
	case r.V2 != nil:
		s = r.V2.String()
	case r.Auth != nil:
		s = r.Auth.String()
	case r.Foreign != nil:
		s = fmt.Sprintf("changes %v of clients outside of the history", r.Foreign.Events)
	case r.Member != nil:
		s = fmt.Sprintf("member %s %x", []string{"add", "add learner", "promote", "remove"}[r.Member.Do], r.Member.ID)
	}
	if r.Guest {
		return s + " as a guest"
	}
	if r.User != "" {
		s += " as " + r.User
	}
	return s
}

func (c Compare) String() string {
	target := []string{"version", "create", "mod", "value", "lease"}[c.Target]
	result := []string{"=", ">", "<", "!="}[c.Result]
	if c.Target == CompareValue {
		return fmt.Sprintf("%s(%s)%s%q", target, keys(c.Key, c.End), result, c.Value)
	}
	return fmt.Sprintf("%s(%s)%s%d", target, keys(c.Key, c.End), result, c.Number)
}

func keys(key, end string) string {
	if end == "" {
		return fmt.Sprintf("%q", key)
	}
	return fmt.Sprintf("[%q,%q)", key, end)
}

type note struct {
	name  string
	value any
}

func notes(all ...note) string {
	var b strings.Builder
	for _, n := range all {
		switch v := n.value.(type) {
		case bool:
			if v {
				b.WriteString(", " + n.name)
			}
		case int64:
			if v != 0 {
				fmt.Fprintf(&b, ", %s %d", n.name, v)
			}
		case string:
			if v != "" {
				fmt.Fprintf(&b, ", %s %q", n.name, v)
			}
		}
	}
	return b.String()
}

func (r Response) String() string {
	var b strings.Builder
	if r.Revision != 0 {
		fmt.Fprintf(&b, "@%d ", r.Revision)
	}
	switch {
	case r.Err != "":
		b.WriteString("error: " + r.Err)
	case r.Range != nil:
		fmt.Fprintf(&b, "%d of %d keys %s", len(r.Range.KVs), r.Range.Count, r.Range.KVs)
	case r.Txn != nil:
		fmt.Fprintf(&b, "succeeded=%t %v", r.Txn.Succeeded, r.Txn.Responses)
	case r.V2 != nil:
		b.WriteString(r.V2.String())
	case r.Deleted != 0:
		fmt.Fprintf(&b, "deleted %d %v", r.Deleted, r.Prevs)
	case r.Prev != nil:
		fmt.Fprintf(&b, "prev %v", *r.Prev)
	default:
		b.WriteString("ok")
	}
	return b.String()
}

func (k KV) String() string {
	s := fmt.Sprintf("%s=%s(c%d m%d v%d)", k.Key, k.Value, k.Create, k.Mod, k.Version)
	if k.Lease != 0 {
		s += fmt.Sprintf("L%x", k.Lease)
	}
	return s
}

func (e Event) String() string {
	if e.Dir {
		return fmt.Sprintf("directory %s@%d, deleted: %t", e.KV.Key, e.KV.Mod, e.Delete)
	}
	if e.Delete {
		return fmt.Sprintf("delete %s@%d", e.KV.Key, e.KV.Mod)
	}
	return "put " + e.KV.String()
}

func (o *Operation) String() string {
	if !o.Known() {
		return fmt.Sprintf("[client %d at %s, %d–?] %s", o.Client, o.Member, o.Call, o.Request)
	}
	return fmt.Sprintf("[client %d at %s, %d–%d] %s → %s", o.Client, o.Member, o.Call, o.Return, o.Request, o.Response)
}
