package sim

import (
	"fmt"
	"slices"

	"cairn/check"
)

// workloads are the workloads of clients: the name, in how many of a hundred runs it occurs, and
// its constructor.
var workloads = []workloadEntry{
	{"kv", 90, func() workload { return &kvWork{} }},
	{"txn", 70, func() workload { return &txnWork{} }},
	{"lease", 60, func() workload { return &leaseWork{} }},
	{"v2", 60, func() workload { return &v2Work{} }},
	{"compact", 40, func() workload { return &compactWork{} }},
	{"watch", 80, func() workload { return &watchWork{} }},
	{"auth", 25, func() workload { return &authWork{} }},
	{"members", 35, func() workload { return &memberWork{} }},
}

// laterWorkloads are those that were added later: see drawLater.
var laterWorkloads = []workloadEntry{
	{"v2users", 20, func() workload { return &v2UsersWork{} }},
	{"stream", 20, func() workload { return &streamWork{} }},
}

type workloadEntry struct {
	name    string
	percent int
	make    func() workload
}

// The keys are few, so that clients use the same ones. Some are v2's, too.
var keyNames = []string{"a", "b", "c", "d", "e", "f", "/d/x", "/d/y"}

func (c *client) key() string { return keyNames[c.rng.IntN(len(keyNames))] }

// span draws a range of keys.
func (c *client) span() (key, end string) {
	switch c.rng.IntN(4) {
	case 0:
		return "\x00", "\x00"
	case 1:
		return "/", "0"
	case 2:
		a, b := c.key(), c.key()
		return min(a, b), max(a, b) + "\x00"
	default:
		return c.key(), ""
	}
}

// kvWork puts, deletes and reads.
type kvWork struct{ seen int64 }

func (k *kvWork) next(c *client) check.Request {
	switch c.rng.IntN(10) {
	case 0, 1, 2, 3:
		return check.Request{Put: c.put()}
	case 4:
		key, end := c.key(), ""
		if c.rng.IntN(5) == 0 {
			key, end = c.span()
		}
		return check.Request{Delete: &check.Delete{Key: key, End: end, PrevKV: c.rng.IntN(2) == 0}}
	default:
		return check.Request{Range: c.rangeOf(k.seen)}
	}
}

func (k *kvWork) heard(_ *client, _ *check.Request, resp *check.Response, known bool) {
	if known {
		k.seen = max(k.seen, resp.Revision)
	}
}

func (c *client) put() *check.Put {
	p := &check.Put{Key: c.key(), Value: c.value(), PrevKV: c.rng.IntN(3) == 0}
	if c.rng.IntN(12) == 0 {
		p.Value, p.IgnoreValue = "", true
	}
	return p
}

// rangeOf draws a read, possibly of an older revision than one that was seen.
func (c *client) rangeOf(seen int64) *check.Range {
	r := &check.Range{Serializable: c.rng.IntN(4) == 0, KeysOnly: c.rng.IntN(8) == 0, CountOnly: c.rng.IntN(8) == 0}
	r.Key, r.End = c.span()
	if c.rng.IntN(4) == 0 {
		r.Limit = 1 + c.rng.Int64N(4)
	}
	if seen > 1 && c.rng.IntN(3) == 0 {
		r.Revision = max(1, seen-c.rng.Int64N(40)+2)
	}
	return r
}

// txnWork makes transactions, some of them nested.
type txnWork struct{ seen int64 }

func (t *txnWork) next(c *client) check.Request {
	return check.Request{Txn: t.txn(c, map[string]bool{}, 0)}
}

func (t *txnWork) heard(_ *client, _ *check.Request, resp *check.Response, known bool) {
	if known {
		t.seen = max(t.seen, resp.Revision)
	}
}

// txn draws a transaction. put has the keys that it must not put: etcd allows one put per key.
func (t *txnWork) txn(c *client, put map[string]bool, depth int) *check.Txn {
	out := &check.Txn{}
	for range c.rng.IntN(3) {
		cmp := check.Compare{Key: c.key(), Target: c.rng.IntN(5), Result: c.rng.IntN(4)}
		switch cmp.Target {
		case check.CompareValue:
			cmp.Value = fmt.Sprintf("%d.%d", c.rng.IntN(6), c.rng.IntN(50))
		case check.CompareVersion:
			cmp.Number = c.rng.Int64N(3)
		case check.CompareLease:
			cmp.Number = c.rng.Int64N(2)
		default:
			cmp.Number = max(0, t.seen-c.rng.Int64N(20))
		}
		if c.rng.IntN(5) == 0 {
			cmp.Key, cmp.End = c.span()
		}
		out.If = append(out.If, cmp)
	}
	out.Then, out.Else = t.branch(c, put, depth), t.branch(c, put, depth)
	return out
}

func (t *txnWork) branch(c *client, put map[string]bool, depth int) (ops []check.Request) {
	for range c.rng.IntN(4) {
		switch n := c.rng.IntN(8); {
		case n < 3:
			p := c.put()
			if !put[p.Key] {
				put[p.Key] = true
				ops = append(ops, check.Request{Put: p})
			}
		case n == 3:
			if key := c.key(); !put[key] {
				put[key] = true
				ops = append(ops, check.Request{Delete: &check.Delete{Key: key, PrevKV: true}})
			}
		case n == 4 && depth < 2:
			ops = append(ops, check.Request{Txn: t.txn(c, put, depth+1)})
		default:
			r := c.rangeOf(t.seen)
			r.Serializable = false
			ops = append(ops, check.Request{Range: r})
		}
	}
	return ops
}

// leaseNames allocates lease IDs.
type leaseNames struct{ last int64 }

// leaseWork has leases with keys; it renews some and abandons others.
type leaseWork struct {
	mine []int64
	keys int
}

func (l *leaseWork) next(c *client) check.Request {
	if len(l.mine) == 0 || c.rng.IntN(8) == 0 {
		c.w.leases.last++
		id := c.w.leases.last
		if c.rng.IntN(10) == 0 {
			id = -id // etcd's clients may choose any ID but 0
		}
		l.mine = append(l.mine, id)
		return check.Request{Lease: &check.Lease{Do: check.Grant, ID: id, TTL: 1 + c.rng.Int64N(4)}}
	}
	id := l.mine[c.rng.IntN(len(l.mine))]
	switch c.rng.IntN(12) {
	case 0:
		l.forget(id)
		return check.Request{Lease: &check.Lease{Do: check.Revoke, ID: id}}
	case 1:
		l.forget(id)
		return check.Request{Range: c.rangeOf(0)}
	case 2, 3, 4, 5:
		return check.Request{Lease: &check.Lease{Do: check.Renew, ID: id}}
	case 6:
		p := &check.Put{Key: c.key(), Value: c.value(), IgnoreLease: true}
		return check.Request{Put: p}
	default:
		l.keys++
		return check.Request{Put: &check.Put{Key: fmt.Sprintf("l%d.%d", c.id, l.keys%4), Value: c.value(), Lease: id}}
	}
}

func (l *leaseWork) forget(id int64) {
	l.mine = slices.DeleteFunc(l.mine, func(o int64) bool { return o == id })
}

func (l *leaseWork) heard(_ *client, r *check.Request, resp *check.Response, known bool) {
	if known && resp.Err == check.ErrLeaseNotFound {
		if r.Lease != nil {
			l.forget(r.Lease.ID)
		} else if r.Put != nil {
			l.forget(r.Put.Lease)
		}
	}
}

// v2Work uses the v2 tree.
type v2Work struct {
	value string
	index int64
}

var v2Paths = []string{"/a", "/d", "/d/x", "/d/y", "/d/e", "/d/e/f", "/q", "/q/_h", "/"}

func (v *v2Work) next(c *client) check.Request {
	r := &check.V2{Path: v2Paths[c.rng.IntN(len(v2Paths))], Value: c.value()}
	if c.rng.IntN(4) == 0 {
		r.HasTTL, r.TTL = true, (1+c.rng.Int64N(5))*second
	}
	switch c.rng.IntN(12) {
	case 0, 1:
		r.Do = check.V2Set
		if c.rng.IntN(6) == 0 {
			r.Dir, r.Value = true, ""
		}
	case 2:
		r.Do = check.V2Create
	case 3:
		r.Do = check.V2CreateInOrder
		if r.Path == "/" {
			r.Path = "/q"
		}
	case 4:
		r.Do = check.V2Update
		if c.rng.IntN(3) == 0 {
			r.Refresh, r.Value, r.HasTTL, r.TTL = true, "", true, 3*second
		}
	case 5:
		r.Do, r.PrevValue = check.V2CompareAndSwap, v.value
		if r.PrevValue == "" || c.rng.IntN(2) == 0 {
			r.PrevIndex = max(1, v.index)
		}
	case 6:
		r.Do, r.Value, r.HasTTL, r.TTL = check.V2Delete, "", false, 0
		r.Recursive = c.rng.IntN(2) == 0
		r.Dir = c.rng.IntN(2) == 0
	case 7:
		r.Do, r.Value, r.HasTTL, r.TTL = check.V2CompareAndDelete, "", false, 0
		r.PrevIndex = max(1, v.index)
	default:
		*r = check.V2{Do: check.V2Get, Path: r.Path, Recursive: c.rng.IntN(2) == 0, Linearized: c.rng.IntN(2) == 0}
	}
	return check.Request{V2: r}
}

func (v *v2Work) heard(_ *client, _ *check.Request, resp *check.Response, known bool) {
	if known && resp.V2 != nil && resp.V2.Node.Value != "" {
		v.value, v.index = resp.V2.Node.Value, resp.V2.Node.Modified
	}
}

// streamWork reads ranges in chunks, and writes a little so that they change meanwhile.
type streamWork struct{ kvWork }

func (s *streamWork) next(c *client) check.Request {
	if c.rng.IntN(3) == 0 {
		return check.Request{Put: c.put()}
	}
	r := c.rangeOf(s.seen)
	r.Stream, r.CountOnly, r.Serializable = true, false, c.rng.IntN(2) == 0
	if c.rng.IntN(3) > 0 {
		r.Key, r.End, r.Limit = "\x00", "\x00", 0
	}
	return check.Request{Range: r}
}

// compactWork compacts, and reads around the compaction.
type compactWork struct{ seen int64 }

func (k *compactWork) next(c *client) check.Request {
	if c.rng.IntN(5) == 0 && k.seen > 2 {
		return check.Request{Compact: &check.Compact{Revision: max(1, k.seen-c.rng.Int64N(30)+2)}}
	}
	return check.Request{Range: c.rangeOf(k.seen)}
}

func (k *compactWork) heard(_ *client, _ *check.Request, resp *check.Response, known bool) {
	if known {
		k.seen = max(k.seen, resp.Revision)
	}
}

// watchWork watches, and writes a little.
type watchWork struct{ kvWork }

func (*watchWork) start(c *client) {
	for range 2 {
		key, end := c.span()
		start := c.rng.Int64N(3) * c.rng.Int64N(4)
		c.watch(key, end, start)
	}
}

// authWork changes users and roles, and sends requests as users.
type authWork struct{ step int }

// authSetup enables authentication.
var authSetup = []check.Auth{
	{Do: check.AuthUserAdd, Name: "root"},
	{Do: check.AuthUserGrant, Name: "root", Role: "root"},
	{Do: check.AuthUserAdd, Name: "u1"},
	{Do: check.AuthUserAdd, Name: "u2"},
	{Do: check.AuthRoleAdd, Name: "r1"},
	{Do: check.AuthRoleAdd, Name: "r2"},
	{Do: check.AuthRoleGrant, Name: "r1", Permission: check.Permission{Key: "a", End: "d", Access: check.ReadWriteKeys}},
	{Do: check.AuthUserGrant, Name: "u1", Role: "r1"},
	{Do: check.AuthEnable},
}

func (a *authWork) next(c *client) check.Request {
	if a.step < len(authSetup) {
		a.step++
		change := authSetup[a.step-1]
		return check.Request{Auth: &change, User: "root"}
	}
	user := fmt.Sprintf("u%d", 1+c.rng.IntN(2))
	if c.rng.IntN(3) > 0 {
		var r check.Request
		switch c.rng.IntN(4) {
		case 0:
			r = (&txnWork{}).next(c)
		case 1:
			r = check.Request{Put: c.put()}
		case 2:
			key, end := c.span()
			r = check.Request{Delete: &check.Delete{Key: key, End: end}}
		default:
			r = check.Request{Range: c.rangeOf(0)}
		}
		r.User = user
		return r
	}
	change := &check.Auth{Name: user, Role: fmt.Sprintf("r%d", 1+c.rng.IntN(2))}
	role := change.Role
	switch c.rng.IntN(10) {
	case 0:
		change.Do = check.AuthUserRevoke
	case 1, 2:
		change.Do = check.AuthUserGrant
	case 3:
		*change = check.Auth{Do: check.AuthUserDelete, Name: user}
	case 4:
		*change = check.Auth{Do: check.AuthUserAdd, Name: user}
	case 5:
		*change = check.Auth{Do: check.AuthRoleDelete, Name: role}
	case 6:
		*change = check.Auth{Do: check.AuthRoleAdd, Name: role}
	case 7:
		*change = check.Auth{Do: check.AuthRoleRevoke, Name: role, Permission: check.Permission{Key: "a", End: "d", Access: check.ReadWriteKeys}}
	default:
		key, end := c.span()
		if c.rng.IntN(2) == 0 {
			key, end = "a", "d"
		}
		*change = check.Auth{Do: check.AuthRoleGrant, Name: role, Permission: check.Permission{Key: key, End: end, Access: 1 + c.rng.IntN(3)}}
	}
	return check.Request{Auth: change, User: "root"}
}
